/* expiry.h - messages that have waited long enough: x-message-ttl and the expiration property (semantics
 * 2.2; RabbitMQ's page "Time-To-Live and Expiration").
 *
 * A message's deadline is the time when it was published, plus the smaller of the queue's ttl and its own
 * expiration; a requeue or a restart does not change it. When it passes, the message is gone, wherever it
 * is in the queue:
 *
 * - With the queue's ttl alone the first in order is the first to go: there is nothing to keep.
 * - A message whose own expiration is shorter is noted in a heap of (deadline, sequence), and found in the
 *   order by its sequence.
 * - Pages know the earliest and the latest of their messages: see paging.h.
 *
 * Orders of queues that have a deadline are in their home's heap, by the next one. The clock is home.now_ms,
 * milliseconds since 1970 that never go back (the broker sets it once an input). */
#ifndef QUEUE_EXPIRY_H
#define QUEUE_EXPIRY_H

#include "base/heap.h"
#include "queue/entry.h"

struct order;
struct queue;
struct queue_home;

/* One message whose own expiration counts, or the first sequence of a page with such. */
struct due {
    uint64_t deadline_ms, sequence;
};

/* A binary heap by deadline. */
struct dues {
    struct due *at;
    size_t count, capacity;
};

enum { EXPIRY_PAGES = 6 };

/* A walk over the requeued, in which something is due. It goes over turns when they are many. */
struct requeued_sweep {
    uint64_t ms; /* when it went on last */
    size_t at;   /* where it goes on */
    bool on;     /* it is under way */
    bool again;  /* it may have missed something: another one is to follow */
};

struct expiry {
    struct heap_node node; /* in home.expiring; key: no deadline is before this */
    struct dues dues;      /* of messages in memory; some may be about what has left */
    struct dues unread;    /* of pages whose messages are not in the agenda, by their first sequence */
    struct requeued_sweep sweep;
    uint32_t pages[EXPIRY_PAGES]; /* slots of pages that are being read because something in them is due */
    uint32_t serial;       /* of its notes: agenda.h; 0 = it has none */
    uint32_t reading;      /* messages that were taken out, and are being read for their dead letter */
    bool late;             /* more is due than a turn could take: nothing is delivered meanwhile */
};

/* Where in expiry.pages that slot is, or with 0 a free place; NULL when there is none. */
uint32_t *expiry_find_page(struct expiry *expiry, uint32_t slot);

/* The message's own deadline, UINT64_MAX when it has no expiration. */
uint64_t expiry_own_deadline(const struct message *m);
/* So of one with these properties, published then. */
uint64_t expiry_deadline_of(struct slice props, uint64_t born_ms);

/* True when so many dead letters of the queue are kept, because no queue takes them, that nothing expires. */
bool expiry_is_held_up(const struct queue *q);

/* True when its own deadline, or the queue's ttl since it was published, has passed. */
bool expiry_is_due(const struct queue *q, uint64_t own_ms, uint64_t born_ms);

/* Something in the page that begins with that sequence has a deadline of its own. */
void expiry_note_page(struct order *order, uint64_t first, uint64_t deadline_ms);
/* A page that was asked for has come. */
void expiry_page_came(struct order *order);
/* The entry was put into the order: its queue has a ttl, or the message an expiration. */
void expiry_note(struct order *order, const struct entry *entry);
/* The ttl has changed. */
void expiry_reset(struct order *order);
/* Takes what is due before `before_ms` out of all queues, at most `budget` messages; returns what is left of
 * the budget. They become outcomes, or are settled. */
size_t expiry_run(struct queue_home *home, uint64_t before_ms, size_t budget);
/* Before a message is fetched: what is due now goes from that queue, unless a consumer will take it. */
void expiry_before_get(struct queue *q);
/* When something may be due; UINT64_MAX = never. */
uint64_t expiry_next_ms(const struct queue_home *home);
/* The order has lost its messages, and its queue goes. */
void expiry_leave(struct order *order);

#endif
