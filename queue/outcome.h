/* outcome.h - entries on their way out of a queue that have somewhere to go: dead letters.
 *
 * The queue does not route: what is rejected, expires or is dropped by a limit, in a queue that
 * dead-letters, waits in its home's list of outcomes, until the broker takes it and publishes it (a bounded
 * number a turn). The list is a home like any other (invariant I1): a message is in the journal for its
 * queue until outcome_settle, so that its dead letter and its ack are in one batch. Without a dead-letter
 * exchange an entry is settled at once, and none of this is looked at. */
#ifndef QUEUE_OUTCOME_H
#define QUEUE_OUTCOME_H

#include "base/ring.h"
#include "queue/entry.h"

struct queue;
struct queue_home;

enum outcome_reason { OUTCOME_REJECTED, OUTCOME_EXPIRED, OUTCOME_MAXLEN, OUTCOME_DELIVERY_LIMIT };

struct outcome {
    struct queue *queue; /* stays until it is settled */
    struct entry entry;
    enum outcome_reason reason;
    uint64_t batch; /* its message is of no older one */
};

RING(outcome_ring, struct outcome);

struct outcomes {
    struct outcome_ring fresh;
    struct outcome_ring kept; /* at-least-once: could not be published, and are tried again */
    uint64_t retry_ms;        /* when; UINT64_MAX = none is kept */
    size_t turn_max;          /* how many are published in a turn */
};

/* The word of the x-death header: "rejected", "expired", "maxlen", "delivery_limit". */
const char *outcome_word(enum outcome_reason reason);

/* The entry, which nobody else holds and which counts nowhere, leaves the queue: it becomes an outcome, or is
 * settled when the queue does not dead-letter or is deleted. May free a deleted queue. */
void outcome_put(struct queue *q, struct entry *entry, enum outcome_reason reason);
/* A message that the queue refused (x-overflow: reject-publish-dlx). It was never the queue's. */
void outcome_put_refused(struct queue *q, struct message *m);

/* The oldest; false when there is none. It is to be settled or kept. */
bool outcome_take(struct queue_home *home, struct outcome *outcome);
/* It was published, or has nowhere to go: the queue is done with it. May free a deleted queue. */
void outcome_settle(struct outcome *outcome);
/* Puts the fresh ones into *waiting, so that what comes now comes first; and appends them again. Nothing else
 * may look at the list in between. */
void outcomes_set_aside(struct queue_home *home, struct outcome_ring *waiting);
void outcomes_put_back(struct queue_home *home, struct outcome_ring *waiting);
/* It could not be published and may not be lost: comes again after outcome_retry. */
void outcome_keep(struct outcome *outcome);
/* The oldest that were kept, as many as that, are to be tried again. */
void outcome_retry(struct queue_home *home, size_t count);
/* Settles all without publishing them. */
void outcomes_drop(struct queue_home *home);

/* Calls `each` for those that may be in the journal in a batch up to `limit`; it may move the messages on. */
void outcomes_walk_old(struct queue_home *home, uint64_t limit,
                       void (*each)(void *arg, struct outcome *outcome), void *arg);
/* Tests: calls `each` for all of them. */
void outcomes_walk(struct queue_home *home, void (*each)(void *arg, struct outcome *outcome), void *arg);

#endif
