/* proxy.h - the PROXY protocol, versions 1 and 2 (haproxy.org/download/2.8/doc/proxy-protocol.txt): the
 * header by which a load balancer tells whose connection it passes on. Pure: bytes to a struct. */
#ifndef NET_PROXY_H
#define NET_PROXY_H

#include <stdbool.h>
#include <stddef.h>

#include "base/slice.h"
#include "net/address.h"

/* Longest header that is taken: version 1 has 107 bytes; one of version 2 with extensions is cut here. */
enum { PROXY_HEADER_MAX = 2048 };

enum proxy_status { PROXY_COMPLETE, PROXY_NEEDS_MORE, PROXY_BAD };

struct proxy_header {
    bool local;   /* the balancer's own connection, or one it cannot describe: the socket's addresses hold */
    bool unknown; /* of those, somebody's that it passes on: he may be anywhere */
    union address source, destination; /* unless local */
};

/* Reads a header from the front of `in`. COMPLETE: *used is its length. NEEDS_MORE: all of `in` belongs to
 * it. BAD: *reason is half a sentence. */
enum proxy_status proxy_parse(struct slice in, struct proxy_header *header, size_t *used,
                              const char **reason);

#endif
