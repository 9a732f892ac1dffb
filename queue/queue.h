/* queue.h - a queue: its entries in order, its consumers in rotation, and what it has handed out.
 *
 * The queue never pushes: broker/deliver pulls with queue_next. It never routes, never touches a socket.
 * It is on its home's ready list iff it has a waiting entry and a rotating consumer (invariant I5).
 *
 * Owner: the vhost, until queue_delete; then it lives on, nameless, until its last unacked entry is
 * settled. */
#ifndef QUEUE_QUEUE_H
#define QUEUE_QUEUE_H

#include "exchange/dest.h"
#include "queue/consumer.h"
#include "queue/dedup.h"
#include "queue/mark.h"
#include "queue/queue_home.h"
#include "queue/settings.h"

struct queue_counters {
    uint64_t published, delivered, redelivered, acked, expired;
};

struct queue {
    struct dest dest;
    struct queue_home *home;
    struct slice name, args;  /* own memory; args: table fields */
    uint64_t id;              /* never reused; what the journal knows it by */
    void *exclusive_owner;    /* the declaring connection, NULL = not exclusive */
    struct list of_owner;     /* in the connection's list of exclusive queues */
    bool durable, auto_delete, deleted;
    bool had_consumers;       /* auto-delete only after it once had one */
    struct order order;
    uint64_t next_sequence;
    size_t unacked;           /* entries in channels */
    uint64_t ready_bytes;     /* of bodies */
    struct dedup *dedup;      /* what it took and does not take again, NULL = it takes everything */
    struct settings settings;
    struct leaving leaving;
    struct list consumers;    /* consumer.of_queue, in order of arrival */
    struct list rotation;     /* consumer.place */
    size_t consumer_count;
    bool exclusive_consumer;  /* its only consumer asked to be alone */
    struct list ready_link;
    struct list paced;        /* publishers waiting for the consumers to catch up: the broker's */
    struct store_run run;
    struct delivery_marks marks;
    struct queue_counters counters;
};

/* Copies name and args; its settings are what the args say. */
struct queue *queue_new(struct queue_home *home, struct slice name, struct slice args, uint64_t id);
/* What is chosen of it from now on, living messages included; copies the settings. */
void queue_configure(struct queue *q, const struct settings *settings);
/* Cancels nothing (consumers must be gone) and unbinds nothing (bindings must be gone); drops the ready
 * entries and frees the queue when nothing is unacked any more. NULLs the pointer. */
void queue_delete(struct queue **q);

static inline size_t queue_ready(const struct queue *q)
{
    return order_size(&q->order);
}

/* True when it matters to the queue when the message was published: its record is to say so. */
static inline bool queue_keeps_birth(const struct queue *q, const struct message *m)
{
    return m->has_expiration || q->settings.ttl_ms != SETTINGS_NEVER;
}

/* More waits than its consumers can be expected to take soon: who publishes should let them catch up. A
 * queue without consumers only stores, and never holds anybody up. */
enum { QUEUE_BACKLOG_MESSAGES = 4096, QUEUE_BACKLOG_BYTES = 4 * 1024 * 1024 };

static inline bool queue_is_behind(const struct queue *q)
{
    return q->consumer_count > 0 && (order_size(&q->order) > QUEUE_BACKLOG_MESSAGES ||
                                     q->ready_bytes > QUEUE_BACKLOG_BYTES);
}

static inline bool queue_has_caught_up(const struct queue *q)
{
    return q->consumer_count == 0 || (order_size(&q->order) <= QUEUE_BACKLOG_MESSAGES / 2 &&
                                      q->ready_bytes <= QUEUE_BACKLOG_BYTES / 2);
}

/* True when the limit is such that a message with this body must be refused (x-overflow: reject-publish).
 * What consumers could take at once counts as well: deliver first, then refuse. */
static inline bool queue_refuses(const struct queue *q, uint64_t body_size)
{
    return q->settings.limit.overflow >= LIMIT_REJECT &&
           limit_is_exceeded(&q->settings.limit, queue_ready(q) + q->leaving.outcomes + 1,
                             q->ready_bytes + body_size);
}

/* Adds the message at the end, with a reference of its own. `journalled`: the store has it for this queue
 * under queue_next_sequence(). A drop-head limit may drop the oldest entries by it, or this one. */
void queue_push(struct queue *q, struct message *m, bool journalled);
/* As found by recovery, in any order. No limit counts before queue_restored. */
void queue_restore(struct queue *q, struct message *m, uint64_t sequence, bool redelivered);
/* A page of its messages, the next by sequence; before all messages. */
void queue_restore_page(struct queue *q, uint32_t slot);
/* Messages up to that sequence may have been delivered before. */
void queue_restore_delivered(struct queue *q, uint64_t sequence);
/* Recovery is over, and the store may be written: what is beyond the limit is dropped. */
void queue_restored(struct queue *q);
/* Puts it on the ready list or takes it off, after the order has changed. */
void queue_refresh(struct queue *q);

/* The sequence that the next push will have. */
static inline uint64_t queue_next_sequence(const struct queue *q)
{
    return q->next_sequence;
}

/* The batch to be durable before the delivery of this entry, just taken to be acked, may leave; 0 = none. */
uint64_t queue_delivery_batch(const struct queue *q, const struct entry *entry);

/* Takes the next entry for basic.get; false when empty, or when the next is on disk: ask queue_ready, then
 * paging_await. With `no_ack` the caller settles it at once with queue_settle, else it counts as unacked. */
bool queue_get(struct queue *q, bool no_ack, struct entry *entry);

/* The consumer whose turn it is, NULL when none rotates. */
struct consumer *queue_turn(const struct queue *q);
/* Gives the next entry to that consumer; there must be an entry. Moves the rotation on; takes credit. */
struct entry queue_next(struct queue *q, struct consumer *c);

/* The entry is done with: acked, or delivered with no_ack. Drops its reference. `was_unacked`: it was
 * handed out to be acked. May free a deleted queue. */
void queue_settle(struct queue *q, struct entry *entry, bool was_unacked);
/* It was handed out to be acked, and leaves the queue for that reason. May free a deleted queue. */
void queue_reject(struct queue *q, struct entry *entry, enum outcome_reason reason);
/* Frees a deleted queue that nothing is left of. */
void queue_release(struct queue *q);
/* Back to its place, marked redelivered when `seen`; in a deleted queue it is settled instead. */
void queue_requeue(struct queue *q, struct entry *entry, bool seen);
/* Drops all waiting entries (not the unacked ones); returns their number. */
size_t queue_purge(struct queue *q);

void queue_add_consumer(struct queue *q, struct consumer *c);
/* The consumer is GONE afterwards; its unacked entries stay with the channel. */
void queue_remove_consumer(struct consumer *c);

/* Tests: panics when an invariant (I3, I4, I5, order) does not hold. */
void queue_check(const struct queue *q);

#endif
