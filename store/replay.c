/* replay.c - which messages a journal leaves un-acked.
 *
 * Owner: the recovery. 16 bytes for each journalled (message, queue) of a defined queue, acked or
 * not.
 * Moved messages come behind younger ones, many of them at a time. To make room for each would shift all
 * that are younger, so they are put among those together, before anything else is asked or done. */
#include "store/replay.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "store/format.h"
#include "store/pages_restore.h"

void replay_init(struct replay *replay, struct pages *pages)
{
    *replay = (struct replay){.pages = pages, .notes_first = UINT64_MAX};
    map_init(&replay->by_id, 0);
}

void replay_free(struct replay *replay)
{
    map_free(&replay->by_id);
    while (replay->queues.size) {
        struct replay_queue *queue = replay_queues_pop_front(&replay->queues);
        mem_free(queue->entries);
        late_ring_free(&queue->late);
        page_ring_free(&queue->pages);
        return_ring_free(&queue->returned);
        mem_free(queue);
    }
    replay_queues_free(&replay->queues);
    replay_ids_free(&replay->defined);
    mem_free(replay->targets);
    mem_free(replay->returns);
}

static int by_number(const void *a, const void *b)
{
    uint64_t one = *(const uint64_t *)a, other = *(const uint64_t *)b;
    return (one > other) - (one < other);
}

static bool is_defined(struct replay *replay, uint64_t queue_id)
{
    struct replay_ids *ids = &replay->defined;
    assert(ids->head == 0); /* nothing is taken out: it is an array */
    if (replay->unsorted)
        qsort(ids->slots, ids->size, sizeof *ids->slots, by_number);
    replay->unsorted = false;
    return ids->size && bsearch(&queue_id, ids->slots, ids->size, sizeof *ids->slots, by_number);
}

/* The queue with that id, or the lane of one, NULL when it is not defined. Most are never asked for. */
static struct replay_queue *find(struct replay *replay, uint64_t queue_id)
{
    if (replay->last && replay->last->id == queue_id)
        return replay->last;
    struct replay_queue *queue = map_get(&replay->by_id, slice_of(&queue_id, sizeof queue_id));
    if (!queue && is_defined(replay, queue_id & STORE_QUEUE_ID_MAX)) {
        queue = mem_zalloc(sizeof *queue);
        queue->id = queue_id;
        map_put(&replay->by_id, slice_of(&queue->id, sizeof queue->id), queue);
        replay_queues_push_back(&replay->queues, queue);
    }
    if (queue)
        replay->last = queue;
    return queue;
}

static void note_id(struct replay *replay, uint64_t queue_id)
{
    queue_id &= STORE_QUEUE_ID_MAX;
    if (replay->queue_id_max < queue_id)
        replay->queue_id_max = queue_id;
}

void replay_define(struct replay *replay, uint64_t queue_id)
{
    size_t size = replay->defined.size;
    replay->unsorted |= size > 0 && *replay_ids_at(&replay->defined, size - 1) > queue_id;
    replay_ids_push_back(&replay->defined, queue_id);
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

bool replay_is_paged(struct replay *replay, uint64_t queue_id, uint64_t first, uint64_t last)
{
    struct replay_queue *queue = find(replay, queue_id);
    size_t at = queue ? page_bound(queue, first) : 0;
    assert(first <= last);
    return queue && at < queue->pages.size && (*page_ring_at(&queue->pages, at))->first <= last;
}

bool replay_page(struct replay *replay, struct page *page)
{
    struct replay_queue *queue = find(replay, page->queue_id);
    note_id(replay, page->queue_id);
    if (!queue)
        return false;
    size_t at = page_bound(queue, page->first);
    page_ring_push_back(&queue->pages, page);
    for (size_t i = queue->pages.size - 1; i > at; i--)
        *page_ring_at(&queue->pages, i) = *page_ring_at(&queue->pages, i - 1);
    *page_ring_at(&queue->pages, at) = page;
    assert(at + 1 == queue->pages.size || page_last(page) < (*page_ring_at(&queue->pages, at + 1))->first);
    if (queue->delivered < page_delivered(page))
        queue->delivered = page_delivered(page);
    return true;
}

static bool is_paged(const struct replay_queue *queue, uint64_t sequence)
{
    if (queue->pages.size == 0)
        return false;
    size_t at = page_bound(queue, sequence);
    return at < queue->pages.size && (*page_ring_at(&queue->pages, at))->first <= sequence;
}

/* Room for so many entries more. */
static void reserve(struct replay_queue *queue, size_t more)
{
    if (queue->capacity - queue->count >= more)
        return;
    while (queue->capacity - queue->count < more)
        queue->capacity = queue->capacity ? queue->capacity * 2 : 8;
    queue->entries = mem_realloc(queue->entries, queue->capacity * sizeof *queue->entries);
}

static void append(struct replay_queue *queue, uint64_t sequence, uint64_t batch)
{
    reserve(queue, 1);
    queue->entries[queue->count++] = (struct replay_entry){sequence, batch};
}

static int by_place(const void *a, const void *b)
{
    const struct replay_entry *one = a, *other = b;
    if (one->sequence != other->sequence)
        return one->sequence > other->sequence ? 1 : -1;
    return (one->batch > other->batch) - (one->batch < other->batch);
}

/* Of those with one sequence the last counts. Returns how many are left. */
static size_t sort_late(struct late_ring *late)
{
    struct replay_entry *at = late->slots;
    size_t kept = 0;
    assert(late->head == 0); /* nothing is taken out: it is an array */
    qsort(at, late->size, sizeof *at, by_place);
    for (size_t i = 0; i < late->size; i++)
        if (i + 1 == late->size || at[i].sequence != at[i + 1].sequence)
            at[kept++] = at[i];
    return kept;
}

/* The queue with all that is known of it in `entries`. */
static struct replay_queue *settled(struct replay_queue *queue)
{
    if (!queue || queue->late.size == 0)
        return queue;
    size_t late = sort_late(&queue->late), old = queue->count;
    reserve(queue, late);
    queue->count += late;
    for (size_t to = queue->count; late > 0;) { /* from behind: none of them is there yet */
        const struct replay_entry *next = &queue->late.slots[late - 1];
        bool younger = old > 0 && queue->entries[old - 1].sequence > next->sequence;
        queue->entries[--to] = younger ? queue->entries[--old] : *next;
        late -= !younger;
    }
    late_ring_free(&queue->late);
    return queue;
}

/* False when the queue holds a live message with that sequence or a higher one. */
static bool add(struct replay *replay, uint64_t queue_id, uint64_t sequence, uint64_t batch)
{
    struct replay_queue *queue = settled(find(replay, queue_id));
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
    if (queue->marked > queue->delivered)
        queue->marked = queue->delivered;
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

/* A message that was seen before, unless that part of the journal is gone. */
static void move(struct replay *replay, uint64_t queue_id, uint64_t sequence, uint64_t batch)
{
    struct replay_queue *queue = find(replay, queue_id);
    assert(batch > 0);
    if (!queue || is_paged(queue, sequence))
        return;
    size_t at = lower_bound(queue, sequence);
    if (at < queue->count && queue->entries[at].sequence == sequence)
        queue->entries[at].batch = batch;
    else
        late_ring_push_back(&queue->late, (struct replay_entry){sequence, batch});
}

static void ack(struct replay *replay, uint64_t queue_id, uint64_t first, uint64_t count)
{
    struct replay_queue *queue = settled(find(replay, queue_id));
    assert(count > 0 && first + (count - 1) >= first);
    if (!queue)
        return;
    uint64_t last = first + (count - 1);
    for (size_t i = lower_bound(queue, first);
         i < queue->count && queue->entries[i].sequence <= last; i++)
        queue->entries[i].batch = 0;
    for (size_t i = page_bound(queue, first); i < queue->pages.size; i++) {
        struct page *page = *page_ring_at(&queue->pages, i);
        if (page->first > last)
            break;
        pages_restore_acks(replay->pages, page, first, last);
    }
}

static void mark_delivered(struct replay *replay, uint64_t queue_id, uint64_t sequence)
{
    struct replay_queue *queue = find(replay, queue_id);
    /* The row of a later page may know what that of an earlier one does not. */
    if (!queue || sequence <= queue->marked)
        return;
    size_t pages = queue->pages.size;
    for (size_t i = pages ? page_bound(queue, queue->marked) : 0; i < pages; i++) {
        struct page *page = *page_ring_at(&queue->pages, i);
        if (page->first > sequence)
            break;
        pages_restore_delivered(replay->pages, page, sequence);
    }
    queue->marked = sequence;
    if (queue->delivered < sequence)
        queue->delivered = sequence;
}

/* How often a message came back is said in the journal, and kept with the page if it is in one. */
static void count_return(struct replay *replay, uint64_t queue_id, struct replay_return returned)
{
    struct replay_queue *queue = find(replay, queue_id);
    if (!queue)
        return;
    if (is_paged(queue, returned.sequence)) {
        struct page *page = *page_ring_at(&queue->pages, page_bound(queue, returned.sequence));
        pages_restore_returned(replay->pages, page, returned.sequence, (uint16_t)returned.count);
    } else {
        return_ring_push_back(&queue->returned, returned);
    }
}

static int by_sequence(const void *a, const void *b)
{
    const struct replay_return *one = a, *other = b;
    if (one->sequence != other->sequence)
        return one->sequence > other->sequence ? 1 : -1;
    return (one->count > other->count) - (one->count < other->count);
}

static uint16_t returns_of(struct replay *replay, const struct stored_target *target)
{
    struct replay_queue *queue = find(replay, target->queue_id);
    size_t low = 0, high = queue->returned.size;
    if (high == 0)
        return 0;
    assert(queue->returned.head == 0); /* nothing was ever taken from its front */
    if (!queue->returned_sorted)
        qsort(queue->returned.slots, high, sizeof *queue->returned.slots, by_sequence);
    queue->returned_sorted = true;
    while (low < high) { /* the first behind the last, and largest, one of this sequence */
        size_t middle = low + (high - low) / 2;
        if (return_ring_at(&queue->returned, middle)->sequence <= target->sequence)
            low = middle + 1;
        else
            high = middle;
    }
    const struct replay_return *found = low ? return_ring_at(&queue->returned, low - 1) : NULL;
    return found && found->sequence == target->sequence ? (uint16_t)found->count : 0;
}

static bool is_alive(struct replay *replay, uint64_t queue_id, uint64_t sequence, uint64_t batch)
{
    struct replay_queue *queue = settled(find(replay, queue_id));
    assert(batch > 0);
    if (!queue)
        return false;
    /* Questions come in the order of the first reading, so the next entry is nearly always the one.
     */
    size_t at = queue->cursor;
    if (at >= queue->count || queue->entries[at].sequence != sequence)
        at = lower_bound(queue, sequence);
    queue->cursor = at + 1;
    return at < queue->count && queue->entries[at].sequence == sequence &&
           queue->entries[at].batch == batch;
}

static bool is_message(const uint8_t *record)
{
    return record[RECORD_TYPE] == RECORD_MESSAGE || record[RECORD_TYPE] == RECORD_MOVED;
}

static bool learn_message(struct replay *replay, const uint8_t *record, uint64_t batch)
{
    uint32_t count = format_u32(record + MESSAGE_TARGETS);
    const uint8_t *at = record + MESSAGE_HEADER_BYTES;
    for (uint32_t i = 0; i < count; i++, at += TARGET_BYTES) {
        uint64_t queue_id = format_u64(at);
        note_id(replay, queue_id);
        if (record[RECORD_TYPE] == RECORD_MOVED)
            move(replay, queue_id, format_u64(at + 8), batch);
        else if (!add(replay, queue_id, format_u64(at + 8), batch)) {
            if (!replay->doubtful)
                return false;
            /* What was above had been acked, and that was lost: it stays, to be delivered again. */
            move(replay, queue_id, format_u64(at + 8), batch);
        }
    }
    return true;
}

static void learn_marks(struct replay *replay, const uint8_t *record)
{
    uint8_t type = record[RECORD_TYPE];
    const uint8_t *at = record + MARKS_HEADER_BYTES;
    for (uint32_t left = format_u32(record + MARKS_COUNT); left; left--) {
        uint64_t queue_id = format_u64(at), sequence = format_u64(at + 8);
        if (type == RECORD_ACKS)
            ack(replay, queue_id, sequence, format_u64(at + 16));
        else if (type == RECORD_DELIVERED)
            mark_delivered(replay, queue_id, sequence);
        else
            count_return(replay, queue_id, (struct replay_return){sequence, format_u64(at + 16)});
        at += type == RECORD_ACKS ? ACK_BYTES : type == RECORD_DELIVERED ? DELIVERED_BYTES : RETURNED_BYTES;
    }
}

void replay_doubt(struct replay *replay)
{
    replay->doubtful = true;
    for (size_t i = 0; i < replay->queues.size; i++) {
        struct replay_queue *queue = settled(*replay_queues_at(&replay->queues, i));
        size_t pages = queue->pages.size;
        uint64_t last = queue->count ? queue->entries[queue->count - 1].sequence : 0;
        if (pages && page_last(*page_ring_at(&queue->pages, pages - 1)) > last)
            last = page_last(*page_ring_at(&queue->pages, pages - 1));
        mark_delivered(replay, queue->id, last);
    }
}

uint64_t replay_learn(struct replay *replay, const struct read_batch *batch)
{
    struct read_cursor cursor = READ_CURSOR;
    for (uint32_t left = batch->records; left; left--) {
        const uint8_t *record = reader_next(batch, &cursor);
        if (record[RECORD_TYPE] == RECORD_NOTES)
            ; /* whoever wants them hears of them in the second reading */
        else if (!is_message(record))
            learn_marks(replay, record);
        else if (!learn_message(replay, record, batch->number))
            return batch->offset + (uint64_t)(record - batch->bytes);
    }
    return 0;
}

static struct slice cut(const uint8_t **at, size_t len)
{
    struct slice part = slice_of(*at, len);
    *at += len;
    return part;
}

static bool report_message(struct replay *replay, const uint8_t *record, uint64_t batch,
                           const struct recovery_sink *sink)
{
    uint32_t count = format_u32(record + MESSAGE_TARGETS), alive = 0;
    const uint8_t *at = record + MESSAGE_HEADER_BYTES;
    if (count > replay->target_capacity) {
        mem_free(replay->targets);
        mem_free(replay->returns);
        replay->targets = mem_alloc(count * sizeof *replay->targets);
        replay->returns = mem_alloc(count * sizeof *replay->returns);
        replay->target_capacity = count;
    }
    for (uint32_t i = 0; i < count; i++, at += TARGET_BYTES) {
        struct stored_target target = {format_u64(at), format_u64(at + 8)};
        if (!is_alive(replay, target.queue_id, target.sequence, batch))
            continue;
        replay->returns[alive] = returns_of(replay, &target);
        replay->targets[alive++] = target;
    }
    if (alive == 0)
        return false;
    struct stored_message message = {
        .targets = replay->targets, .returns = replay->returns, .target_count = alive};
    uint16_t flags = format_u16(record + MESSAGE_FLAGS);
    message.dead_letter = flags & MESSAGE_DEAD_LETTER;
    message.retried = flags & MESSAGE_RETRIED;
    if (flags & MESSAGE_HAS_BORN) {
        message.born_ms = format_u64(at);
        at += BORN_BYTES;
    }
    message.exchange = cut(&at, format_u16(record + MESSAGE_EXCHANGE_LEN));
    message.key = cut(&at, format_u16(record + MESSAGE_KEY_LEN));
    message.props = cut(&at, format_u32(record + MESSAGE_PROPS_LEN));
    message.body = cut(&at, format_u32(record + RECORD_SIZE) - (size_t)(at - record));
    sink->message(sink->arg, &message, batch);
    return true;
}

static void report_notes(struct replay *replay, const uint8_t *record, uint64_t batch,
                         const struct recovery_sink *sink)
{
    const uint8_t *at = record + MARKS_HEADER_BYTES;
    if (replay->notes_first > batch)
        replay->notes_first = batch;
    for (uint32_t left = format_u32(record + MARKS_COUNT); left && sink->note; left--, at += NOTE_BYTES) {
        struct stored_note note = {format_u64(at), {format_u64(at + 8), format_u64(at + 16)},
                                   format_u64(at + 24)};
        sink->note(sink->arg, &note, batch);
    }
}

uint64_t replay_report(struct replay *replay, const struct read_batch *batch,
                       const struct recovery_sink *sink)
{
    struct read_cursor cursor = READ_CURSOR;
    uint64_t reported = 0;
    for (uint32_t left = batch->records; left; left--) {
        const uint8_t *record = reader_next(batch, &cursor);
        if (is_message(record))
            reported += report_message(replay, record, batch->number, sink);
        else if (record[RECORD_TYPE] == RECORD_NOTES)
            report_notes(replay, record, batch->number, sink);
    }
    assert(batch->records == 0 || cursor.at <= batch->size);
    return reported;
}

void replay_report_delivered(const struct replay *replay, const struct recovery_sink *sink)
{
    for (size_t i = 0; i < replay->queues.size; i++) {
        const struct replay_queue *queue = *replay_queues_at(&replay->queues, i);
        if (queue->delivered)
            sink->delivered(sink->arg, queue->id, queue->delivered);
    }
}
