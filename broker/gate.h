/* gate.h - how clients come in: listeners, TLS, and how many may be here.
 * All of the server that is about it hangs from `struct gate`. */
#ifndef BROKER_GATE_H
#define BROKER_GATE_H

#include "broker/config.h"
#include "net/listener.h"
#include "net/tls_context.h"
#include "net/worker.h"
#include "protocol/fault.h"

struct connection;
struct server;

enum { GATE_SOURCES_MAX = 64 };

struct gate {
    struct listener *listeners[2 * CONFIG_LISTENERS_MAX];
    size_t listener_count;
    int bound[2 * CONFIG_LISTENERS_MAX]; /* sockets between gate_bind and gate_open; 0 = taken */
    size_t bound_count;
    struct tls_context *tls;  /* what new connections get; NULL without TLS */
    struct worker *worker;    /* does TLS handshakes and reads certificates; NULL without TLS */
    struct address_range sources[GATE_SOURCES_MAX];
    size_t source_count;
    struct list shaking;      /* admission.shaking: not open yet, oldest first */
    size_t shaking_count, open_count;
    bool reloading, reload_again;
};

/* What a connection is to the gate. */
struct admission {
    struct list shaking;
    bool open;
};

void gate_init(struct gate *gate);
/* What may need root: reads certificates and keys, and binds where the configuration says. False: the
 * reason is in the log. */
bool gate_bind(struct server *s);
/* Listens there: clients can connect. */
bool gate_open(struct server *s);
/* No new connections. */
void gate_close(struct server *s);
/* The end, after gate_close; before the loop's. */
void gate_free(struct server *s);
/* SIGHUP: certificates, keys and revocation lists are read again; connections keep what they have. */
void gate_reload(struct server *s);

/* A connection was made, whose handshake begins; the oldest of too many is closed. */
void gate_enter(struct connection *conn);
/* It opens its vhost: false when there are connection_max already. */
bool gate_admit(struct connection *conn, struct fault *f);
/* It ends. Once or more. */
void gate_leave(struct connection *conn);

#endif
