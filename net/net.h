/* net.h - what all streams of a server share: the read buffer, the pool of output chunks, the list of streams that
 * have something to write. */
#ifndef NET_NET_H
#define NET_NET_H

#include <stddef.h>
#include <stdint.h>

#include "base/list.h"

enum {
    NET_READ_SIZE = 256 * 1024,  /* most that one stream reads in a turn */
    NET_CHUNK_SIZE = 64 * 1024,  /* of output */
};

struct net {
    uint8_t *read_buffer;
    struct list dirty;        /* stream.dirty: output to flush at the end of the turn */
    struct list free_chunks;
    size_t free_chunk_count;
};

void net_init(struct net *net);
void net_free(struct net *net);
/* One write per stream that has output; the rest waits until the socket is writable. */
void net_flush_all(struct net *net);

#endif
