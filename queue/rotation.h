/* rotation.h - which of a queue's consumers is served next.
 *
 * Consumers of equal priority take turns; a larger priority gets all while one that has it rotates
 * (semantics 2.2; RabbitMQ's page "Consumer Priorities"). Each priority in use has a rank, a list of its
 * rotating consumers, and the ranks that are not empty are in a heap: nothing is walked. A queue without
 * priorities has one rank and no heap.
 *
 * With a single active consumer (RabbitMQ's page of that name) only that one rotates; the others wait in
 * their ranks until it goes.
 *
 * Owned by its queue. */
#ifndef QUEUE_ROTATION_H
#define QUEUE_ROTATION_H

#include "base/heap.h"
#include "base/list.h"
#include "base/map.h"
#include "queue/consumer.h"

struct rank {
    struct heap_node node; /* in rotation.ranks while the list is not empty */
    struct list list;      /* consumer.place */
    int64_t priority;      /* the key in rotation.by_priority */
    size_t members;        /* consumers with this priority, rotating or not */
};

struct groups;

struct rotation {
    struct list *turn;       /* who is at its head is served next */
    struct rank zero;        /* priority 0, for which nothing is allocated */
    struct heap ranks;       /* not empty, the largest priority first; unused until `ranked` */
    struct map by_priority;  /* ranks other than zero */
    struct list alone;       /* of a single active consumer: it, while it rotates */
    struct consumer *active; /* NULL = there is none */
    bool ranked;             /* a consumer with a priority has come */
    bool single;             /* one at a time */
    bool yields;             /* the active one gives way to a larger priority */
    struct groups *groups;   /* is told who rotates; NULL = any of them may be served */
    size_t held;             /* entries that are to come back before anybody is served: see hold.h */
    bool special;            /* ranked, single, or with groups */
};

struct queue_consumers {
    struct list all;          /* consumer.of_queue, in order of arrival */
    struct rotation rotation; /* who of them is next */
    size_t count;
    bool exclusive;           /* the only one asked to be alone */
    bool had_some;            /* auto-delete only after it once had one */
};

void rotation_init(struct rotation *rotation);
/* All consumers must be gone. */
void rotation_free(struct rotation *rotation);
/* From now on one consumer is active at a time; there is none yet. */
void rotation_make_single(struct rotation *rotation, bool yields);

static inline bool rotation_any(const struct rotation *rotation)
{
    return !list_empty(rotation->turn);
}

/* A consumer comes, with its priority, and is in no list yet. */
void rotation_enter(struct rotation *rotation, struct consumer *c);
/* It goes, out of whatever list it is in. */
void rotation_exit(struct rotation *rotation, struct consumer *c);

void rotation_join_special(struct rotation *rotation, struct consumer *c);
void rotation_leave_special(struct rotation *rotation, struct consumer *c);

/* To the end of its rank; the one that is active alone, to its place, and another one to wait. */
static inline void rotation_join(struct rotation *rotation, struct consumer *c)
{
    if (rotation->special)
        rotation_join_special(rotation, c);
    else
        list_push_back(&rotation->zero.list, &c->place);
}

/* Out of the list that rotation_join put it in. */
static inline void rotation_leave(struct rotation *rotation, struct consumer *c)
{
    if (rotation->special)
        rotation_leave_special(rotation, c);
    else
        list_remove(&c->place);
}

/* Single: the consumer that is next to be active, NULL when none waits. */
struct consumer *rotation_heir(const struct rotation *rotation);

#endif
