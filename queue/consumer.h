/* consumer.h - a queue's view of one basic.consume: its credit and its place in the rotation.
 *
 *   ROTATING   in the queue's rotation: may be served next
 *   SATED      prefetch reached: comes back when something is settled
 *   PARKED     set aside by its owner (full output buffer, channel limit): in the owner's list
 *   WAITING    another one is the single active consumer: in its rank until that one goes
 *   FADING     was the single active one, and gives way as soon as it has settled all
 *   GONE       cancelled; kept only until its last unacked entry is settled
 *
 * Owned by the channel (embedded in broker's subscription). */
#ifndef QUEUE_CONSUMER_H
#define QUEUE_CONSUMER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"

struct queue;
struct rank;

enum consumer_state {
    CONSUMER_ROTATING,
    CONSUMER_SATED,
    CONSUMER_PARKED,
    CONSUMER_WAITING,
    CONSUMER_FADING,
    CONSUMER_GONE
};

struct consumer {
    struct list place;    /* in a rank when ROTATING or WAITING, in the owner's list when PARKED */
    struct list of_queue; /* in queue.consumers.all until GONE */
    struct list groups;   /* seats that it holds and that wait for it, in a queue with groups */
    struct list owning;   /* in groups.owning while there is one and it rotates */
    struct queue *queue;  /* NULL when GONE */
    struct rank *rank;    /* of its priority, NULL when GONE */
    int64_t priority;     /* x-priority: the larger one is served first */
    enum consumer_state state;
    uint32_t prefetch;    /* 0 = no limit */
    uint32_t unacked;     /* handed out and not settled */
    bool no_ack, exclusive;
    bool active;          /* it may be served; false = another one is the single active consumer */
};

/* Credit = prefetch - unacked (invariant I4). */
static inline bool consumer_has_credit(const struct consumer *c)
{
    return c->prefetch == 0 || c->unacked < c->prefetch;
}

/* The consumer, with prefetch, priority and flags set, is one of the queue's from now on. */
void consumer_enter(struct consumer *c, struct queue *q);
/* It is GONE afterwards; its unacked entries stay with the channel. */
void consumer_exit(struct consumer *c);
/* One of its unacked entries was settled or requeued. */
void consumer_settled(struct consumer *c);
/* Takes a ROTATING consumer out of the rotation and keeps it in `parked`. */
void consumer_park(struct consumer *c, struct list *parked);
/* Back from the owner's list into the rotation, or SATED. */
void consumer_unpark(struct consumer *c);

#endif
