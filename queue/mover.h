/* mover.h - goes through all queues for messages in an old part of the journal, a bounded number a turn, so
 * that they are moved on and the part can go.
 *
 * Queues that share a message must move it on in one turn. So first every queue is looked at, over many
 * turns, and those with something of the part are kept by their oldest batch; then the part is moved on in
 * slices of batches, and a slice takes only the queues that have something of it. What is published meanwhile
 * is younger than the part; what comes back to a queue that was looked at is noted. */
#ifndef QUEUE_MOVER_H
#define QUEUE_MOVER_H

#include "base/heap.h"
#include "base/list.h"
#include "queue/shared_move.h"

struct entry;
struct queue;
struct queue_home;

enum { MOVER_LOOKS_MAX = 1024 };

/* A queue's part of it. */
struct moving {
    struct list link;      /* in mover.queues, unless it is deleted */
    struct heap_node node; /* in mover.old; the key: no more than its oldest batch */
};

struct mover {
    struct list queues;
    struct list *next;  /* the queue to be looked at next; &queues: all were; NULL: none is to be */
    struct heap old;    /* moving.node */
    uint64_t to;        /* the last batch of the part; 0 = nothing is under way */
    unsigned looks_max; /* queues that a turn looks at */
    struct shared_moves shared; /* messages that more than one queue has */
    uint64_t looks;     /* that the last turn looked at or moved something of */
};

void mover_init(struct mover *mover);
void mover_free(struct mover *mover);
void mover_join(struct mover *mover, struct moving *moving);
void mover_leave(struct mover *mover, struct moving *moving);

/* Once a turn, before the commit. Returns up to which batch everything that is in no queue's order is to be
 * moved on now (paging_move, delays_move), and then mover_finish called; 0 = nothing. What is in the queues'
 * orders was moved. */
uint64_t mover_run(struct queue_home *home);
/* All of that was moved on, in the same turn. */
void mover_finish(struct queue_home *home);
/* There is something to do though nothing happens. */
static inline bool mover_is_busy(const struct mover *mover)
{
    return mover->next != NULL || (mover->to == 0 && mover->old.size > 0);
}

/* The entry is back in its queue. */
void mover_came_back(struct queue *q, const struct entry *entry);

#endif
