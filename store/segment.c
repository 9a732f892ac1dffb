/* segment.c - which segments the journal is made of.
 *
 * Owner: the store, on the loop thread.
 * Invariants: in_use is ordered by epoch and by batch numbers; epochs in it have no gaps. A spare
 * is written over only when a durable batch says that the spare's epoch is dead: otherwise a crash
 * could leave an old message on disk whose ack had been written over. */
#include "store/segment.h"

#include "base/assert.h"
#include "base/mem.h"
#include "store/format.h"

enum {
    SPARES_KEPT = 8,
    SPARSE_MIN = 4,            /* segments in use from which the oldest may be asked to go */
    SPARSE_KEPT = 2,           /* newest segments that are left alone */
    SPARSE_SHARE = 8,          /* sparse = less than one in so many messages is live */
    FEW_SHARE = 64,            /* few = less than one in so many: to move them on costs nothing */
    FEW_PART = 2,              /* they are when so much of the newest segment, one part of it, is written */
    CROWDED_MIN = 8,           /* segments in use from which disk matters more than writing twice */
    CROWDED_SHARE = 2,
    SPARSE_LIVE_MAX = 256 * 1024, /* messages moved on */
    SLICE_PART = 4096            /* bytes of a segment's size for each message moved at a time */
};

/* freed_by of a segment that no batch has declared dead yet. */
#define PENDING UINT64_MAX

void segments_init(struct segments *segments, size_t segment_bytes)
{
    assert(segment_bytes >= 2 * FORMAT_BLOCK && segment_bytes % FORMAT_BLOCK == 0);
    *segments = (struct segments){.segment_bytes = segment_bytes,
                                  .epoch_next = 1,
                                  .slot_next = 1,
                                  .needed = UINT64_MAX,
                                  .rand = rand_secure()};
}

static void free_ring(struct segment_ring *ring)
{
    while (ring->size)
        mem_free(segment_ring_pop_front(ring));
    segment_ring_free(ring);
}

void segments_free(struct segments *segments)
{
    free_ring(&segments->in_use);
    free_ring(&segments->spare);
    free_ring(&segments->odd);
}

/* A spare that no crash can bring back to life, or a new slot. */
static struct segment *take_slot(struct segments *segments, uint64_t bytes, uint64_t durable)
{
    struct segment *segment;
    if (segments->spare.size) {
        segment = *segment_ring_at(&segments->spare, 0);
        if (bytes == segments->segment_bytes && segment->freed_by <= durable)
            return segment_ring_pop_front(&segments->spare);
    }
    segment = mem_zalloc(sizeof *segment);
    segment->slot = segments->slot_next++;
    return segment;
}

static struct segment *begin(struct segments *segments, const struct batch *batch, uint64_t durable)
{
    uint64_t need =
        format_round_up(SEGMENT_HEADER_BYTES + batch_journal_bytes(batch), FORMAT_BLOCK);
    uint64_t bytes = need > segments->segment_bytes ? need : segments->segment_bytes;
    struct segment *segment = take_slot(segments, bytes, durable);
    *segment = (struct segment){.epoch = segments->epoch_next++,
                                .salt = rand_u64(&segments->rand),
                                .bytes = bytes,
                                .used = SEGMENT_HEADER_BYTES,
                                .file_bytes = segment->file_bytes,
                                .first_batch = batch->number,
                                .slot = segment->slot};
    segment_ring_push_back(&segments->in_use, segment);
    return segment;
}

static struct segment *newest(const struct segments *segments)
{
    size_t size = segments->in_use.size;
    return size ? *segment_ring_at(&segments->in_use, size - 1) : NULL;
}

/* What was retired up to now is dead once this batch is on disk. */
static void stamp(struct segment_ring *ring, uint64_t batch)
{
    for (size_t i = ring->size; i--;) {
        struct segment *segment = *segment_ring_at(ring, i);
        if (segment->freed_by != PENDING)
            return;
        segment->freed_by = batch;
    }
}

/* Names the files of the ring beyond `kept` to be unlinked after the batch's sync. */
static void doom(struct segment_ring *ring, size_t kept, struct place *place, uint64_t durable)
{
    while (ring->size > kept && place->doomed_count < PLACE_DOOMED_MAX) {
        struct segment *segment = *segment_ring_at(ring, 0);
        if (segment->freed_by > durable)
            return;
        place->doomed[place->doomed_count++] = segment->slot;
        mem_free(segment_ring_pop_front(ring));
    }
}

static struct segment_ring *idle_ring(struct segments *segments, const struct segment *segment)
{
    return segment->bytes == segments->segment_bytes ? &segments->spare : &segments->odd;
}

static void retire(struct segments *segments)
{
    while (segments->in_use.size > 1) {
        struct segment *segment = *segment_ring_at(&segments->in_use, 0);
        if (segment->last_batch > segments->dead)
            return;
        assertf(segment->live == 0, "%llu messages are needed", (unsigned long long)segment->live);
        segment_ring_pop_front(&segments->in_use);
        if (segments->hit == segment)
            segments->hit = NULL;
        segment->freed_by = PENDING;
        segment_ring_push_back(idle_ring(segments, segment), segment);
    }
}

void segments_place(struct segments *segments, struct batch *batch, uint64_t durable)
{
    uint64_t size = batch_journal_bytes(batch);
    assert(size > 0 && batch->number > segments->previous && batch->number > durable);
    batch->place.doomed_count = 0;
    doom(&segments->odd, 0, &batch->place, durable);
    doom(&segments->spare, SPARES_KEPT, &batch->place, durable);
    struct segment *segment = newest(segments);
    /* A segment of another size is left alone: a small message in it would hold on to all of it. */
    bool begins = !segment || segment->bytes != segments->segment_bytes ||
                  segment->bytes - segment->used < size;
    if (begins)
        segment = begin(segments, batch, durable);
    segment->last_batch = batch->number;
    segment->live += batch->live;
    segment->messages += batch->records;
    segments->live += batch->live;
    retire(segments);
    stamp(&segments->spare, batch->number);
    stamp(&segments->odd, batch->number);

    struct place *place = &batch->place;
    place->epoch = segment->epoch, place->salt = segment->salt,
    place->segment_bytes = segment->bytes;
    place->offset = segment->used, place->size = size;
    place->previous = segments->previous;
    place->oldest = (*segment_ring_at(&segments->in_use, 0))->epoch;
    place->file_bytes = segment->file_bytes;
    place->slot = segment->slot;
    place->begins = begins;
    place->written = false;
    segment->used += size;
    segments->previous = batch->number;
}

static inline bool holds(const struct segment *segment, uint64_t batch)
{
    return segment->first_batch <= batch && batch <= segment->last_batch;
}

static struct segment *find(struct segments *segments, uint64_t batch)
{
    size_t low = 0, high = segments->in_use.size;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        struct segment *segment = *segment_ring_at(&segments->in_use, middle);
        if (segment->last_batch < batch)
            low = middle + 1;
        else
            high = middle;
    }
    struct segment *segment = *segment_ring_at(&segments->in_use, low);
    assertf(holds(segment, batch), "batch %llu is in no segment", (unsigned long long)batch);
    return segment;
}

void segments_release(struct segments *segments, uint64_t batch)
{
    struct segment *segment = segments->hit;
    if (!segment || !holds(segment, batch))
        segment = segments->hit = find(segments, batch);
    assertf(segment->live > 0, "batch %llu released too often", (unsigned long long)batch);
    segments->live--;
    segment->live--;
}

uint64_t segments_dying(const struct segments *segments)
{
    uint64_t last = 0;
    for (size_t i = 0; i + 1 < segments->in_use.size; i++) {
        const struct segment *segment = *segment_ring_at(&segments->in_use, i);
        if (segment->live > 0)
            break;
        last = segment->last_batch;
    }
    return last;
}

void segments_handed_over(struct segments *segments)
{
    for (size_t i = 0; i + 1 < segments->in_use.size; i++) {
        const struct segment *segment = *segment_ring_at(&segments->in_use, i);
        if (segment->live > 0 || segment->last_batch >= segments->needed)
            return;
        segments->dead = segment->last_batch;
    }
}

/* What is live, or is there, in batches up to that one, all of whose segments are old ones. */
static uint64_t count_up_to(const struct segments *segments, uint64_t batch, bool all)
{
    uint64_t count = 0;
    for (size_t i = 0; i < segments->in_use.size; i++) {
        const struct segment *segment = *segment_ring_at(&segments->in_use, i);
        if (segment->last_batch > batch)
            break;
        count += all ? segment->messages : segment->live;
    }
    return count;
}

/* The last batch of the oldest segments, but the newest `kept`, of which less than one message in `share` is
 * live; 0 = none. */
static uint64_t find_sparse(const struct segments *segments, size_t kept, uint64_t share)
{
    uint64_t live = 0, messages = 0, last = 0;
    for (size_t i = 0; i + kept < segments->in_use.size; i++) {
        const struct segment *segment = *segment_ring_at(&segments->in_use, i);
        live += segment->live, messages += segment->messages;
        if (live > SPARSE_LIVE_MAX)
            break;
        if (live > 0 && live * share < messages)
            last = segment->last_batch;
    }
    return last;
}

/* Few old messages are moved on before the newest segment is full, by a batch of that size at the latest: so
 * they never hold on to more than the segment that they are in. What is on its way to a consumer that keeps
 * up is younger by then. */
static uint64_t find_few(struct segments *segments, uint64_t open_bytes)
{
    const struct segment *last = newest(segments);
    size_t size = segments->in_use.size;
    if (size < 2 || segments->asked_few == last->epoch)
        return 0;
    bool late = last->used * FEW_PART >= last->bytes || last->bytes - last->used < open_bytes;
    if (!late && size == 2)
        return 0;
    segments->asked_few = last->epoch;
    return find_sparse(segments, late ? 1 : 2, FEW_SHARE);
}

/* More are left longer, for most of them may go by themselves. */
static uint64_t find_many(struct segments *segments)
{
    size_t size = segments->in_use.size;
    if (size < SPARSE_MIN || segments->asked == newest(segments)->epoch)
        return 0;
    uint64_t last = find_sparse(segments, SPARSE_KEPT, size >= CROWDED_MIN ? CROWDED_SHARE : SPARSE_SHARE);
    if (last)
        segments->asked = newest(segments)->epoch;
    return last;
}

static void begin_sparse(struct segments *segments, uint64_t open_bytes, uint64_t slice)
{
    struct sparse *sparse = &segments->sparse;
    uint64_t last = find_many(segments);
    if (!last)
        last = find_few(segments, open_bytes);
    if (!last)
        return;
    uint64_t first = (*segment_ring_at(&segments->in_use, 0))->first_batch;
    uint64_t before = first > 0 && first <= last ? first - 1 : last - 1;
    uint64_t live = count_up_to(segments, last, false);
    /* What is live may lie close together, in the oldest batches. */
    uint64_t slices = live > slice ? count_up_to(segments, last, true) / slice + 1 : 1;
    *sparse = (struct sparse){before, last, (last - before) / slices + 1, live, sparse->batch};
}

static uint64_t slice_of_part(const struct segments *segments)
{
    uint64_t slice = segments->segment_bytes / SLICE_PART;
    return slice > 0 ? slice : 1;
}

uint64_t segments_sparse_part(struct segments *segments, uint64_t open_bytes)
{
    struct sparse *sparse = &segments->sparse;
    if (sparse->at >= sparse->to)
        begin_sparse(segments, open_bytes, slice_of_part(segments));
    assert(sparse->at <= sparse->to || sparse->to == 0);
    return sparse->at < sparse->to ? sparse->to : 0;
}

uint64_t segments_sparse(struct segments *segments, uint64_t open, uint64_t open_bytes)
{
    struct sparse *sparse = &segments->sparse;
    uint64_t slice = slice_of_part(segments);
    if (sparse->batch == open) /* what was moved into it looks as if others shared it */
        return 0;
    if (segments_sparse_part(segments, open_bytes) == 0)
        return 0;
    uint64_t live = count_up_to(segments, sparse->to, false);
    uint64_t gone = sparse->live > live ? sparse->live - live : 0;
    if (gone > slice) /* a batch may have more than another */
        sparse->step = sparse->step / (gone / slice + 1) + 1;
    else if (gone < slice / 2)
        sparse->step += sparse->step / 2 + 1;
    sparse->live = live;
    sparse->batch = open;
    sparse->at = live > 0 && sparse->to - sparse->at > sparse->step ? sparse->at + sparse->step : sparse->to;
    return live > 0 ? sparse->at : 0;
}

void segments_adopt(struct segments *segments, struct segment *segment)
{
    struct segment *last = newest(segments);
    assert(!last || last->epoch + 1 == segment->epoch);
    segment_ring_push_back(&segments->in_use, segment);
    if (segments->epoch_next <= segment->epoch)
        segments->epoch_next = segment->epoch + 1;
    if (segments->slot_next <= segment->slot)
        segments->slot_next = segment->slot + 1;
    segments->live += segment->live;
}

void segments_adopt_spare(struct segments *segments, struct segment *segment)
{
    assert(segments->in_use.size == 0 ||
           segment->epoch < (*segment_ring_at(&segments->in_use, 0))->epoch);
    segment->freed_by = 0;
    segment_ring_push_front(idle_ring(segments, segment), segment);
    if (segments->epoch_next <= segment->epoch)
        segments->epoch_next = segment->epoch + 1;
    if (segments->slot_next <= segment->slot)
        segments->slot_next = segment->slot + 1;
}

void segments_written(struct segments *segments, const struct place *place)
{
    struct segment *segment = newest(segments);
    assert(segment && segment->slot == place->slot && place->file_bytes >= segment->file_bytes);
    segment->file_bytes = place->file_bytes;
}

static uint64_t ring_bytes(const struct segment_ring *ring)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < ring->size; i++)
        bytes += (*segment_ring_at(ring, i))->file_bytes;
    return bytes;
}

uint64_t segments_live_bytes(const struct segments *segments)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < segments->in_use.size; i++) {
        const struct segment *segment = *segment_ring_at(&segments->in_use, i);
        if (segment->messages)
            bytes += (segment->used - SEGMENT_HEADER_BYTES) / segment->messages * segment->live;
    }
    return bytes;
}

uint64_t segments_file_bytes(const struct segments *segments)
{
    return ring_bytes(&segments->in_use) + ring_bytes(&segments->spare) +
           ring_bytes(&segments->odd);
}
