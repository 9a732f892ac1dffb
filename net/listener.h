/* listener.h - listening TCP sockets. What is accepted comes to the owner when it can talk: after its
 * PROXY header and its TLS handshake, if it has those. */
#ifndef NET_LISTENER_H
#define NET_LISTENER_H

#include <stdbool.h>
#include <stdint.h>

#include "net/address_range.h"
#include "net/certificate.h"
#include "net/loop.h"
#include "net/stream.h"

struct listener;
struct tls_context;
struct worker;

/* Both ends of an accepted connection: text ("127.0.0.1", also for an IPv4-mapped one, "::1") and number.
 * Behind a proxy they are what its header says. */
struct peer {
    char host[64], peer_host[64];
    uint16_t port, peer_port;
    bool loopback; /* peer is 127/8, ::1, or an IPv4-mapped ::ffff:127/8 */
    bool tls;      /* came over TLS */
    const char *tls_version, *tls_cipher; /* OpenSSL's names, for ever valid; NULL without TLS */
    struct certificate *certificate; /* the client's, verified; NULL = none; see accept_handler */
};

/* A connection was accepted, after its TLS handshake if it has one: call stream_init with this
 * transport and io, or transport->close(io) to refuse. peer->certificate goes over to the acceptor,
 * who calls certificate_free. */
typedef void accept_handler(void *arg, const struct transport *transport, void *io,
                            const struct peer *peer);
/* A connection ended before it could talk; `why` is half a sentence. `harmless`: it said nothing at all. */
typedef void refuse_handler(void *arg, const struct peer *peer, const char *why, bool harmless);

/* Called by the acceptor after stream_init: tells the loop which stream the io's events go to. */
void tcp_attach(void *io, struct stream *stream);

/* Options of the sockets (tcp_listen_options.*). */
struct tcp_options {
    int backlog;        /* connections that the kernel keeps until they are accepted */
    int sndbuf, recbuf; /* bytes; 0 = as the system likes */
    bool nodelay, keepalive;
    bool linger;        /* what waits to be sent at the end has this many seconds; 0 = the end is a reset */
    int linger_s;
};

struct listener_options {
    const char *host; /* "127.0.0.1", "::", a name, "" = all, IPv6 and IPv4 */
    uint16_t port;    /* 0 = any, ask listener_port */
    int fd;           /* bound to them by listener_bind; 0 = not yet */
    struct tcp_options tcp;
    struct tls_context *const *tls; /* what new connections use; NULL = plain ones */
    struct worker *worker;          /* does the handshakes; not NULL with tls */
    bool proxy;                     /* a PROXY header comes first, from these only */
    const struct address_range *proxy_sources;
    size_t proxy_source_count;
    uint32_t arrival_ms;   /* for header and handshake together */
    uint32_t arrivals_max; /* under way at once; the oldest makes room */
    accept_handler *on_accept;
    refuse_handler *on_refuse; /* NULL = nobody wants to know */
    void *arg;
};

/* Binds a socket to host and port without listening: ports below 1024 need rights that may be given up
 * before listener_open. The descriptor, or -errno and one sentence in `error`. */
int listener_bind(const struct listener_options *options, char *error, size_t error_size)
    __attribute__((warn_unused_result));
/* Takes over options->fd, if it is given, whatever comes of it. Pointers in `options` are borrowed. On
 * failure -errno and one sentence in `error`. */
int listener_open(struct listener **listener, struct loop *loop, const struct listener_options *options,
                  char *error, size_t error_size) __attribute__((warn_unused_result));
/* Called with on_accept's `arg` and -errno when accepting is paused for lack of file descriptors or
 * memory; once until it has caught up again. Accepting is tried again every LISTENER_RETRY_MS. */
void listener_on_pause(struct listener *listener, void (*on_pause)(void *arg, int error));
uint16_t listener_port(const struct listener *listener);
/* Also from within the handlers. What is under way ends without a word; if there is a worker, it must be
 * freed before the loop is. */
void listener_close(struct listener **listener);

enum {
    LISTENER_RETRY_MS = 100,
    LISTENER_ACCEPTS_MAX = 64, /* in a turn */
    LISTENER_DESCRIPTORS_KEPT = 24, /* of the process, or a quarter of them, for others than clients */
    LISTENER_BACKLOG = 1024,
    LISTENER_LOCAL_BUFFER = 512 * 1024, /* bytes each way that a peer on this machine may have under way */
};

#endif
