/* listener.h - listening TCP sockets. */
#ifndef NET_LISTENER_H
#define NET_LISTENER_H

#include <stdbool.h>
#include <stdint.h>

#include "net/certificate.h"
#include "net/loop.h"
#include "net/stream.h"

struct listener;

/* Both ends of an accepted connection: text ("127.0.0.1", also for an IPv4-mapped one, "::1") and number. */
struct peer {
    char host[64], peer_host[64];
    uint16_t port, peer_port;
    bool loopback; /* peer is 127/8, ::1, or an IPv4-mapped ::ffff:127/8 */
    bool tls;      /* came over TLS */
    struct certificate *certificate; /* the client's, verified; NULL = none; see accept_handler */
};

/* A connection was accepted, after its TLS handshake if it has one: call stream_init with this
 * transport and io, or transport->close(io) to refuse. peer->certificate goes over to the acceptor,
 * who calls certificate_free. */
typedef void accept_handler(void *arg, const struct transport *transport, void *io,
                            const struct peer *peer);

/* Called by the acceptor after stream_init: tells the loop which stream the io's events go to. */
void tcp_attach(void *io, struct stream *stream);

/* Listens on host ("127.0.0.1", "::", a name, "" = all, IPv6 and IPv4) and port (0 = any, ask
 * listener_port). On failure -errno and one sentence in `error`. */
int listener_open(struct listener **listener, struct loop *loop, const char *host, uint16_t port,
                  accept_handler *on_accept, void *arg, char *error, size_t error_size)
    __attribute__((warn_unused_result));
/* Called with on_accept's `arg` and -errno when accepting is paused for lack of file descriptors or
 * memory; once until it has caught up again. Accepting is tried again every LISTENER_RETRY_MS. */
void listener_on_pause(struct listener *listener, void (*on_pause)(void *arg, int error));
uint16_t listener_port(const struct listener *listener);
/* Also from within the handlers. */
void listener_close(struct listener **listener);

enum {
    LISTENER_RETRY_MS = 100,
    LISTENER_ACCEPTS_MAX = 64, /* in a turn */
    LISTENER_BACKLOG = 1024,
};

#endif
