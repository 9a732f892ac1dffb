/* groups.h - the orders of a queue with x-group-by: one for each group, given to one consumer at a time.
 *
 * A *seat* is an order and whose turn it is: a lane of the journal that belongs to one group for as long as
 * the group has messages here, waiting or handed out, and then to the next group that comes.
 *
 *   lane 0       the crowd: while x-group-max groups have seats, others share this one, and so does every
 *                group without a seat until the crowd is empty: no group is ever in two places
 *   lane 1       messages without a group; nobody holds it
 *   lane 2 …     a group each
 *
 * A seat is held by the consumer that has unacked messages of it, and is served to that one only. Seats
 * take turns: what was served goes to the end of its list, so a group that waits lets each other group
 * go before it once, however much that has. All of a seat is found by its lane: nothing is walked.
 *
 * Owner: the queue. Invariant: a seat is in the list that its state says (groups_check). */
#ifndef QUEUE_GROUPS_H
#define QUEUE_GROUPS_H

#include "base/heap.h"
#include "base/map.h"
#include "queue/consumer.h"
#include "queue/group.h"
#include "queue/order.h"

enum { GROUPS_CROWD, GROUPS_LOOSE, GROUPS_FIRST };

enum seat_state {
    SEAT_IDLE,     /* nothing of it is here: another group may have it */
    SEAT_OPEN,     /* waits for anybody: in groups.open */
    SEAT_HELD,     /* waits for its holder: in consumer.groups */
    SEAT_FAR,      /* what is next must be read or expired before: in groups.far */
    SEAT_WITHHELD, /* nothing to hand out now: all is unacked, or held by a basic.get */
};

struct seat {
    struct order *order;
    struct list place;         /* where its state says */
    struct heap_node longest;  /* in groups.longest of a queue that drops its oldest */
    struct consumer *holder;   /* of the unacked; NULL = none, or basic.get */
    struct slice name;         /* of its group, own memory; empty = it has none */
    uint64_t ticket;           /* when it got into its place: the smaller one is served first */
    size_t unacked;            /* handed out to be acked */
    size_t out;                /* left the order and not settled, these included */
    enum seat_state state;
    struct order own;          /* of all but the crowd */
};

struct groups {
    struct queue *queue;
    struct group_by by;
    struct seat **seats;      /* by lane */
    unsigned count, capacity, max; /* `max`: lanes that there may be */
    struct map by_name;
    struct list idle, open, far;
    size_t idle_count;
    struct list owning;       /* consumer.owning: rotate, and hold a seat that waits for them */
    struct consumer *turn;    /* who is to be served from queue.front; NULL = nobody can be */
    struct order none;        /* queue.front then: always empty */
    struct heap longest;
    uint64_t tickets, first_sequence;
    size_t ready;             /* messages waiting in all */
};

/* Its first order is that of the queue, which is empty and new; max: x-group-max. */
struct groups *groups_new(struct queue *q, const struct group_by *by, unsigned max);
void groups_free(struct groups **groups);

/* The order that the message is to be pushed to; its group has a seat from now on, if there is one. */
struct order *groups_for(struct groups *groups, const struct message *m);
/* The order of that lane, made when it is not there. */
struct order *groups_use(struct groups *groups, unsigned lane);
/* Recovery: a message of this lane; then the end, when names are read from pages where no message told. */
void groups_learn(struct groups *groups, unsigned lane, const struct message *m);
void groups_restored(struct groups *groups, uint64_t first_sequence);

/* Something came to the order, or went, or can be handed out now. */
void groups_note(struct groups *groups, struct order *order);
/* The queue's limit has changed. */
void groups_limited(struct groups *groups);
/* Who is next is to be chosen anew: the queue is held, or is not any more (hold.h). */
void groups_turned(struct groups *groups);
/* A consumer has begun or ceased to rotate. */
void groups_joined(struct groups *groups, struct consumer *c);
void groups_left(struct groups *groups, struct consumer *c);

/* An entry was handed out. `unacked`: to be acked, by `c`; NULL = it was fetched. */
void groups_out(struct groups *groups, struct order *order, struct consumer *c, bool unacked);
/* One left it without being handed out. */
void groups_lost(struct groups *groups, struct order *order);
/* A delivery of it is over (`was_unacked`); `gone`: it is settled, or back in its order. */
void groups_settled(struct groups *groups, const struct entry *entry, bool was_unacked, bool gone);

/* What basic.get may take from: queue.front's like; an empty order when there is nothing for it. */
struct order *groups_for_get(struct groups *groups);
/* Whose page a basic.get may wait for, NULL = none. */
struct order *groups_awaited(const struct groups *groups);
/* Whose oldest goes when too much waits: the longest group's. */
struct order *groups_longest(struct groups *groups);

void groups_check(const struct groups *groups);

#endif
