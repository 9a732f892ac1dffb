/* reader.c - reads one segment file back.
 *
 * Owner: the recovery. Nothing in the file is believed before its checksum was; sizes are held
 * against the file's own size before memory is taken for them. Failure modes: -errno of a failed
 * read; what was read and found wrong is a verdict, not an error. */
#include "store/reader.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "store/format.h"

enum { WINDOW_BYTES = 256 * 1024, READ_TRIES = 3 };

void reader_init(struct reader *reader, const struct io *io)
{
    *reader = (struct reader){.io = io, .fd = -1};
}

void reader_free(struct reader *reader)
{
    reader_close(reader);
    mem_free(reader->window);
    reader_init(reader, reader->io);
}

int reader_open(struct reader *reader, const char *path, int flags)
{
    const struct io *io = reader->io;
    reader_close(reader);
    int fd = io->open(io->arg, path, flags, 0);
    if (fd < 0)
        return fd;
    reader->fd = fd;
    int64_t size = io->size(io->arg, fd);
    if (size < 0)
        return (int)size;
    reader->file_bytes = (uint64_t)size;
    return 0;
}

void reader_close(struct reader *reader)
{
    if (reader->fd >= 0)
        reader->io->close(reader->io->arg, reader->fd);
    reader->fd = -1;
    reader->len = 0;
    reader->start = reader->file_bytes = 0;
    reader->unreadable = reader->unreadable_bytes = 0;
}

/* The block at that place cannot be read: zeros stand for it, which no checksum takes for anything. */
static size_t pass_over(struct reader *reader, uint64_t offset, uint8_t *bytes, size_t size)
{
    uint64_t rest = FORMAT_BLOCK - offset % FORMAT_BLOCK;
    if (size > rest)
        size = (size_t)rest;
    memset(bytes, 0, size);
    if (reader->unreadable_bytes == 0)
        reader->unreadable = offset;
    if (offset >= reader->unreadable + reader->unreadable_bytes)
        reader->unreadable_bytes = offset + size - reader->unreadable;
    return size;
}

/* A disk's bad moment must not pass for damage. */
static ssize_t read_some(const struct reader *reader, uint8_t *bytes, size_t size, uint64_t offset)
{
    ssize_t got = -EIO;
    for (int i = 0; i < READ_TRIES && got == -EIO; i++)
        got = reader->io->pread(reader->io->arg, reader->fd, bytes, size, offset);
    return got;
}

int reader_bytes(struct reader *reader, uint64_t offset, size_t size, const uint8_t **bytes)
{
    assert(reader->fd >= 0 && offset <= reader->file_bytes && size <= reader->file_bytes - offset);
    if (offset < reader->start || offset + size > reader->start + reader->len) {
        size_t want = size > WINDOW_BYTES ? size : WINDOW_BYTES;
        if (want > reader->file_bytes - offset)
            want = (size_t)(reader->file_bytes - offset);
        if (want > reader->capacity) {
            mem_free(reader->window);
            reader->window = mem_alloc(want);
            reader->capacity = want;
        }
        reader->start = offset, reader->len = 0;
        while (reader->len < size) {
            ssize_t got = read_some(reader, reader->window + reader->len, want - reader->len,
                                    offset + reader->len);
            if (got == -EIO && reader->forgiving)
                got = (ssize_t)pass_over(reader, offset + reader->len, reader->window + reader->len,
                                         want - reader->len);
            if (got <= 0)
                return got ? (int)got : -EIO;
            reader->len += (size_t)got;
        }
    }
    *bytes = reader->window + (offset - reader->start);
    return 0;
}

static bool all_zero(const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (bytes[i])
            return false;
    return true;
}

static bool header_whole(const uint8_t *header)
{
    return memcmp(header + SEGMENT_MAGIC, FORMAT_SEGMENT_MAGIC, 8) == 0 &&
           format_segment_checksum(header) == format_u64(header + SEGMENT_CHECKSUM);
}

/* Turns the one bit back that makes the header right; false when there is none. */
static bool mend_header(uint8_t *header)
{
    for (unsigned bit = 0; bit < SEGMENT_FIELDS_END * 8; bit++) {
        header[bit / 8] ^= (uint8_t)(1u << bit % 8);
        if (header_whole(header))
            return true;
        header[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    return false;
}

int reader_header(struct reader *reader, struct segment *segment, enum reader_header *verdict)
{
    const uint8_t *read = NULL;
    uint8_t header[SEGMENT_FIELDS_END];
    segment->file_bytes = reader->file_bytes;
    *verdict = READER_HEADER_BLANK;
    if (reader->file_bytes < SEGMENT_FIELDS_END)
        return 0;
    int failed = reader_bytes(reader, 0, SEGMENT_FIELDS_END, &read);
    if (failed)
        return failed;
    memcpy(header, read, sizeof header);
    bool whole = header_whole(header), mended = !whole && mend_header(header);
    reader->version = format_u32(header + SEGMENT_VERSION);
    segment->epoch = format_u64(header + SEGMENT_EPOCH);
    segment->salt = format_u64(header + SEGMENT_SALT);
    segment->bytes = format_u64(header + SEGMENT_BYTES);
    segment->used = SEGMENT_HEADER_BYTES;
    segment->last_batch = format_u64(header + SEGMENT_PREVIOUS);
    segment->first_batch = segment->last_batch + 1;
    bool known = reader->version >= FORMAT_VERSION_OLDEST && reader->version <= FORMAT_VERSION;
    if (whole && !known)
        *verdict = READER_HEADER_NEWER;
    else if ((whole || mended) && known &&
             format_u32(header + SEGMENT_HEADER_SIZE) == SEGMENT_HEADER_BYTES && segment->epoch > 0 &&
             segment->first_batch > 0 && segment->bytes >= SEGMENT_HEADER_BYTES &&
             segment->bytes % FORMAT_BLOCK == 0)
        *verdict = whole ? READER_HEADER_VALID : READER_HEADER_MENDED;
    else if (reader->file_bytes > SEGMENT_HEADER_BYTES || !all_zero(header, SEGMENT_FIELDS_END))
        /* The header is on disk before the file grows beyond it, and fits in one sector. */
        *verdict = READER_HEADER_DAMAGED;
    return 0;
}

static bool message_fits(const uint8_t *record, uint32_t size)
{
    uint64_t fixed = format_message_head(record) + format_u16(record + MESSAGE_EXCHANGE_LEN) +
                     format_u16(record + MESSAGE_KEY_LEN) + (uint64_t)format_u32(record + MESSAGE_PROPS_LEN);
    return format_u32(record + MESSAGE_TARGETS) > 0 && fixed <= size &&
           format_u16(record + MESSAGE_FLAGS) <= MESSAGE_FLAGS_KNOWN;
}

static bool acks_fit(const uint8_t *record, uint32_t size)
{
    uint32_t count = format_u32(record + MARKS_COUNT);
    if (count == 0 || MARKS_HEADER_BYTES + (uint64_t)count * ACK_BYTES != size)
        return false;
    const uint8_t *at = record + MARKS_HEADER_BYTES;
    for (uint32_t i = 0; i < count; i++, at += ACK_BYTES) {
        uint64_t first = format_u64(at + 8), how_many = format_u64(at + 16);
        if (how_many == 0 || first + (how_many - 1) < first)
            return false;
    }
    return true;
}

static bool delivered_fit(const uint8_t *record, uint32_t size)
{
    uint32_t count = format_u32(record + MARKS_COUNT);
    return count > 0 && MARKS_HEADER_BYTES + (uint64_t)count * DELIVERED_BYTES == size;
}

static bool returned_fit(const uint8_t *record, uint32_t size)
{
    uint32_t count = format_u32(record + MARKS_COUNT);
    return count > 0 && MARKS_HEADER_BYTES + (uint64_t)count * RETURNED_BYTES == size;
}

static bool notes_fit(const uint8_t *record, uint32_t size)
{
    uint32_t count = format_u32(record + MARKS_COUNT);
    return count > 0 && MARKS_HEADER_BYTES + (uint64_t)count * NOTE_BYTES == size;
}

static bool record_valid(const uint8_t *record, uint32_t size, uint64_t seed)
{
    if (format_u32(record + RECORD_CHECKSUM) != format_record_checksum(record, size, seed))
        return false;
    switch (record[RECORD_TYPE]) {
    case RECORD_MESSAGE:
    case RECORD_MOVED:
        return size >= MESSAGE_HEADER_BYTES && message_fits(record, size);
    case RECORD_ACKS:
        return acks_fit(record, size);
    case RECORD_DELIVERED:
        return delivered_fit(record, size);
    case RECORD_RETURNED:
        return returned_fit(record, size);
    case RECORD_NOTES:
        return notes_fit(record, size);
    default:
        return false;
    }
}

uint32_t reader_record(const uint8_t *record, uint64_t rest, uint64_t seed)
{
    if (rest < MARKS_HEADER_BYTES)
        return 0;
    uint32_t size = format_u32(record + RECORD_SIZE);
    bool valid = size >= MARKS_HEADER_BYTES && size <= rest && record_valid(record, size, seed);
    return valid ? size : 0;
}

const uint8_t *reader_next(const struct read_batch *batch, struct read_cursor *cursor)
{
    for (; cursor->hole < batch->hole_count && batch->holes[cursor->hole].from <= cursor->at; cursor->hole++)
        cursor->at = batch->holes[cursor->hole].to;
    const uint8_t *record = batch->bytes + cursor->at;
    assert(cursor->at + MARKS_HEADER_BYTES <= batch->size);
    cursor->at += format_u32(record + RECORD_SIZE);
    return record;
}

/* Where the batch's first bad record is, 0 when all are well. */
static uint64_t find_damage(const struct read_batch *batch, uint64_t seed)
{
    uint64_t at = BATCH_HEADER_BYTES;
    for (uint32_t left = batch->records; left; left--) {
        uint32_t size = reader_record(batch->bytes + at, batch->size - at, seed + at);
        if (size == 0)
            return batch->offset + at;
        at += size;
    }
    return format_round_up(at, BATCH_ALIGN) == batch->size ? 0 : batch->offset + at;
}

static bool header_valid(const uint8_t *header, const struct segment *segment, uint64_t offset)
{
    uint64_t seed = format_seed(segment->epoch, segment->salt, offset);
    return memcmp(header + BATCH_MAGIC, FORMAT_BATCH_MAGIC, 8) == 0 &&
           format_batch_checksum(header, seed) == format_u64(header + BATCH_CHECKSUM);
}

uint64_t reader_limit(const struct reader *reader, const struct segment *segment)
{
    return reader->file_bytes < segment->bytes ? reader->file_bytes : segment->bytes;
}

static bool has_header(const struct reader *reader, const struct segment *segment, uint64_t offset)
{
    uint64_t end = reader_limit(reader, segment);
    return offset <= end && end - offset >= BATCH_HEADER_BYTES;
}

int reader_batch(struct reader *reader, const struct segment *segment, uint64_t offset, bool check,
                 struct read_batch *batch, enum reader_verdict *verdict)
{
    const uint8_t *header = NULL;
    assert(offset % BATCH_ALIGN == 0);
    *verdict = READER_NOTHING;
    if (!has_header(reader, segment, offset))
        return 0;
    int failed = reader_bytes(reader, offset, BATCH_HEADER_BYTES, &header);
    if (failed || !header_valid(header, segment, offset))
        return failed;
    *verdict = READER_DAMAGED;
    *batch = (struct read_batch){.offset = offset,
                                 .number = format_u64(header + BATCH_NUMBER),
                                 .previous = format_u64(header + BATCH_PREVIOUS),
                                 .size = format_u64(header + BATCH_SIZE),
                                 .oldest = format_u64(header + BATCH_OLDEST),
                                 .records = format_u32(header + BATCH_RECORDS),
                                 .damage = offset};
    if (batch->size < BATCH_HEADER_BYTES || batch->size % BATCH_ALIGN ||
        batch->size > reader_limit(reader, segment) - offset || batch->number <= batch->previous)
        return 0;
    failed = reader_bytes(reader, offset, (size_t)batch->size, &batch->bytes);
    if (failed)
        return failed;
    batch->damage =
        check ? find_damage(batch, format_seed(segment->epoch, segment->salt, offset)) : 0;
    if (batch->damage == 0)
        *verdict = READER_VALID;
    return 0;
}

int reader_scan(struct reader *reader, const struct segment *segment, uint64_t offset,
                uint64_t number, uint64_t *found)
{
    *found = 0;
    for (offset += BATCH_ALIGN; has_header(reader, segment, offset); offset += BATCH_ALIGN) {
        const uint8_t *header = NULL;
        int failed = reader_bytes(reader, offset, BATCH_HEADER_BYTES, &header);
        if (failed)
            return failed;
        if (header_valid(header, segment, offset) && format_u64(header + BATCH_NUMBER) > number) {
            *found = offset;
            return 0;
        }
    }
    return 0;
}

/* A batch's first record, whole, behind a header that is not: sizes are looked at before memory is taken. */
static int first_record(struct reader *reader, const struct segment *segment, uint64_t offset, bool *there)
{
    const uint8_t *record = NULL;
    uint64_t at = offset + BATCH_HEADER_BYTES, rest = reader_limit(reader, segment) - at;
    *there = false;
    if (rest < MARKS_HEADER_BYTES)
        return 0;
    int failed = reader_bytes(reader, at, MARKS_HEADER_BYTES, &record);
    uint32_t size = failed ? 0 : format_u32(record + RECORD_SIZE);
    if (failed || size < MARKS_HEADER_BYTES || size > rest)
        return failed;
    failed = reader_bytes(reader, at, size, &record);
    *there = !failed && reader_record(record, size, format_seed(segment->epoch, segment->salt, at)) > 0;
    return failed;
}

int reader_torn(struct reader *reader, const struct segment *segment, uint64_t offset,
                uint64_t number, bool *torn)
{
    const uint8_t *header = NULL;
    *torn = false;
    if (!has_header(reader, segment, offset))
        return 0;
    int failed = reader_bytes(reader, offset, BATCH_HEADER_BYTES, &header);
    if (failed)
        return failed;
    *torn = memcmp(header + BATCH_MAGIC, FORMAT_BATCH_MAGIC, 8) == 0 &&
            format_u64(header + BATCH_NUMBER) > number;
    return *torn ? 0 : first_record(reader, segment, offset, torn);
}
