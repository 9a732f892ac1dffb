/* replay.c - which messages a journal leaves un-acked.
 *
 * Owner: the recovery. 16 bytes for each journalled (message, queue) of a defined queue, acked or not. */
#include "store/replay.h"

#include <string.h>

#include "base/assert.h"
#include "base/mem.h"

void replay_init(struct replay *replay, struct pages *pages)
{
    *replay = (struct replay){.store_pages = pages};
    map_init(&replay->by_id, 0);
}

void replay_free(struct replay *replay)
{
    map_free(&replay->by_id);
    while (replay->queues.size) {
        struct replay_queue *queue = replay_queues_pop_front(&replay->queues);
        mem_free(queue->entries);
        page_ring_free(&queue->pages);
        mem_free(queue);
    }
    replay_queues_free(&replay->queues);
}

static struct replay_queue *find(struct replay *replay, uint64_t queue_id)
{
    if (replay->last && replay->last->id == queue_id)
        return replay->last;
    struct replay_queue *queue = map_get(&replay->by_id, slice_of(&queue_id, sizeof queue_id));
    if (queue)
        replay->last = queue;
    return queue;
}

void replay_define(struct replay *replay, uint64_t queue_id)
{
    if (find(replay, queue_id))
        return;
    struct replay_queue *queue = mem_zalloc(sizeof *queue);
    queue->id = queue_id;
    map_put(&replay->by_id, slice_of(&queue->id, sizeof queue->id), queue);
    replay_queues_push_back(&replay->queues, queue);
}

bool replay_page(struct replay *replay, struct page *page)
{
    struct replay_queue *queue = find(replay, page->queue_id);
    if (!queue)
        return false;
    assert(queue->pages.size == 0 || page_last(*page_ring_at(&queue->pages, queue->pages.size - 1)) < page->first);
    page_ring_push_back(&queue->pages, page);
    if (queue->delivered < page_delivered(page))
        queue->delivered = page_delivered(page);
    return true;
}

/* Index of the first page that ends at that sequence or behind it. */
static size_t page_bound(const struct replay_queue *queue, uint64_t sequence)
{
    size_t low = 0, high = queue->pages.size;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (page_last(*page_ring_at(&queue->pages, middle)) < sequence)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool is_paged(const struct replay_queue *queue, uint64_t sequence)
{
    if (queue->pages.size == 0)
        return false;
    size_t at = page_bound(queue, sequence);
    return at < queue->pages.size && (*page_ring_at(&queue->pages, at))->first <= sequence;
}

static void append(struct replay_queue *queue, uint64_t sequence, uint64_t batch)
{
    if (queue->count == queue->capacity) {
        queue->capacity = queue->capacity ? queue->capacity * 2 : 8;
        queue->entries = mem_realloc(queue->entries, queue->capacity * sizeof *queue->entries);
    }
    queue->entries[queue->count++] = (struct replay_entry){sequence, batch};
}

bool replay_message(struct replay *replay, uint64_t queue_id, uint64_t sequence, uint64_t batch)
{
    struct replay_queue *queue = find(replay, queue_id);
    assert(batch > 0);
    if (!queue || is_paged(queue, sequence))
        return true;
    /* A queue that began again: what is above has been acked before. */
    while (queue->count && queue->entries[queue->count - 1].sequence >= sequence) {
        if (queue->entries[queue->count - 1].batch)
            return false;
        queue->count--;
    }
    if (queue->delivered >= sequence)
        queue->delivered = sequence ? sequence - 1 : 0;
    append(queue, sequence, batch);
    return true;
}

/* Index of the first entry with that sequence or a higher one. */
static size_t lower_bound(const struct replay_queue *queue, uint64_t sequence)
{
    size_t low = 0, high = queue->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (queue->entries[middle].sequence < sequence)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

void replay_moved(struct replay *replay, uint64_t queue_id, uint64_t sequence, uint64_t batch)
{
    struct replay_queue *queue = find(replay, queue_id);
    assert(batch > 0);
    if (!queue || is_paged(queue, sequence))
        return;
    size_t at = lower_bound(queue, sequence);
    if (at == queue->count || queue->entries[at].sequence != sequence) {
        append(queue, 0, 0);
        memmove(&queue->entries[at + 1], &queue->entries[at],
                (queue->count - 1 - at) * sizeof *queue->entries);
    }
    queue->entries[at] = (struct replay_entry){sequence, batch};
}

void replay_ack(struct replay *replay, uint64_t queue_id, uint64_t first, uint64_t count)
{
    struct replay_queue *queue = find(replay, queue_id);
    assert(count > 0 && first + (count - 1) >= first);
    if (!queue)
        return;
    uint64_t last = first + (count - 1);
    for (size_t i = lower_bound(queue, first); i < queue->count && queue->entries[i].sequence <= last; i++)
        queue->entries[i].batch = 0;
    for (size_t i = page_bound(queue, first); i < queue->pages.size; i++) {
        struct page *page = *page_ring_at(&queue->pages, i);
        if (page->first > last)
            break;
        pages_restore_acks(replay->store_pages, page, first, last);
    }
}

void replay_delivered(struct replay *replay, uint64_t queue_id, uint64_t sequence)
{
    struct replay_queue *queue = find(replay, queue_id);
    if (!queue || sequence <= queue->delivered)
        return;
    size_t pages = queue->pages.size;
    for (size_t i = pages ? page_bound(queue, queue->delivered) : 0; i < pages; i++) {
        struct page *page = *page_ring_at(&queue->pages, i);
        if (page->first > sequence)
            break;
        pages_restore_delivered(replay->store_pages, page, sequence);
    }
    queue->delivered = sequence;
}

bool replay_alive(struct replay *replay, uint64_t queue_id, uint64_t sequence, uint64_t batch)
{
    struct replay_queue *queue = find(replay, queue_id);
    assert(batch > 0);
    if (!queue)
        return false;
    /* Questions come in the order of the first reading, so the next entry is nearly always the one. */
    size_t at = queue->cursor;
    if (at >= queue->count || queue->entries[at].sequence != sequence)
        at = lower_bound(queue, sequence);
    queue->cursor = at + 1;
    return at < queue->count && queue->entries[at].sequence == sequence && queue->entries[at].batch == batch;
}
