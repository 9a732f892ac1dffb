/* channel.h - a channel: what it consumes, what it was handed, what it is publishing, what it awaits.
 *
 *   OPEN --client's close--> gone
 *   OPEN --soft error: channel.close sent--> CLOSING --close-ok--> gone
 *
 * A CLOSING channel drops all but close and close-ok; its connection may be gone before it is (see
 * giveback.h). */
#ifndef BROKER_CHANNEL_H
#define BROKER_CHANNEL_H

#include "base/buf.h"
#include "base/ring.h"
#include "broker/connection.h"
#include "broker/giveback.h"
#include "broker/patience.h"
#include "broker/vhost.h"
#include "protocol/method.h"
#include "queue/unacked.h"

enum channel_state { CHANNEL_OPEN, CHANNEL_CLOSING };
enum channel_mode { CHANNEL_PLAIN, CHANNEL_CONFIRM, CHANNEL_TX };

/* The message under construction: publish method, then header, then body. */
struct assembly {
    /* WHOLE: complete, and a backend is asked whether it may be published. */
    enum { ASSEMBLY_IDLE, ASSEMBLY_HEADER, ASSEMBLY_BODY, ASSEMBLY_WHOLE } state;
    bool mandatory;
    uint8_t exchange_size, key_size;
    struct message *message; /* its body_size is what the block has room for so far */
    uint64_t total;       /* size of the body as announced */
    uint64_t filled;
    struct buf names;     /* exchange, then key */
    uint16_t prop_flags;
};

/* The last exchange published to: exists and may be written while the routing generation stays. */
struct exchange_memo {
    uint64_t generation;
    struct exchange *exchange;
    struct buf name;      /* of the exchange */
    struct dest *only;    /* the one queue that the last key led to, NULL = none or several */
    uint8_t key_size, key[47];
};

/* Publishes up to `sequence` may be confirmed when `batch` is durable (invariant I8), or are refused. */
struct confirm {
    uint64_t sequence, batch;
    bool refused;
};
RING(confirm_ring, struct confirm);

struct confirms {
    uint64_t published;   /* sequence of the last publish */
    uint64_t confirmed;   /* all up to here have been answered */
    struct confirm_ring waiting;
};

struct tx; /* tx.c */
struct reply; /* reply.c */

struct channel {
    struct connection *conn;
    uint16_t number;
    enum channel_state state;
    enum channel_mode mode;
    struct map subscriptions;      /* consumer tag -> subscription */
    struct unacked unacked;
    uint64_t delivery_tag;         /* of the last delivery */
    uint64_t settling;             /* by an ack with `multiple` that is not through: up to there; 0 = none */
    uint16_t prefetch;             /* for consumers started from now on */
    uint16_t global_prefetch;      /* 0 = no limit */
    uint32_t consumer_unacked;     /* handed to consumers and not settled */
    uint32_t unacked_max;          /* of these: global_prefetch; 0 until basic.recover is through */
    struct list parked;            /* consumers waiting for that */
    struct list slack;             /* in server.slack: credit is left though consumers wait for it */
    struct slice last_queue;       /* last declared name, own memory, len 0 = none */
    struct assembly assembly;
    struct exchange_memo memo;
    struct confirms confirms;
    struct list confirming;        /* in server.confirming or server.confirmable */
    struct giveback giveback;      /* what takes more than a turn */
    struct tx *tx;                 /* NULL until tx.select */
    struct patience patience;      /* with what basic.get took */
    struct timer patience_timer;
    struct reply *reply;           /* its direct reply-to consumer, NULL = none (reply.c) */
};

/* basic.consume: the channel's side of a consumer. */
struct subscription {
    struct consumer consumer;
    struct channel *channel;       /* NULL once cancelled */
    struct slice tag, args;        /* own memory; args: table fields, as given */
    struct patience patience;
};

struct channel *channel_new(struct connection *conn, uint16_t number);
/* Cancels consumers and requeues what is unacked; for a soft error (`fetched_too` false) what
 * basic.get took stays until close-ok (K36). False when that is not through: it goes on by itself. */
bool channel_release(struct channel *ch, bool fetched_too);
/* Releases all, frees and, if `tell`, says close-ok; false when that is to be called again. */
bool channel_end(struct channel *ch, bool tell);
/* The connection has ended: the channel was released, is in no table any more, and frees itself when that is
 * through. */
void channel_detach(struct channel *ch);
/* All must have been released. */
void channel_free(struct channel **ch);
/* A soft error: channel.close with the fault's code and text. */
void channel_fail(struct channel *ch, const struct fault *f);

/* A method on this channel (not of class connection); false = fault. */
bool channel_method(struct channel *ch, const struct method *m, struct fault *f);

static inline void channel_send(struct channel *ch, const struct method *m)
{
    connection_send(ch->conn, ch->number, m);
}

static inline struct server *channel_server(const struct channel *ch)
{
    return ch->conn->server;
}

/* Expands "" to the last declared queue; 404 "no previously declared queue". */
bool channel_queue_name(struct channel *ch, struct slice given, struct slice *name, struct fault *f);
/* The queue of that name, not locked by another connection (404, 405). */
bool channel_find_queue(struct channel *ch, struct slice name, struct queue **q, struct fault *f);
/* 403 unless the user may; resource "" is the default exchange. These return false without a fault (code 0)
 * while a backend is asked: the method will be handled again. */
bool channel_permits(struct channel *ch, enum access access, struct slice resource, const char *what,
                     struct fault *f);
/* The same for a passive declare: any one of the three rights will do. */
bool channel_permits_any(struct channel *ch, struct slice resource, const char *what, struct fault *f);
/* 403 unless the user may use this routing key of the exchange, if it is a topic exchange. */
bool channel_permits_key(struct channel *ch, enum access access, const struct exchange *x,
                         struct slice key, struct fault *f);
/* True when the right to publish there may be remembered: it depends on no routing key, and nobody else is
 * asked who might change his mind. */
bool channel_remembers(const struct channel *ch, const struct exchange *x);

#endif
