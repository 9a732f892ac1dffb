/* reader.h - reads one segment file back: its header, its batches, and what lies behind a bad spot.
 */
#ifndef STORE_READER_H
#define STORE_READER_H

#include <stdbool.h>

#include "store/format.h"
#include "store/io.h"
#include "store/segment.h"

struct reader {
    const struct io *io;
    int fd; /* -1 = no file */
    uint8_t *window;
    size_t capacity, len;
    uint64_t start, file_bytes; /* the window's place in the file */
    uint32_t version;           /* in the last header that was read */
    bool forgiving;             /* bytes that the disk cannot read (EIO) are zeros, and counted */
    uint64_t unreadable, unreadable_bytes; /* of this file: where the first are, how many */
};

enum reader_verdict {
    READER_VALID,   /* a whole batch */
    READER_NOTHING, /* no batch begins here */
    READER_DAMAGED, /* a batch begins here, but is not whole */
};

/* Bytes of a batch that are no valid record: from … to, counted from the batch's beginning. */
struct read_hole {
    uint64_t from, to;
};

enum { READER_HOLES_MAX = 16 };

struct read_batch {
    const uint8_t *bytes; /* valid until the next read */
    uint64_t offset, number, previous, size, oldest;
    uint64_t damage;  /* offset of the damaged record */
    uint64_t behind;  /* damaged: offset of the next whole header in the file; 0 = none */
    uint32_t records; /* valid ones */
    uint32_t hole_count;
    struct read_hole holes[READER_HOLES_MAX]; /* in order; see salvage.h */
};

/* Where the next record of a batch is; begins as READ_CURSOR. */
struct read_cursor {
    uint64_t at;
    uint32_t hole;
};
#define READ_CURSOR ((struct read_cursor){.at = BATCH_HEADER_BYTES})

enum reader_header {
    READER_HEADER_VALID,
    READER_HEADER_BLANK, /* never used */
    READER_HEADER_MENDED, /* one bit was wrong; the segment is as if it were right */
    READER_HEADER_DAMAGED,
    READER_HEADER_NEWER, /* of a format version not known here */
};

void reader_init(struct reader *reader, const struct io *io);
void reader_free(struct reader *reader);

/* Opens a file (and closes the last one). */
int reader_open(struct reader *reader, const char *path, int flags)
    __attribute__((warn_unused_result));
void reader_close(struct reader *reader);

/* Fills the segment from the file's header: epoch, salt, bytes, used, and first_batch = last_batch
 * + 1. */
int reader_header(struct reader *reader, struct segment *segment, enum reader_header *verdict)
    __attribute__((warn_unused_result));
/* Reads the batch at `offset`; `check` also verifies every record. */
int reader_batch(struct reader *reader, const struct segment *segment, uint64_t offset, bool check,
                 struct read_batch *batch, enum reader_verdict *verdict)
    __attribute__((warn_unused_result));
/* The next of a batch's valid records; may be called batch->records times. */
const uint8_t *reader_next(const struct read_batch *batch, struct read_cursor *cursor);
/* The size of the record that begins there and has at most `rest` bytes; 0 when none does. */
uint32_t reader_record(const uint8_t *record, uint64_t rest, uint64_t seed);
/* Points `bytes` at `size` bytes of the file, which has them; they stay until the next read. */
int reader_bytes(struct reader *reader, uint64_t offset, size_t size, const uint8_t **bytes)
    __attribute__((warn_unused_result));
/* Where the segment's batches must end. */
uint64_t reader_limit(const struct reader *reader, const struct segment *segment);
/* Looks behind `offset` for the header of a batch with a number above `number`; *found = 0 when
 * there is none. */
int reader_scan(struct reader *reader, const struct segment *segment, uint64_t offset,
                uint64_t number, uint64_t *found) __attribute__((warn_unused_result));
/* True when a batch with a number above `number` had begun to be written at `offset`. */
int reader_torn(struct reader *reader, const struct segment *segment, uint64_t offset,
                uint64_t number, bool *torn) __attribute__((warn_unused_result));

#endif
