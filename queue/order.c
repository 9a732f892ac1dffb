/* order.c - the waiting entries of a queue in order of their sequence. */
#include "queue/order.h"

#include "base/sift.h"
#include "queue/queue.h"

enum { SLOTS_MIN = 32, SLOTS_ALL = 256 * 1024 };

/* What was emptied keeps room for entries, but all queues together only so much. One that left its queue goes
 * soon. */
static bool keeps(const struct order *order, size_t capacity)
{
    if (capacity <= SLOTS_MIN || capacity > RING_KEEP_ITEMS || !order->queue)
        return capacity <= RING_KEEP_ITEMS;
    return capacity * order->queue->home->queue_count <= SLOTS_ALL;
}

SIFT(entry, sequence);

void order_return(struct order *order, struct entry entry)
{
    if (order->returned_size == order->returned_capacity) {
        size_t capacity = order->returned_capacity ? order->returned_capacity * 2 : 4;
        order->returned = mem_realloc(order->returned, capacity * sizeof(*order->returned));
        order->returned_capacity = capacity;
    }
    entry_sift_up(order->returned, order->returned_size++, entry);
}

/* The sequence of what comes next from the ring or, when that is empty, from the first page. */
static uint64_t fresh_sequence(const struct order *order)
{
    if (order->fresh.size)
        return entry_ring_at(&order->fresh, 0)->sequence;
    return order->backlog && order->backlog->pages.size ? order->backlog->first : UINT64_MAX;
}

/* True when the next entry is a requeued one. */
static bool returned_first(const struct order *order)
{
    return order->returned_size > 0 && order->returned[0].sequence < fresh_sequence(order);
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
    order->expiry.sweep.again |= order->expiry.sweep.at > 0;
    if (order->returned_size > 0) {
        entry_sift_down(order->returned, order->returned_size, order->returned[order->returned_size]);
    } else if (!keeps(order, order->returned_capacity)) {
        mem_free(order->returned);
        order->returned = NULL;
        order->returned_capacity = 0;
    }
    return first;
}

struct entry order_take(struct order *order)
{
    if (returned_first(order))
        return take_returned(order);
    struct entry entry = entry_ring_pop_front(&order->fresh);
    if (order->fresh.size == 0 && !keeps(order, order->fresh.capacity))
        entry_ring_free(&order->fresh);
    if (order->backlog)
        order_join(order);
    return entry;
}

void order_split(struct order *order, size_t kept)
{
    assert(!order->backlog);
    struct backlog *backlog = order->backlog = mem_zalloc(sizeof *backlog);
    size_t moved = order->fresh.size > kept ? order->fresh.size - kept : 0;
    /* The larger part stays where it is. */
    struct entry_ring head = {0};
    for (; kept > 0 && moved > 0; kept--)
        entry_ring_push_back(&head, entry_ring_pop_front(&order->fresh));
    if (moved > 0) {
        backlog->tail = order->fresh;
        order->fresh = head;
    }
    for (size_t i = 0; i < backlog->tail.size; i++)
        backlog->tail_bytes += entry_ring_at(&backlog->tail, i)->message->body_size;
}

/* Drops holes at the front of a ring. */
static void trim(struct backlog *backlog, struct entry_ring *ring)
{
    while (backlog->holes > 0 && ring->size > 0 && !entry_ring_at(ring, 0)->message) {
        entry_ring_pop_front(ring);
        backlog->holes--;
    }
}

void order_trim_tail(struct order *order)
{
    trim(order->backlog, &order->backlog->tail);
}

void order_add_page(struct order *order, uint32_t slot, const struct page *page)
{
    if (!order->backlog)
        order_split(order, order->fresh.size);
    struct backlog *backlog = order->backlog;
    if (backlog->pages.size == 0)
        backlog->first = page->first;
    page_slot_ring_push_back(&backlog->pages, slot);
    backlog->paged += page->live;
    backlog->page_bytes += page->body_bytes;
}

void order_unload_page(struct order *order, uint32_t slot, const struct page *page)
{
    if (!order->backlog)
        order_split(order, order->fresh.size);
    struct backlog *backlog = order->backlog;
    assert(!backlog->loading);
    page_slot_ring_push_front(&backlog->pages, slot);
    backlog->first = page->first;
    backlog->paged += page->count;
    backlog->page_bytes += page->body_bytes;
    if (order->fresh.size == 0)
        entry_ring_free(&order->fresh);
}

void order_replace_pages(struct order *order, const uint32_t *slots, uint32_t count, uint32_t slot)
{
    struct page_slot_ring *ring = &order->backlog->pages;
    size_t end = ring->size; /* they are among the last */
    while (*page_slot_ring_at(ring, end - 1) != slots[count - 1])
        end--;
    size_t at = end - count;
    for (uint32_t i = 0; i < count; i++)
        assert(*page_slot_ring_at(ring, at + i) == slots[i]);
    *page_slot_ring_at(ring, at) = slot;
    for (size_t i = end; i < ring->size; i++)
        *page_slot_ring_at(ring, i - (count - 1)) = *page_slot_ring_at(ring, i);
    ring->size -= count - 1;
}

void order_join(struct order *order)
{
    struct backlog *backlog = order->backlog;
    trim(backlog, &order->fresh);
    if (backlog->pages.size > 0)
        return;
    if (order->fresh.size == 0 && backlog->tail.size > 0) {
        entry_ring_free(&order->fresh);
        order->fresh = backlog->tail;
        backlog->tail = (struct entry_ring){0};
        backlog->tail_bytes = 0;
        trim(backlog, &order->fresh);
    }
    if (backlog->tail.size > 0 || backlog->holes > 0)
        return;
    assert(backlog->paged == 0 && !backlog->loading && !backlog->merge);
    entry_ring_free(&backlog->tail);
    if (order->fresh.size == 0) /* there may be many such queues */
        entry_ring_free(&order->fresh);
    page_slot_ring_free(&backlog->pages);
    mem_free(backlog);
    order->backlog = NULL;
}

struct order order_leave(struct order *order)
{
    assert(!list_linked(&order->resident) && !list_linked(&order->wanting));
    struct order left = *order;
    order->fresh = (struct entry_ring){0};
    order->returned = NULL;
    order->returned_size = order->returned_capacity = 0;
    order->backlog = NULL;
    order->bytes = 0;
    left.queue = NULL;
    left.run = (struct store_run){0};
    left.expiry = (struct expiry){0}; /* it stays */
    return left;
}

/* The entry with that sequence in a ring, a hole or not; NULL when there is none. */
static struct entry *search(const struct entry_ring *ring, uint64_t sequence)
{
    size_t low = 0, high = ring->size;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (entry_ring_at(ring, middle)->sequence < sequence)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == ring->size || entry_ring_at(ring, low)->sequence != sequence)
        return NULL;
    return entry_ring_at(ring, low);
}

struct entry *order_find(const struct order *order, uint64_t sequence)
{
    struct entry *entry = search(&order->fresh, sequence);
    if (!entry && order->backlog)
        entry = search(&order->backlog->tail, sequence);
    return entry && entry->message ? entry : NULL;
}

bool order_pluck(struct order *order, uint64_t sequence, struct entry *plucked)
{
    struct entry *entry = order_find(order, sequence);
    if (!entry)
        return false;
    *plucked = *entry;
    if (order->fresh.size > 0 && entry == entry_ring_at(&order->fresh, 0)) {
        entry_ring_pop_front(&order->fresh);
        if (order->backlog)
            order_join(order);
        return true;
    }
    *entry = (struct entry){.sequence = sequence};
    if (!order->backlog)
        order->backlog = mem_zalloc(sizeof *order->backlog);
    struct backlog *backlog = order->backlog;
    if (backlog->tail.size > 0 && sequence >= entry_ring_at(&backlog->tail, 0)->sequence)
        backlog->tail_bytes -= plucked->message->body_size;
    backlog->holes++;
    order_join(order);
    return true;
}

/* Takes the requeued entry at that place out of the heap. */
static void remove_returned(struct order *order, size_t i)
{
    struct entry *heap = order->returned, last = heap[--order->returned_size];
    size_t size = order->returned_size;
    if (i == size)
        return;
    for (size_t child = 2 * i + 1; child < size; child = 2 * i + 1) {
        child += child + 1 < size && heap[child + 1].sequence < heap[child].sequence;
        if (heap[child].sequence >= last.sequence)
            break;
        heap[i] = heap[child];
        i = child;
    }
    entry_sift_up(heap, i, last);
}

/* What fills a place comes from the end, and may go to where nobody looks again: so nothing that is due is
 * there then. */
size_t order_sweep_returned(struct order *order, const struct order_sweep *sweep, size_t from, size_t max)
{
    size_t i = from;
    while (max > 0 && i < order->returned_size) {
        struct entry entry = order->returned[i];
        max--;
        if (!sweep->is_due(sweep->arg, &entry)) {
            i++;
            continue;
        }
        for (size_t last; (last = order->returned_size - 1) > i; max--) {
            struct entry end = order->returned[last];
            if (!sweep->is_due(sweep->arg, &end))
                break;
            if (max == 0)
                return i;
            remove_returned(order, last);
            sweep->take(sweep->arg, end);
        }
        remove_returned(order, i);
        sweep->take(sweep->arg, entry);
    }
    return i;
}

size_t order_find_page(const struct order *order, const struct pages *pages, uint64_t sequence)
{
    const struct backlog *backlog = order->backlog;
    size_t low = 0, high = backlog ? backlog->pages.size : 0;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        uint64_t first = pages_at(pages, *page_slot_ring_at(&backlog->pages, middle))->first;
        if (first == sequence)
            return middle;
        if (first < sequence)
            low = middle + 1;
        else
            high = middle;
    }
    return SIZE_MAX;
}

uint32_t order_page_with(const struct order *order, const struct pages *pages, uint64_t sequence)
{
    size_t low = 0, high = order->backlog ? order->backlog->pages.size : 0, size = high;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (page_last(pages_at(pages, *page_slot_ring_at(&order->backlog->pages, middle))) < sequence)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == size)
        return 0;
    uint32_t slot = *page_slot_ring_at(&order->backlog->pages, low);
    return pages_at(pages, slot)->first <= sequence ? slot : 0;
}

void order_free(struct order *order)
{
    assert(order_size(order) == 0);
    entry_ring_free(&order->fresh);
    mem_free(order->returned);
    *order = (struct order){0};
}
