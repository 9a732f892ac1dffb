/* order.h - the waiting entries of a queue, first in first out, with requeued ones back in their place.
 *
 * New entries go to the end of a ring. Requeued ones go to a heap by sequence; the next entry is the
 * smaller of the ring's first and the heap's first. So a requeue costs O(log requeued), wherever it
 * belongs. A long queue has a backlog: behind the ring come pages on disk, and behind these the newest
 * entries in a ring of their own. While it has none, nothing is different. */
#ifndef QUEUE_ORDER_H
#define QUEUE_ORDER_H

#include "base/list.h"
#include "base/ring.h"
#include "queue/entry.h"
#include "queue/expiry.h"
#include "queue/mark.h"
#include "store/pages.h"

struct merge; /* merge.h */
struct queue;

RING(entry_ring, struct entry);

struct backlog {
    struct page_slot_ring pages; /* on disk, oldest first */
    uint64_t first;              /* sequence of the first message in the first of them */
    bool loading;                /* the first of them is being read */
    bool awaited;                /* somebody waits for it, though no consumer rotates */
    struct merge *merge;         /* of the youngest of them; NULL = none */
    size_t paged;                /* messages in pages */
    uint64_t page_bytes;         /* of their bodies */
    struct entry_ring tail;      /* newer than all of these */
    uint64_t tail_bytes;         /* of its bodies */
    size_t holes;                /* entries without a message in ring and tail: see order_pluck */
};

struct order {
    struct entry_ring fresh;
    struct entry *returned; /* binary min-heap by sequence */
    size_t returned_size, returned_capacity;
    struct backlog *backlog; /* NULL = all of it is in memory */
    struct queue *queue;     /* whose it is */
    uint64_t id;             /* what the journal knows it by: the queue's id, and the lane */
    uint64_t next_sequence;  /* greater than all that came */
    uint64_t bytes;          /* of bodies that wait in it */
    size_t counted;          /* how many waited when levels_note looked last */
    struct store_run run;
    struct delivery_marks marks;
    struct expiry expiry;    /* of what has a deadline */
    struct list resident;    /* in home.resident */
    struct list wanting;     /* in home.wanting */
};

static inline size_t order_size(const struct order *order)
{
    size_t size = order->fresh.size + order->returned_size;
    const struct backlog *backlog = order->backlog;
    return backlog ? size + backlog->paged + backlog->tail.size - backlog->holes : size;
}

/* When and how queues go to disk: see paging.h. */
struct paging {
    struct list resident;      /* order.resident of orders that hold more than a few messages in memory */
    struct list calendars;     /* so of orders of calendars */
    struct list wanting;       /* order.wanting of orders whose next page is to be read */
    struct list merges;        /* of pages, that wait to begin */
    uint64_t merge_bytes;      /* of pages being merged */
    uint64_t merged_pages;     /* that are no more since they were merged */
    uint32_t resident_max;     /* messages that a queue keeps in memory */
    uint32_t resident_min;     /* so few are left alone however little memory there is */
    uint32_t page_bytes;       /* of a page, about */
    uint64_t resident_bytes;   /* of bodies, that a queue keeps in memory */
    uint64_t memory_max;       /* for messages of all queues */
    size_t batch_max;          /* bytes of pages in a batch, from which on no more are added */
    uint32_t held_turns;       /* in which pages that are wanted were not asked for */
};

/* The entry's sequence must be greater than all that came before. */
static inline void order_push(struct order *order, struct entry entry)
{
    if (order->backlog) {
        order->backlog->tail_bytes += entry.message->body_size;
        entry_ring_push_back(&order->backlog->tail, entry);
    } else {
        entry_ring_push_back(&order->fresh, entry);
    }
}

/* Puts an entry that was taken back into its place. */
void order_return(struct order *order, struct entry entry);
/* The next entry, still owned by the order; NULL when there is none, or it is on disk. */
struct entry *order_first(const struct order *order);
/* Takes it out; there must be one. */
struct entry order_take(struct order *order);
/* Takes all out of it, as an order of its own that is in no list; what is left goes on counting. */
struct order order_leave(struct order *order);
/* Takes the entry with that sequence out of the ring or the tail, wherever it is; false when it is not
 * there (it left, was requeued, or is in a page). What is left is a hole: an entry with its sequence and
 * no message, which whoever walks the rings passes over; the first in the ring is none. */
bool order_pluck(struct order *order, uint64_t sequence, struct entry *entry);
/* The entry that order_pluck would take, NULL when it is not there. */
struct entry *order_find(const struct order *order, uint64_t sequence);
/* How to look at requeued entries: those for which `is_due` says so go, each to `take`. */
struct order_sweep {
    bool (*is_due)(void *arg, const struct entry *entry);
    void (*take)(void *arg, struct entry entry);
    void *arg;
};
/* Looks at about `max` of them from place `from` on; returns where to go on, which is order.returned_size or
 * more after the last. What is taken in between moves others: they may be missed then. */
size_t order_sweep_returned(struct order *order, const struct order_sweep *sweep, size_t from, size_t max);
/* Drops holes at the front of the tail. */
void order_trim_tail(struct order *order);
/* The index in backlog.pages of the page that begins with that sequence; SIZE_MAX when there is none. */
size_t order_find_page(const struct order *order, const struct pages *pages, uint64_t sequence);
/* The slot of the page in the backlog that has that sequence; 0 when none has. */
uint32_t order_page_with(const struct order *order, const struct pages *pages, uint64_t sequence);
/* Drops the memory; must be empty. */
void order_free(struct order *order);

/* Entries in memory that were not requeued. */
static inline size_t order_resident(const struct order *order)
{
    return order->fresh.size + (order->backlog ? order->backlog->tail.size : 0);
}

/* Adds a page behind all others, and before the tail. */
void order_add_page(struct order *order, uint32_t slot, const struct page *page);
/* The page, which has been read, is on disk only again. Its entries were the last of the ring. */
void order_unload_page(struct order *order, uint32_t slot, const struct page *page);
/* One page has the messages of `count` that follow each other, and takes their place. */
void order_replace_pages(struct order *order, const uint32_t *slots, uint32_t count, uint32_t slot);
/* Makes the order one with a backlog: all but the first `kept` entries of the ring become the tail. */
void order_split(struct order *order, size_t kept);
/* The pages have changed: lets the tail follow when there are none left. */
void order_join(struct order *order);

/* True when order_take has something to take. */
static inline bool order_loaded(const struct order *order)
{
    return order->backlog ? order_first(order) != NULL : order->fresh.size + order->returned_size > 0;
}

#endif
