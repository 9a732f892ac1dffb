/* merge.c - small pages of one queue become larger ones.
 *
 * Owner of a merge: the order's backlog. Pages are chosen when the merge begins; until the last of them has
 * been read nothing has changed, so it can be given up at any time. Then the new page and the end of the old
 * ones go with the open batch: after a crash there are either those or this.
 * Only pages of which all is needed are merged: there is nothing to say about acks and deliveries then.
 * Failure modes: a page that cannot be read is merged with nothing, and stays where it is. */
#include "queue/merge.h"

#include "queue/paging.h"

enum {
    PAGES_MAX = 24,          /* that become one */
    SHARE = 6,               /* none of them holds more than this part of all */
    BEGIN_TURN = 48,         /* looked at in a turn */
    BYTES_MAX = 1024 * 1024, /* under way */
    BATCH_MAX = 2 * 1024 * 1024, /* bytes of pages in the open batch beyond which none begins */
};

struct merge {
    struct list link; /* in paging.merges until it begins */
    struct order *order;
    uint32_t count, arrived; /* 0 pages = it has not begun */
    uint32_t bytes;
    uint32_t slots[PAGES_MAX];
    struct page_load *loads[PAGES_MAX];
};

static bool may_merge(const struct queue *q, const struct page *page)
{
    uint32_t page_bytes = q->home->paging.page_bytes;
    return !page->progress && !page->load && !page->alone && page->live == page->count &&
           page->bytes <= page_bytes / 2 && page->count <= PAGE_MESSAGES_MAX / 2;
}

/* How many of the youngest pages should become one: the most of which none is large among them. 0 = none. */
static uint32_t choose(const struct order *order, uint32_t *bytes)
{
    const struct queue *q = order->queue;
    const struct backlog *backlog = order->backlog;
    struct pages *pages = store_pages(q->home->store);
    size_t size = backlog->pages.size, spared = backlog->loading || rotation_any(&q->consumers.rotation);
    uint32_t chosen = 0, largest = 0, messages = 0, sum = 0;
    uint64_t next = 0;
    for (uint32_t i = 1; i <= PAGES_MAX && i + spared <= size; i++) {
        const struct page *page = pages_at(pages, *page_slot_ring_at(&backlog->pages, size - i));
        if (!may_merge(q, page) || (i > 1 && page_last(page) + 1 != next) ||
            sum + page->bytes > q->home->paging.page_bytes || messages + page->count > PAGE_MESSAGES_MAX)
            break;
        next = page->first;
        sum += page->bytes, messages += page->count;
        largest = page->bytes > largest ? page->bytes : largest;
        if (largest <= sum / SHARE) {
            chosen = i;
            *bytes = sum;
        }
    }
    return chosen;
}

void merge_consider(struct order *order)
{
    struct backlog *backlog = order->backlog;
    uint32_t bytes;
    if (backlog->merge || backlog->pages.size < SHARE || choose(order, &bytes) == 0)
        return;
    struct merge *merge = backlog->merge = mem_zalloc(sizeof *merge);
    merge->order = order;
    list_push_back(&order->queue->home->paging.merges, &merge->link);
}

static void end(struct merge *merge)
{
    struct paging *paging = &merge->order->queue->home->paging;
    assert(paging->merge_bytes >= merge->bytes && merge->order->backlog->merge == merge);
    paging->merge_bytes -= merge->bytes;
    merge->order->backlog->merge = NULL;
    list_unlink(&merge->link);
    for (uint32_t i = 0; i < merge->count; i++)
        if (merge->loads[i])
            page_load_free(&merge->loads[i]);
    mem_free(merge);
}

static bool is_about(const struct merge *merge, uint32_t slot)
{
    for (uint32_t i = 0; i < merge->count; i++)
        if (merge->slots[i] == slot)
            return true;
    return false;
}

void merge_cancel(struct order *order, uint32_t slot)
{
    const struct queue *q = order->queue;
    struct merge *merge = order->backlog->merge;
    if (!merge || (slot && !is_about(merge, slot)))
        return;
    for (uint32_t i = 0; i < merge->count && q->home->store; i++)
        if (!merge->loads[i])
            pages_forget_load(store_pages(q->home->store), merge->slots[i]);
    end(merge);
}

/* Asks for the pages; false when they are not on disk yet. */
static bool begin(struct merge *merge)
{
    struct order *order = merge->order;
    struct queue *q = order->queue;
    struct store *store = q->home->store;
    const struct page_slot_ring *ring = &order->backlog->pages;
    uint32_t bytes, count = choose(order, &bytes);
    if (count == 0) {
        end(merge);
        return true;
    }
    for (uint32_t i = 0; i < count; i++) {
        merge->slots[i] = *page_slot_ring_at(ring, ring->size - count + i);
        if (pages_at(store_pages(store), merge->slots[i])->batch > store_durable(store))
            return false;
    }
    merge->bytes = bytes;
    q->home->paging.merge_bytes += bytes;
    for (; merge->count < count; merge->count++)
        if (!pages_load(store_pages(store), merge->slots[merge->count], order)) {
            merge_cancel(order, 0);
            return true;
        }
    return true;
}

void merge_begin(struct queue_home *home)
{
    struct list waiting;
    list_init(&waiting);
    for (int i = 0; i < BEGIN_TURN && !list_empty(&home->paging.merges); i++) {
        if (home->paging.merge_bytes >= BYTES_MAX || pages_open_bytes(store_pages(home->store)) >= BATCH_MAX)
            break;
        struct list *node = list_pop_front(&home->paging.merges);
        if (!begin(container_of(node, struct merge, link)))
            list_push_back(&waiting, node);
    }
    list_splice_back(&home->paging.merges, &waiting);
}

/* Writes all that was read as one page. */
static void write(struct merge *merge)
{
    struct order *order = merge->order;
    struct queue *q = order->queue;
    struct pages *pages = store_pages(q->home->store);
    struct page_draft draft;
    struct page_times times = {.own_first = UINT64_MAX};
    uint64_t first = pages_at(pages, merge->slots[0])->first;
    bool noted = true, strayed = false;
    pages_begin(pages, &draft, merge->bytes - (size_t)merge->count * PAGE_HEADER_BYTES);
    for (uint32_t i = 0; i < merge->count; i++) {
        const struct page *page = pages_at(pages, merge->slots[i]);
        assert(page->live == page->count && !page->progress);
        page_times_add(&times, &page->times);
        noted &= page->noted;
        strayed |= page->noted || page->strayed;
        page_append(&draft, slice_of(merge->loads[i]->bytes, merge->loads[i]->size), page->persistent);
    }
    uint32_t slot = pages_write(pages, &draft, order->id, first, q->durable, &times);
    order_replace_pages(order, merge->slots, merge->count, slot);
    for (uint32_t i = 0; i < merge->count; i++)
        pages_drop(pages, merge->slots[i]);
    pages_at(pages, slot)->noted = noted;
    pages_at(pages, slot)->strayed = strayed;
    if (times.own_first < UINT64_MAX && !noted)
        expiry_note_page(order, first, times.own_first);
    q->home->paging.merged_pages += merge->count;
}

bool merge_takes(struct order *order, struct page_load *load)
{
    const struct queue *q = order->queue;
    struct merge *merge = order->backlog->merge;
    if (!merge || !is_about(merge, load->slot))
        return false;
    bool failed = load->failed != 0;
    if (failed)
        pages_at(store_pages(q->home->store), load->slot)->alone = true;
    for (uint32_t i = 0; i < merge->count; i++)
        if (merge->slots[i] == load->slot)
            merge->loads[i] = load;
    if (failed) {
        merge_cancel(order, 0);
    } else if (++merge->arrived == merge->count) {
        write(merge);
        end(merge);
        merge_consider(order);
    }
    return true;
}
