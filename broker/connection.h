/* connection.h - one AMQP connection: frames in, methods out, its channels and its end.
 *
 *   HEADER -> STARTED -> AUTHENTICATING -> TUNED -> OPENING -> OPEN -> CLOSED
 *                 \________\________\_________\-> CLOSING -> CLOSED
 *                                   \-> SILENT -> CLOSING, CLOSED
 *
 * CLOSING: we sent close and wait for close-ok. SILENT: a bad login; wait, then say so if we may. */
#ifndef BROKER_CONNECTION_H
#define BROKER_CONNECTION_H

#include "base/ring.h"
#include "broker/flow.h"
#include "broker/login.h"
#include "broker/server.h"
#include "net/stream.h"
#include "protocol/frame.h"
#include "protocol/method.h"

struct channel;

enum connection_state {
    CONNECTION_HEADER,
    CONNECTION_STARTED,
    CONNECTION_AUTHENTICATING,
    CONNECTION_TUNED,
    CONNECTION_OPENING,
    CONNECTION_OPEN,
    CONNECTION_CLOSING,
    CONNECTION_SILENT,
    CONNECTION_CLOSED,
};

/* What the client said it can take (client-properties.capabilities). */
struct capabilities {
    bool consumer_cancel_notify, connection_blocked, authentication_failure_close;
};

/* Output from this offset on must not leave before the batch is on disk. */
struct barrier {
    uint64_t offset, batch;
};
RING(barrier_ring, struct barrier);

/* Open-addressed table of channels by number; small for the one or two that most clients open. */
struct channel_table {
    struct channel **slots;
    size_t capacity, size;
};

struct heartbeat {
    uint16_t interval_s; /* 0 = off */
    uint8_t silent_ticks; /* half intervals without a byte from the peer */
    uint64_t received, sent; /* stream counters at the last tick */
};

/* A publisher that waits for a queue's consumers to catch up, for a few milliseconds at most. */
struct pace {
    struct queue *behind; /* the queue, NULL = none */
    struct list link;     /* in queue.paced while there is one */
    bool waits;           /* the input is through, reading is stopped */
    struct timer timer;
};

/* A basic.get whose message is being read from disk: nothing more is taken from the connection until it is
 * answered. */
struct pending_get {
    struct list link;    /* in server.getting while it waits */
    struct queue *queue;
    uint16_t channel;
    bool no_ack;
};

struct connection {
    struct stream stream;
    struct server *server;
    struct list link, doomed, barred;
    struct flow flow;
    struct admission admission;
    struct share share;
    struct barrier_ring barriers;
    struct timer timer;          /* handshake, then heartbeat, then the time to close */
    struct heartbeat heartbeat;
    struct pace pace;
    struct pending_get get;
    struct list parked;          /* consumers waiting for the output to drain */
    struct list exclusive_queues; /* queue.owner.link */
    struct channel_table channels;
    struct channel *last_channel; /* the one that the last frame was for */
    uint64_t id;
    struct vhost *vhost;         /* NULL until open, and when all of its channels are through */
    struct user *user;           /* NULL until login; a reference */
    const struct permission *permission; /* NULL = none any more */
    struct login login;
    uint32_t frame_max;
    uint32_t body_left;          /* of a body frame that is being taken in pieces, with its end octet */
    uint16_t body_channel, channel_max;
    enum connection_state state;
    bool announced;              /* connection.created was told of, connection.closed was not */
    struct capabilities capabilities;
    struct peer *peer;           /* own memory, with its certificate */
    char *name;                  /* "peer:port -> host:port", own memory */
};

struct connection *connection_new(struct server *s, const struct transport *transport, void *io,
                                  const struct peer *peer);
/* At the end of a turn only. */
void connection_free(struct connection **conn);

/* Writes a method frame. */
void connection_send(struct connection *conn, uint16_t channel, const struct method *m);
/* Turns a fault into connection.close; only close-ok is listened to from then on. */
void connection_fail(struct connection *conn, const struct fault *f);
/* Closes the channel for a soft fault, else the connection; true when it was no fault, but a question. */
void connection_fault(struct connection *conn, struct channel *ch, const struct fault *f);
bool connection_is_asked(struct connection *conn, uint16_t channel, const struct fault *f);
/* The server ends it (320 with this text). */
void connection_force_close(struct connection *conn, const char *reason);
void connection_hang_up(struct connection *conn); /* without a word (handshake failures) */
/* Drops channels, consumers, exclusive queues; unacked messages go back. Once. */
void connection_release(struct connection *conn);
/* What is written from now on leaves only when the batch is durable (a durable declare's answer). */
void connection_bar(struct connection *conn, uint64_t batch);
/* For all barred connections: lets go what is durable. */
void connection_lift_barriers(struct server *s, uint64_t durable);
/* Stops reading while the journal is too far behind; and reads again. */
void connection_throttle(struct connection *conn);
void connection_unthrottle_all(struct server *s);
void connection_defines(struct connection *conn); /* stops it when the batch has many definitions */

struct channel *connection_channel(const struct connection *conn, uint16_t number);
void connection_add_channel(struct connection *conn, struct channel *ch);
void connection_remove_channel(struct connection *conn, struct channel *ch);

/* handshake.c: a method of class connection, in any state; false = fault (closes the connection). */
bool connection_handshake(struct connection *conn, const struct method *m, struct fault *f);
void connection_start_heartbeat(struct connection *conn); /* heartbeat.c */
/* handshake.c: the 8 octets that a client starts with; returns how many were consumed. */
size_t connection_protocol_header(struct connection *conn, struct slice in);

static inline struct connection *connection_of_stream(struct stream *stream)
{
    return container_of(stream, struct connection, stream);
}

#endif
