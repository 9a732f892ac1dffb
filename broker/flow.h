/* flow.h - when a connection is not read, and how many bytes it may make the server hold.
 *
 * Reasons overlap: reading goes on when the last of them is gone. With those of FLOW_AT_ONCE it stops at
 * the end of the frame in hand (with FLOW_ASK and FLOW_BACK before it, if that is to be done again), with the
 * others at the end of what was read already. */
#ifndef BROKER_FLOW_H
#define BROKER_FLOW_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "protocol/fault.h"
#include "protocol/message.h"
#include "queue/unacked.h"

struct connection;

/* Bits of flow.paused. */
enum flow_reason {
    FLOW_JOURNAL = 1, /* it publishes faster than the disk writes */
    FLOW_PACE = 2,    /* it published to a queue that is behind (pace.c) */
    FLOW_ALARM = 4,   /* it publishes, and memory or disk is short (alarm.c) */
    FLOW_OUTPUT = 8,  /* it asks and does not read the answers */
    FLOW_GET = 16,    /* its basic.get waits for a page, or for older messages on their way back */
    FLOW_DEFINE = 32, /* it declares and deletes faster than the disk writes that */
    FLOW_ASK = 128,   /* a backend is asked whether it may (ask.c) */
    FLOW_BACK = 64,   /* its method means very many messages, and is not through (giveback.c) */
    FLOW_CROWD = 256, /* it has much in the open batch, and others wait for that (company.c) */
};
enum {
    FLOW_AT_ONCE = FLOW_ALARM | FLOW_OUTPUT | FLOW_GET | FLOW_DEFINE | FLOW_ASK | FLOW_BACK | FLOW_CROWD
};

/* Answers (what is not a delivery) that may wait for a client to read them. Deliveries stop earlier, by
 * themselves. */
enum { FLOW_REPLIES_MAX = 2 * 1024 * 1024 };

/* Messages that are not complete, or in a transaction, take at most this or twice max_message_size. */
#define FLOW_HELD_MIN ((uint64_t)256 * 1024 * 1024)

struct flow {
    struct list throttled;  /* in server.throttled: FLOW_JOURNAL, FLOW_CROWD, FLOW_DEFINE */
    struct list publishing; /* in alarms.publishers */
    struct list parked;     /* consumers that wait for acks: too many bytes are unacked */
    uint64_t replied;       /* bytes of answers since the output was last low */
    uint64_t held;          /* bytes of messages under assembly and in transactions */
    uint64_t unacked;       /* bytes handed out and not settled */
    uint32_t detached;      /* channels that go on though the connection has ended (giveback.c) */
    unsigned paused;        /* reasons */
};

void flow_init(struct flow *flow);

/* Both do nothing when it is so already; a connection that is not open any more is not paused. */
void flow_pause(struct connection *conn, enum flow_reason reason);
void flow_resume(struct connection *conn, enum flow_reason reason);
/* The connection ends: read it, whatever held it up, since its last words are to come. */
void flow_end(struct connection *conn);

/* An answer of that many bytes was written: the client is not read while it lets too many pile up. */
void flow_replied(struct connection *conn, uint64_t bytes);
/* The output is low: all answers were read. */
void flow_drained(struct connection *conn);

bool flow_hold_more(struct flow *flow, uint64_t bytes, struct fault *f); /* for flow_hold */
void flow_unpark(struct flow *flow);                                     /* for flow_settle */

/* Before that many more bytes of unfinished messages are kept; a fault (506) when they are too many. */
static inline bool flow_hold(struct flow *flow, uint64_t bytes, struct fault *f)
{
    flow->held += bytes;
    return flow->held <= FLOW_HELD_MIN || flow_hold_more(flow, bytes, f);
}

static inline void flow_release(struct flow *flow, uint64_t bytes)
{
    assert(flow->held >= bytes);
    flow->held -= bytes;
}

/* What a message costs while it waits for its ack: with its place in the channel's list, so that very small
 * ones count, too. */
static inline uint64_t flow_cost(const struct message *m)
{
    return message_size(m) + sizeof(struct unacked_item);
}

/* A message is handed out to be acked, and is settled (or requeued). */
static inline void flow_hand_out(struct flow *flow, const struct message *m)
{
    flow->unacked += flow_cost(m);
}

static inline void flow_settle(struct flow *flow, const struct message *m)
{
    assert(flow->unacked >= flow_cost(m));
    flow->unacked -= flow_cost(m);
    if (!list_empty(&flow->parked))
        flow_unpark(flow);
}

/* No more is to be handed out before something is settled (connection_unacked_max). */
bool flow_is_full(const struct connection *conn);

#endif
