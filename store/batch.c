/* batch.c - what goes to disk together.
 *
 * Owner: the store; the loop's while it fills, the disk thread's from the hand-over until the
 * batch's number is durable. The hot path is batch_message: lengths and bytes are copied once,
 * checksums are left to the disk thread. Failure modes: no memory ends the process, as everywhere.
 */
#include "store/batch.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "base/assert.h"
#include "base/mem.h"
#include "store/format.h"

enum {
    CAPACITY_MIN = 64 * 1024,
    MARKS_KEPT = 1024, /* ranges or marks whose array is kept however few the batches use */
    /* Zeros up to the block's end, and the headers of the records made by batch_seal. */
    SLACK = FORMAT_BLOCK + 2 * MARKS_HEADER_BYTES + BATCH_ALIGN
};

void batch_init(struct batch *batch)
{
    *batch = (struct batch){.used = BATCH_HEADER_BYTES};
}

static void resize(struct batch *batch, size_t capacity)
{
    if (capacity == batch->capacity)
        return;
    void *bytes;
    if (!batch->bytes)
        bytes = mmap(NULL, capacity, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    else
        bytes = mremap(batch->bytes, batch->capacity, capacity, MREMAP_MAYMOVE);
    assertf(bytes != MAP_FAILED, "no memory for a batch of %zu bytes: %s", capacity,
            strerror(errno));
    batch->bytes = bytes;
    batch->capacity = capacity;
}

void batch_free(struct batch *batch)
{
    assert(!list_linked(&batch->letter));
    if (batch->bytes)
        munmap(batch->bytes, batch->capacity);
    mem_free(batch->acks);
    mem_free(batch->delivered);
    mem_free(batch->notes);
    buf_free(&batch->definitions);
    buf_free(&batch->returned);
    page_work_free(&batch->pages);
    batch_init(batch);
}

static void grow(struct batch *batch, size_t size)
{
    size_t need = batch->used + size + SLACK;
    assertf(need > size, "a batch of %zu bytes", size);
    size_t capacity = batch->capacity ? batch->capacity : CAPACITY_MIN;
    while (capacity < need)
        capacity *= 2;
    resize(batch, capacity);
}

/* Where `size` more bytes go; the slack behind them is always there. */
static inline uint8_t *room(struct batch *batch, size_t size)
{
    if (__builtin_expect(batch->capacity < batch->used + size + SLACK, 0))
        grow(batch, size);
    return batch->bytes + batch->used;
}

static inline uint8_t *put_bytes(uint8_t *at, struct slice s)
{
    if (s.len)
        memcpy(at, s.at, s.len);
    return at + s.len;
}

void batch_message(struct batch *batch, const struct stored_message *m, bool moved)
{
    size_t born = m->born_ms ? BORN_BYTES : 0;
    size_t size = MESSAGE_HEADER_BYTES + m->target_count * TARGET_BYTES + born + m->exchange.len +
                  m->key.len + m->props.len + m->body.len;
    uint32_t flags = (born ? MESSAGE_HAS_BORN : 0) | (m->dead_letter ? MESSAGE_DEAD_LETTER : 0) |
                     (m->retried ? MESSAGE_RETRIED : 0);
    assertf(size <= UINT32_MAX, "a message record of %zu bytes", size);
    assert(m->exchange.len <= UINT16_MAX && m->key.len <= UINT16_MAX && m->target_count > 0);
    uint8_t *record = room(batch, size), *at = record + MESSAGE_HEADER_BYTES;
    format_put_u32(record + RECORD_SIZE, (uint32_t)size);
    format_put_u32(record + RECORD_TYPE,
                   (moved ? RECORD_MOVED : RECORD_MESSAGE) | (uint32_t)m->exchange.len << 16);
    format_put_u32(record + MESSAGE_KEY_LEN, (uint32_t)m->key.len | flags << 16);
    format_put_u32(record + MESSAGE_PROPS_LEN, (uint32_t)m->props.len);
    format_put_u32(record + MESSAGE_TARGETS, (uint32_t)m->target_count);
    for (size_t i = 0; i < m->target_count; i++, at += TARGET_BYTES) {
        format_put_u64(at, m->targets[i].queue_id);
        format_put_u64(at + 8, m->targets[i].sequence);
    }
    if (born) {
        format_put_u64(at, m->born_ms);
        at += BORN_BYTES;
    }
    at = put_bytes(put_bytes(put_bytes(put_bytes(at, m->exchange), m->key), m->props), m->body);
    assert(at == record + size);
    batch->used += size;
    batch->records++;
    batch->live++;
}

static uint32_t grown(uint32_t capacity)
{
    assert(capacity <= UINT32_MAX / 2 / sizeof(struct ack_range));
    return capacity ? capacity * 2 : 64;
}

uint32_t batch_ack(struct batch *batch, uint64_t queue_id, uint64_t sequence)
{
    if (batch->ack_count == batch->ack_capacity) {
        batch->ack_capacity = grown(batch->ack_capacity);
        batch->acks = mem_realloc(batch->acks, batch->ack_capacity * sizeof *batch->acks);
    }
    batch->acks[batch->ack_count] = (struct ack_range){queue_id, sequence, 1};
    return batch->ack_count++;
}

uint32_t batch_delivered(struct batch *batch, uint64_t queue_id, uint64_t sequence)
{
    if (batch->delivered_count == batch->delivered_capacity) {
        batch->delivered_capacity = grown(batch->delivered_capacity);
        batch->delivered =
            mem_realloc(batch->delivered, batch->delivered_capacity * sizeof *batch->delivered);
    }
    batch->delivered[batch->delivered_count] = (struct delivered_mark){queue_id, sequence};
    return batch->delivered_count++;
}

void batch_returned(struct batch *batch, const struct return_mark *mark)
{
    buf_append(&batch->returned, mark, sizeof *mark);
}

uint32_t batch_note(struct batch *batch, const struct stored_note *note)
{
    if (batch->note_count == batch->note_capacity) {
        batch->note_capacity = grown(batch->note_capacity);
        batch->notes = mem_realloc(batch->notes, batch->note_capacity * sizeof *batch->notes);
    }
    batch->notes[batch->note_count] = *note;
    return batch->note_count++;
}

static size_t note_bytes(const struct batch *batch)
{
    return batch->note_count ? MARKS_HEADER_BYTES + (size_t)batch->note_count * NOTE_BYTES : 0;
}

static size_t ack_bytes(const struct batch *batch)
{
    return batch->ack_count ? MARKS_HEADER_BYTES + (size_t)batch->ack_count * ACK_BYTES : 0;
}

static size_t delivered_bytes(const struct batch *batch)
{
    return batch->delivered_count
               ? MARKS_HEADER_BYTES + (size_t)batch->delivered_count * DELIVERED_BYTES
               : 0;
}

static size_t returned_bytes(const struct batch *batch)
{
    static_assert(sizeof(struct return_mark) == RETURNED_BYTES, "they are counted by their bytes");
    return batch->returned.len ? MARKS_HEADER_BYTES + batch->returned.len : 0;
}

bool batch_empty(const struct batch *batch)
{
    return batch->records == 0 && batch->ack_count == 0 && batch->delivered_count == 0 &&
           batch->note_count == 0 && batch->returned.len == 0 &&
           batch->definitions.len == 0 && page_work_empty(&batch->pages);
}

uint64_t batch_journal_bytes(const struct batch *batch)
{
    size_t size = batch->used + ack_bytes(batch) + delivered_bytes(batch) + note_bytes(batch) +
                  returned_bytes(batch);
    return size == BATCH_HEADER_BYTES ? 0 : format_round_up(size, BATCH_ALIGN);
}

size_t batch_pending_bytes(const struct batch *batch)
{
    return batch->used - BATCH_HEADER_BYTES + ack_bytes(batch) + delivered_bytes(batch) + note_bytes(batch) +
           returned_bytes(batch) + batch->definitions.len + batch->pages.used + batch->pages.moving +
           batch->pages.rows.len;
}

size_t batch_memory(const struct batch *batch)
{
    return batch->capacity + batch->ack_capacity * sizeof(struct ack_range) +
           batch->delivered_capacity * sizeof(struct delivered_mark) +
           batch->note_capacity * sizeof(struct stored_note) + batch->returned.capacity +
           batch->definitions.capacity + batch->pages.room + batch->pages.rows.capacity +
           batch->pages.capacity * sizeof(struct page_job);
}

/* Starts a record of acks or marks; returns where they go. */
static uint8_t *begin_marks(struct batch *batch, enum format_record_type type, size_t size,
                            uint32_t count)
{
    assertf(size <= UINT32_MAX, "a record of %zu bytes", size);
    uint8_t *record = room(batch, size);
    memset(record, 0, MARKS_HEADER_BYTES);
    format_put_u32(record + RECORD_SIZE, (uint32_t)size);
    record[RECORD_TYPE] = (uint8_t)type;
    format_put_u32(record + MARKS_COUNT, count);
    batch->used += size;
    batch->records++;
    return record + MARKS_HEADER_BYTES;
}

static void append_marks(struct batch *batch)
{
    uint8_t *at;
    if (batch->ack_count) {
        at = begin_marks(batch, RECORD_ACKS, ack_bytes(batch), batch->ack_count);
        for (uint32_t i = 0; i < batch->ack_count; i++, at += ACK_BYTES) {
            format_put_u64(at, batch->acks[i].queue_id);
            format_put_u64(at + 8, batch->acks[i].first);
            format_put_u64(at + 16, batch->acks[i].count);
        }
    }
    if (batch->delivered_count) {
        at = begin_marks(batch, RECORD_DELIVERED, delivered_bytes(batch), batch->delivered_count);
        for (uint32_t i = 0; i < batch->delivered_count; i++, at += DELIVERED_BYTES) {
            format_put_u64(at, batch->delivered[i].queue_id);
            format_put_u64(at + 8, batch->delivered[i].sequence);
        }
    }
    if (batch->returned.len) {
        uint32_t count = (uint32_t)(batch->returned.len / RETURNED_BYTES);
        at = begin_marks(batch, RECORD_RETURNED, returned_bytes(batch), count);
        for (uint32_t i = 0; i < count; i++, at += RETURNED_BYTES) {
            struct return_mark mark;
            memcpy(&mark, batch->returned.at + (size_t)i * sizeof mark, sizeof mark);
            format_put_u64(at, mark.queue_id);
            format_put_u64(at + 8, mark.sequence);
            format_put_u64(at + 16, mark.count);
        }
    }
    if (batch->note_count) {
        at = begin_marks(batch, RECORD_NOTES, note_bytes(batch), batch->note_count);
        for (uint32_t i = 0; i < batch->note_count; i++, at += NOTE_BYTES) {
            format_put_u64(at, batch->notes[i].owner_id);
            format_put_u64(at + 8, batch->notes[i].key[0]);
            format_put_u64(at + 16, batch->notes[i].key[1]);
            format_put_u64(at + 24, batch->notes[i].value);
        }
    }
}

static void checksum_records(struct batch *batch, uint64_t seed)
{
    uint32_t records = 0;
    for (size_t at = BATCH_HEADER_BYTES; at < batch->used; records++) {
        uint8_t *record = batch->bytes + at;
        uint32_t size = format_u32(record + RECORD_SIZE);
        assert(size >= MARKS_HEADER_BYTES && size <= batch->used - at);
        format_put_u32(record + RECORD_CHECKSUM, format_record_checksum(record, size, seed + at));
        at += size;
    }
    assert(records == batch->records);
}

size_t batch_seal(struct batch *batch)
{
    const struct place *place = &batch->place;
    if (batch->sealed)
        return batch->sealed;
    uint64_t seed = format_seed(place->epoch, place->salt, place->offset);
    append_marks(batch);
    checksum_records(batch, seed);
    uint64_t size = format_round_up(batch->used, BATCH_ALIGN);
    uint64_t end = format_round_up(place->offset + size, FORMAT_BLOCK);
    assert(size == place->size && end <= place->segment_bytes);
    size_t padded = (size_t)(end - place->offset);
    assert(padded <= batch->capacity);
    memset(batch->bytes + batch->used, 0, padded - batch->used);

    uint8_t *header = batch->bytes;
    memcpy(header + BATCH_MAGIC, FORMAT_BATCH_MAGIC, 8);
    format_put_u64(header + BATCH_NUMBER, batch->number);
    format_put_u64(header + BATCH_PREVIOUS, place->previous);
    format_put_u64(header + BATCH_SIZE, size);
    format_put_u64(header + BATCH_OLDEST, place->oldest);
    format_put_u32(header + BATCH_RECORDS, batch->records);
    format_put_u32(header + BATCH_RESERVED, 0);
    format_put_u64(header + BATCH_CHECKSUM, format_batch_checksum(header, seed));
    batch->sealed = padded;
    return padded;
}

static void shrink(struct batch *batch)
{
    size_t keep = CAPACITY_MIN;
    while (keep < batch->recent + SLACK)
        keep *= 2;
    if (batch->capacity > keep)
        resize(batch, keep);
    if (batch->ack_capacity > MARKS_KEPT && batch->ack_count < batch->ack_capacity / 8) {
        batch->ack_capacity /= 2;
        batch->acks = mem_realloc(batch->acks, batch->ack_capacity * sizeof *batch->acks);
    }
    if (batch->delivered_capacity > MARKS_KEPT &&
        batch->delivered_count < batch->delivered_capacity / 8) {
        batch->delivered_capacity /= 2;
        batch->delivered =
            mem_realloc(batch->delivered, batch->delivered_capacity * sizeof *batch->delivered);
    }
    if (batch->note_capacity > MARKS_KEPT && batch->note_count < batch->note_capacity / 8) {
        batch->note_capacity /= 2;
        batch->notes = mem_realloc(batch->notes, batch->note_capacity * sizeof *batch->notes);
    }
    if (batch->definitions.capacity > CAPACITY_MIN)
        buf_free(&batch->definitions);
    if (batch->returned.capacity > CAPACITY_MIN)
        buf_free(&batch->returned);
}

void batch_reset(struct batch *batch)
{
    size_t faded = batch->recent - batch->recent / 8;
    batch->recent = batch->slow ? 0 : batch->used > faded ? batch->used : faded;
    shrink(batch);
    batch->used = BATCH_HEADER_BYTES;
    batch->records = batch->ack_count = batch->delivered_count = batch->note_count = 0;
    batch->definitions.len = batch->returned.len = 0;
    batch->live = batch->sealed = 0;
}

void batch_relax(struct batch *batch)
{
    assert(batch_empty(batch));
    batch->recent /= 2;
    shrink(batch);
    page_work_relax(&batch->pages);
}
