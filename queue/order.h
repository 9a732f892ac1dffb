/* order.h - the waiting entries of a queue, first in first out, with requeued ones back in their place.
 *
 * New entries go to the end of a ring. Requeued ones go to a heap by sequence; the next entry is the smaller
 * of the ring's first and the heap's first. So a requeue costs O(log requeued), wherever it belongs. */
#ifndef QUEUE_ORDER_H
#define QUEUE_ORDER_H

#include "base/ring.h"
#include "queue/entry.h"

RING(entry_ring, struct entry);

struct order {
    struct entry_ring fresh;
    struct entry *returned; /* binary min-heap by sequence */
    size_t returned_size, returned_capacity;
};

static inline size_t order_size(const struct order *order)
{
    return order->fresh.size + order->returned_size;
}

/* The entry's sequence must be greater than all that came before. */
static inline void order_push(struct order *order, struct entry entry)
{
    entry_ring_push_back(&order->fresh, entry);
}

/* Puts an entry that was taken back into its place. */
void order_return(struct order *order, struct entry entry);
/* The next entry, still owned by the order; NULL when there is none. */
struct entry *order_first(const struct order *order);
/* Takes it out; there must be one. */
struct entry order_take(struct order *order);
/* Drops the memory; must be empty. */
void order_free(struct order *order);

#endif
