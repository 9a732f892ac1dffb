/* tcp.h - private to net/: a connected TCP socket as the transport of a stream. */
#ifndef NET_TCP_H
#define NET_TCP_H

#include "net/loop.h"
#include "net/stream.h"

struct tcp;

extern const struct transport tcp_transport;

/* Takes over `fd` (non-blocking), also when it fails with -errno. The result is the io of
 * tcp_transport, which tells nothing until tcp_attach (listener.h). */
int tcp_open(struct tcp **tcp, struct loop *loop, int fd) __attribute__((warn_unused_result));

#endif
