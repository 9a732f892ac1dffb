/* queue.h - a queue: its entries in order, its consumers in rotation, and what it has handed out.
 *
 * The queue never pushes: broker/deliver pulls with queue_next. It never routes, never touches a socket.
 * It is on its home's ready list iff it has a waiting entry and a rotating consumer (invariant I5).
 * Owner: the vhost, until queue_delete; then it lives on, nameless, until all of it is settled. */
#ifndef QUEUE_QUEUE_H
#define QUEUE_QUEUE_H

#include "exchange/dest.h"
#include "queue/dedup.h"
#include "queue/groups.h"
#include "queue/kind.h"
#include "queue/levels.h"
#include "queue/queue_home.h"
#include "queue/rotation.h"
#include "queue/settings.h"

enum queue_stores { QUEUE_STORES_NONE, QUEUE_STORES_PERSISTENT, QUEUE_STORES_ALL };

struct queue_counters {
    uint64_t published, delivered, redelivered, acked, expired;
};

struct queue {
    struct dest dest;
    struct queue_home *home;
    struct slice name, args;  /* own memory; args: table fields */
    uint64_t id;              /* never reused; what the journal knows it by */
    struct queue_owner owner;
    struct kind kind;
    enum queue_stores stores; /* which messages the journal keeps */
    bool durable, auto_delete;
    struct order order;       /* all that waits; with levels, those of level 0 */
    struct order *front;      /* whose first entry is the next */
    struct levels *levels;    /* of a queue that orders by priority, else NULL */
    struct groups *groups;    /* of one that orders by group, else NULL */
    size_t unacked;           /* entries in channels */
    uint64_t ready_bytes;     /* of bodies */
    struct settings settings;
    struct leaving leaving;
    struct delay *delay;      /* of its retries, NULL = there were none */
    struct dedup *dedup;      /* what it took and does not take again, NULL = it takes everything */
    struct queue_consumers consumers;
    struct list ready_link;
    struct list paced;        /* publishers waiting for the consumers to catch up: the broker's */
    struct queue_counters counters;
    struct moving moving;     /* what it has in old parts of the journal */
};

/* Copies name and args; its settings are what the args say. It is not durable yet. */
struct queue *queue_new(struct queue_home *home, struct slice name, struct slice args, uint64_t id);
void queue_make_durable(struct queue *q);
/* What is chosen of it from now on; copies the settings. */
void queue_configure(struct queue *q, const struct settings *settings);
/* Consumers and bindings must be gone. Drops the ready entries, frees the queue when nothing is unacked. */
void queue_delete(struct queue **q);

static inline size_t queue_ready(const struct queue *q)
{
    return q->kind.ordering == KIND_FIFO ? order_size(&q->order)
           : q->levels                    ? q->levels->ready : q->groups->ready;
}

/* The store is to have this message for the queue: persistent ones, in a quorum queue all. */
static inline bool queue_stores(const struct queue *q, const struct message *m)
{
    return (unsigned)q->stores > !m->persistent;
}

/* True when it matters to the queue when the message was published: it may expire. */
static inline bool queue_keeps_birth(const struct queue *q, const struct message *m)
{
    return (m->has_expiration && !q->kind.keeper) || q->settings.ttl_ms != SETTINGS_NEVER;
}

/* The next entry, still the queue's; NULL when none is at hand. */
static inline struct entry *queue_first(const struct queue *q)
{
    return order_first(q->front);
}

/* More than its consumers take soon: who publishes should let them catch up. */
enum { QUEUE_BACKLOG_MESSAGES = 4096, QUEUE_BACKLOG_BYTES = 4 * 1024 * 1024 };

static inline bool queue_is_behind(const struct queue *q)
{
    return q->consumers.count > 0 && (queue_ready(q) > QUEUE_BACKLOG_MESSAGES ||
                                     q->ready_bytes > QUEUE_BACKLOG_BYTES);
}

static inline bool queue_has_caught_up(const struct queue *q)
{
    return q->consumers.count == 0 || (queue_ready(q) <= QUEUE_BACKLOG_MESSAGES / 2 &&
                                      q->ready_bytes <= QUEUE_BACKLOG_BYTES / 2);
}

/* True when a message with this body must be refused (x-overflow: reject-publish). What consumers could take
 * at once counts as well: deliver first, then refuse. */
static inline bool queue_refuses(const struct queue *q, uint64_t body_size)
{
    return q->settings.limit.overflow >= LIMIT_REJECT &&
           limit_is_exceeded(&q->settings.limit, queue_ready(q) + q->leaving.outcomes + 1,
                             q->ready_bytes + body_size);
}

/* Adds the message, with a reference of its own. `journalled`: the store has it under lane_target(). With a
 * drop-head limit the oldest entries, or this one, may be dropped by it. */
void queue_push(struct queue *q, struct message *m, bool journalled);
/* Found by recovery under that lane. No limit counts before queue_restored. */
void queue_restore(struct queue *q, unsigned lane, struct message *m, uint64_t sequence, uint16_t returns);
/* A page of a lane's messages, the next by sequence; before all messages. */
void queue_restore_page(struct queue *q, uint32_t slot);
/* Messages of the lane up to that sequence may have been delivered before. */
void queue_restore_delivered(struct queue *q, unsigned lane, uint64_t sequence);
/* Recovery is over: limits count. No sequence below `floor` is used from now on. */
void queue_restored(struct queue *q, uint64_t floor);
/* Puts it on the ready list or takes it off: its consumers or an order have changed. */
void queue_refresh(struct queue *q);
void queue_order_changed(struct queue *q, struct order *order);

/* The batch that must be durable before the delivery of this entry, to be acked, may leave; 0 = none. */
uint64_t queue_delivery_batch(struct queue *q, const struct entry *entry);

/* Takes the next entry for basic.get; false when empty, or when the next is on disk: ask queue_ready, then
 * paging_await. With `no_ack` the caller settles it at once, else it counts as unacked. */
bool queue_get(struct queue *q, bool no_ack, struct entry *entry);

/* Whose turn it is, NULL when none rotates. */
struct consumer *queue_turn(const struct queue *q);
/* Gives the next entry to that consumer. Moves the rotation on; takes credit. */
struct entry queue_next(struct queue *q, struct consumer *c);

/* The entry is done with: acked, or delivered with no_ack. Drops its reference. `was_unacked`: it was
 * handed out to be acked. May free a deleted queue. */
void queue_settle(struct queue *q, struct entry *entry, bool was_unacked);
/* It was handed out to be acked, and leaves for that reason. May free a deleted queue. */
void queue_reject(struct queue *q, struct entry *entry, enum outcome_reason reason);
/* Frees a deleted queue that nothing is left of. */
void queue_release(struct queue *q);
/* Back to its place, redelivered when `seen`; beyond the delivery limit it leaves the queue instead. */
void queue_requeue(struct queue *q, struct entry *entry, bool seen);
/* Drops all waiting entries (not the unacked ones); returns their number. */
size_t queue_purge(struct queue *q);
void queue_check(const struct queue *q);
#endif
