/* order.c - the waiting entries of a queue in order of their sequence. */
#include "queue/order.h"

static void sift_up(struct entry *heap, size_t i, struct entry entry)
{
    while (i > 0 && heap[(i - 1) / 2].sequence > entry.sequence) {
        heap[i] = heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    heap[i] = entry;
}

static void sift_down(struct entry *heap, size_t size, struct entry entry)
{
    size_t i = 0;
    for (size_t child = 1; child < size; child = 2 * i + 1) {
        if (child + 1 < size && heap[child + 1].sequence < heap[child].sequence)
            child++;
        if (heap[child].sequence >= entry.sequence)
            break;
        heap[i] = heap[child];
        i = child;
    }
    heap[i] = entry;
}

void order_return(struct order *order, struct entry entry)
{
    if (order->returned_size == order->returned_capacity) {
        size_t capacity = order->returned_capacity ? order->returned_capacity * 2 : 4;
        order->returned = mem_realloc(order->returned, capacity * sizeof(*order->returned));
        order->returned_capacity = capacity;
    }
    sift_up(order->returned, order->returned_size++, entry);
}

/* True when the next entry is a requeued one. */
static bool returned_first(const struct order *order)
{
    if (order->returned_size == 0)
        return false;
    return order->fresh.size == 0 ||
           order->returned[0].sequence < entry_ring_at(&order->fresh, 0)->sequence;
}

struct entry *order_first(const struct order *order)
{
    if (returned_first(order))
        return &order->returned[0];
    return order->fresh.size ? entry_ring_at(&order->fresh, 0) : NULL;
}

static struct entry take_returned(struct order *order)
{
    struct entry first = order->returned[0];
    order->returned_size--;
    if (order->returned_size > 0) {
        sift_down(order->returned, order->returned_size, order->returned[order->returned_size]);
    } else if (order->returned_capacity > RING_KEEP_ITEMS) {
        mem_free(order->returned);
        order->returned = NULL;
        order->returned_capacity = 0;
    }
    return first;
}

struct entry order_take(struct order *order)
{
    assert(order_size(order) > 0);
    return returned_first(order) ? take_returned(order) : entry_ring_pop_front(&order->fresh);
}

void order_free(struct order *order)
{
    assert(order_size(order) == 0);
    entry_ring_free(&order->fresh);
    mem_free(order->returned);
    *order = (struct order){0};
}
