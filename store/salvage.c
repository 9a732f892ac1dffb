/* salvage.c - what is left of damaged batches.
 *
 * Owner: the recovery and the survey. A place in the journal is damage when something behind it builds on it:
 * a later batch of the segment, or a later segment. What stands there was synced once, so each record in it
 * that is valid counts, whatever became of its batch's header and of its neighbours.
 * Failure modes: -errno of a failed read. */
#include "store/salvage.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"

/* A place where records could begin is as cheap to refuse as its size is implausible; a body that was made to
 * look like sizes all over must not hold up the start for long. */
enum { HASHED_MAX = 256 * 1024 * 1024 };

struct search {
    const struct read_batch *batch;
    uint64_t seed, hashed;
};

static uint32_t record_at(struct search *search, uint64_t at)
{
    const struct read_batch *batch = search->batch;
    uint64_t rest = batch->size - at;
    if (rest < MARKS_HEADER_BYTES || search->hashed > HASHED_MAX)
        return 0;
    uint32_t size = format_u32(batch->bytes + at + RECORD_SIZE);
    if (size <= rest)
        search->hashed += size;
    return reader_record(batch->bytes + at, rest, search->seed + at);
}

/* Where the first valid record behind `at` begins; the batch's end when there is none. */
static uint64_t next_record(struct search *search, uint64_t at)
{
    const struct read_batch *batch = search->batch;
    uint64_t said = at + format_u32(batch->bytes + at + RECORD_SIZE);
    /* Most likely the size is right, and the damage elsewhere. */
    if (said >= at + MARKS_HEADER_BYTES && said < batch->size && record_at(search, said))
        return said;
    for (at++; at + MARKS_HEADER_BYTES <= batch->size && search->hashed <= HASHED_MAX; at++)
        if (record_at(search, at))
            return at;
    return batch->size;
}

static void add_hole(struct read_batch *batch, uint64_t from, uint64_t to)
{
    assert(from < to && to <= batch->size && batch->hole_count < READER_HOLES_MAX);
    batch->holes[batch->hole_count++] = (struct read_hole){from, to};
}

/* Finds records and holes from `at` on. */
static void sift(struct read_batch *batch, uint64_t seed, uint64_t at)
{
    struct search search = {batch, seed, 0};
    while (batch->size - at >= MARKS_HEADER_BYTES) {
        uint32_t size = record_at(&search, at);
        if (size) {
            batch->records++;
            at += size;
            continue;
        }
        bool last = batch->hole_count + 1 == READER_HOLES_MAX;
        uint64_t next = last ? batch->size : next_record(&search, at);
        add_hole(batch, at, next);
        at = next;
    }
    if (batch->size - at >= BATCH_ALIGN) /* too much for what fills up a batch */
        add_hole(batch, at, batch->size);
}

int salvage_again(struct reader *reader, const struct segment *segment, struct read_batch *batch)
{
    uint64_t seed = format_seed(segment->epoch, segment->salt, batch->offset);
    int failed = reader_bytes(reader, batch->offset, (size_t)batch->size, &batch->bytes);
    if (failed)
        return failed;
    batch->records = batch->hole_count = 0;
    if (batch->size == 0)
        return 0;
    bool headed = batch->size >= BATCH_HEADER_BYTES &&
                  memcmp(batch->bytes, FORMAT_BATCH_MAGIC, 8) == 0 &&
                  format_batch_checksum(batch->bytes, seed) == format_u64(batch->bytes + BATCH_CHECKSUM);
    if (!headed)
        add_hole(batch, 0, batch->size < BATCH_HEADER_BYTES ? batch->size : BATCH_HEADER_BYTES);
    if (batch->size > BATCH_HEADER_BYTES)
        sift(batch, seed, BATCH_HEADER_BYTES);
    return 0;
}

/* The number of the batch before the one whose whole header is at `offset`. */
static int number_before(struct reader *reader, uint64_t offset, uint64_t *number)
{
    const uint8_t *header = NULL;
    int failed = reader_bytes(reader, offset, BATCH_HEADER_BYTES, &header);
    *number = failed ? 0 : format_u64(header + BATCH_PREVIOUS);
    return failed;
}

int salvage_batch(struct reader *reader, const struct segment *segment, uint64_t promised,
                  enum reader_verdict verdict, struct read_batch *batch, bool *damaged)
{
    uint64_t behind = 0, last = segment->last_batch, end = reader_limit(reader, segment);
    bool sized = verdict == READER_DAMAGED && batch->bytes;
    assert(verdict != READER_VALID);
    *damaged = false;
    if (promised && last >= promised)
        return 0;
    int failed = reader_scan(reader, segment, segment->used, last, &behind);
    if (failed || (behind == 0 && !promised))
        return failed;
    *damaged = true;
    if (verdict == READER_NOTHING)
        *batch = (struct read_batch){.offset = segment->used, .damage = segment->used};
    batch->behind = behind;
    if (!sized) {
        batch->number = promised;
        batch->oldest = 0;
        batch->size = (behind ? behind : end > batch->offset ? end : batch->offset) - batch->offset;
        failed = behind ? number_before(reader, behind, &batch->number) : 0;
    }
    if (batch->number <= last) /* nothing is missing, says what follows: then its place is wrong */
        return failed ? failed : -EILSEQ;
    return failed ? failed : salvage_again(reader, segment, batch);
}

void salvage_reason(const struct read_batch *batch, enum reader_verdict verdict, char *why, size_t size)
{
    assert(verdict != READER_VALID);
    const char *what = verdict == READER_DAMAGED ? "record" : "batch";
    if (batch->behind)
        snprintf(why, size, "the %s is not valid, but a later batch at offset %llu is", what,
                 (unsigned long long)batch->behind);
    else if (verdict == READER_DAMAGED)
        snprintf(why, size, "the record is not valid, but there are later segments");
    else
        snprintf(why, size, "batches are missing, for later segments build on them");
}
