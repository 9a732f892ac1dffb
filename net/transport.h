/* transport.h - the way to a peer, below a stream: TCP, TLS, or what a test makes of it. */
#ifndef NET_TRANSPORT_H
#define NET_TRANSPORT_H

#include <stdbool.h>
#include <sys/types.h>
#include <sys/uio.h>

/* The way to the peer. All return -errno on failure, -EAGAIN when it would block; the first two are called
 * from any thread. */
struct transport {
    ssize_t (*readv)(void *io, const struct iovec *parts, int count); /* 0 = peer closed */
    ssize_t (*writev)(void *io, const struct iovec *parts, int count);
    void (*want)(void *io, bool readable, bool writable); /* which events to report */
    void (*finish)(void *io); /* no more will be written (FIN) */
    void (*close)(void *io);  /* frees io */
    bool one_way; /* readv, of one part only, and writev may not run at once (TLS) */
};

#endif
