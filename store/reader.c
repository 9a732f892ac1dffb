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

enum { WINDOW_BYTES = 256 * 1024 };

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
}

/* Points `bytes` at `size` bytes of the file, which has them; they stay until the next call. */
static int load(struct reader *reader, uint64_t offset, size_t size, const uint8_t **bytes)
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
            ssize_t got =
                reader->io->pread(reader->io->arg, reader->fd, reader->window + reader->len,
                                  want - reader->len, offset + reader->len);
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

int reader_header(struct reader *reader, struct segment *segment, enum reader_header *verdict)
{
    const uint8_t *header = NULL;
    segment->file_bytes = reader->file_bytes;
    *verdict = READER_HEADER_BLANK;
    if (reader->file_bytes < SEGMENT_FIELDS_END)
        return 0;
    int failed = load(reader, 0, SEGMENT_FIELDS_END, &header);
    if (failed)
        return failed;
    reader->version = format_u32(header + SEGMENT_VERSION);
    segment->epoch = format_u64(header + SEGMENT_EPOCH);
    segment->salt = format_u64(header + SEGMENT_SALT);
    segment->bytes = format_u64(header + SEGMENT_BYTES);
    segment->used = SEGMENT_HEADER_BYTES;
    segment->last_batch = format_u64(header + SEGMENT_PREVIOUS);
    segment->first_batch = segment->last_batch + 1;
    bool whole = memcmp(header + SEGMENT_MAGIC, FORMAT_SEGMENT_MAGIC, 8) == 0 &&
                 format_segment_checksum(header) == format_u64(header + SEGMENT_CHECKSUM);
    if (whole && (reader->version < FORMAT_VERSION_OLDEST || reader->version > FORMAT_VERSION))
        *verdict = READER_HEADER_NEWER;
    else if (whole && format_u32(header + SEGMENT_HEADER_SIZE) == SEGMENT_HEADER_BYTES &&
             segment->epoch > 0 && segment->first_batch > 0 &&
             segment->bytes >= SEGMENT_HEADER_BYTES && segment->bytes % FORMAT_BLOCK == 0)
        *verdict = READER_HEADER_VALID;
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
    default:
        return false;
    }
}

/* Where the batch's first bad record is, 0 when all are well. */
static uint64_t find_damage(const struct read_batch *batch, uint64_t seed)
{
    uint64_t at = BATCH_HEADER_BYTES, left = format_u32(batch->bytes + BATCH_RECORDS);
    for (; left; left--) {
        const uint8_t *record = batch->bytes + at;
        uint64_t rest = batch->size - at;
        if (rest < MARKS_HEADER_BYTES)
            return batch->offset + at;
        uint32_t size = format_u32(record + RECORD_SIZE);
        if (size < MARKS_HEADER_BYTES || size > rest || !record_valid(record, size, seed + at))
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

/* Where batches must end. */
static uint64_t limit(const struct reader *reader, const struct segment *segment)
{
    return reader->file_bytes < segment->bytes ? reader->file_bytes : segment->bytes;
}

static bool has_header(const struct reader *reader, const struct segment *segment, uint64_t offset)
{
    uint64_t end = limit(reader, segment);
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
    int failed = load(reader, offset, BATCH_HEADER_BYTES, &header);
    if (failed || !header_valid(header, segment, offset))
        return failed;
    *verdict = READER_DAMAGED;
    *batch = (struct read_batch){.offset = offset,
                                 .number = format_u64(header + BATCH_NUMBER),
                                 .previous = format_u64(header + BATCH_PREVIOUS),
                                 .size = format_u64(header + BATCH_SIZE),
                                 .oldest = format_u64(header + BATCH_OLDEST),
                                 .damage = offset};
    if (batch->size < BATCH_HEADER_BYTES || batch->size % BATCH_ALIGN ||
        batch->size > limit(reader, segment) - offset || batch->number <= batch->previous)
        return 0;
    failed = load(reader, offset, (size_t)batch->size, &batch->bytes);
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
        int failed = load(reader, offset, BATCH_HEADER_BYTES, &header);
        if (failed)
            return failed;
        if (header_valid(header, segment, offset) && format_u64(header + BATCH_NUMBER) > number) {
            *found = offset;
            return 0;
        }
    }
    return 0;
}

int reader_torn(struct reader *reader, const struct segment *segment, uint64_t offset,
                uint64_t number, bool *torn)
{
    const uint8_t *header = NULL;
    *torn = false;
    if (!has_header(reader, segment, offset))
        return 0;
    int failed = load(reader, offset, BATCH_HEADER_BYTES, &header);
    if (!failed)
        *torn = memcmp(header + BATCH_MAGIC, FORMAT_BATCH_MAGIC, 8) == 0 &&
                format_u64(header + BATCH_NUMBER) > number;
    return failed;
}
