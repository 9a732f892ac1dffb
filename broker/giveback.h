/* giveback.h - what a channel does with very many messages at once goes over many turns: what it gives back
 * to its queues (a requeue, basic.recover, its end), tx.commit and tx.rollback.
 *
 *   tx.commit:   (WAIT ->) PUBLISH -> HOLD_SETTLED -> SETTLE
 *   tx.rollback: ROLLBACK
 *   a requeue:   HOLD -> RETURN
 *   the end:     ROLLBACK -> HOLD -> RETURN, after what is under way
 *
 * What one turn has room for is done at once. Otherwise nothing more is read from the connection until all is
 * done, when the frame in hand is handled again and answered. First every message that is to come back holds
 * its queue (queue/hold.h), then they come back in order: consumers see it happen at one moment. */
#ifndef BROKER_GIVEBACK_H
#define BROKER_GIVEBACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"

struct channel;
struct connection;
struct server;

/* Recovered is requeued without anybody having asked for that message: it does not wait for a retry. */
enum settlement { SETTLE_ACK, SETTLE_REJECT, SETTLE_REQUEUE, SETTLE_RECOVER };

/* Messages that are given back, published or settled by all channels in a turn: one after the other in so
 * many turns as it takes, and the same number again by those that are through at once. */
enum { GIVEBACK_TURN = 8192, GIVEBACK_COMPANY = 1024 };

/* How much of its unacked the channel is to give back: a soft error leaves what basic.get took (K36). */
enum giveback_extent { GIVEBACK_NOTHING, GIVEBACK_CONSUMED, GIVEBACK_ALL };

enum giveback_step {
    GIVEBACK_IDLE,
    GIVEBACK_WAIT,
    GIVEBACK_PUBLISH,
    GIVEBACK_HOLD_SETTLED,
    GIVEBACK_SETTLE,
    GIVEBACK_ROLLBACK,
    GIVEBACK_HOLD,
    GIVEBACK_RETURN
};

/* Of a channel. */
struct giveback {
    struct list link;      /* in givings.channels, or givings.commits, while something is under way */
    uint64_t from, up_to;  /* tags that are still to be looked at */
    size_t at;             /* settlements of the transaction that were looked at */
    enum giveback_step step;
    enum settlement how;   /* what is being returned is */
    enum giveback_extent extent, asked, given; /* of what is under way, of the end, of what is over */
    bool holds;            /* queues are held until what comes back is there */
    bool done;             /* what the method in hand began is over: it is to be answered */
    bool detached;         /* the connection has ended: the channel is freed when it is through */
};

/* Of the server. */
struct givings {
    struct list channels;       /* giveback.link: each has a part of a turn */
    struct list commits;        /* large ones that wait for another one */
    struct channel *committing; /* whose large tx.commit is under way: the batch stays open */
    uint64_t committed_in;      /* the batch of the last one; UINT64_MAX = there was none */
    size_t turn_max;            /* for all of that, in a turn */
    size_t room;                /* for what may be done at once, in this turn */
};

void giveback_init(struct givings *givings, size_t turn_max);
/* A part of what is under way. */
void giveback_run(struct server *s);
/* All of it. */
void giveback_finish(struct server *s);
static inline bool giveback_is_busy(const struct givings *givings)
{
    return !list_empty(&givings->channels) || !list_empty(&givings->commits);
}

static inline bool giveback_is_through(const struct giveback *g)
{
    return g->step == GIVEBACK_IDLE;
}

/* The method in hand has begun one of these before, and is handled again. */
static inline bool giveback_began(const struct giveback *g)
{
    return !giveback_is_through(g) || g->done;
}

/* These return false when it is not through, and the method is to return that: it is handled again. Requeues
 * all up to that tag. */
bool giveback_requeue(struct channel *ch, uint64_t up_to, enum settlement how);
bool giveback_commit(struct channel *ch);
bool giveback_rollback(struct channel *ch);

/* The channel ends: what is not committed is rolled back, what is unacked requeued. False when that is not
 * through: it goes on by itself. */
bool giveback_end(struct channel *ch, enum giveback_extent extent);
/* The method in hand waits for that. */
void giveback_await(struct connection *conn);
/* The connection has ended, and the channel is in no table any more: it goes when it is through. */
void giveback_detach(struct channel *ch);
/* Calls `each` for channels whose connection has ended. */
void giveback_each_detached(const struct givings *givings, void (*each)(void *arg, struct channel *ch),
                            void *arg);

#endif
