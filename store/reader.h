/* reader.h - reads one segment file back: its header, its batches, and what lies behind a bad spot.
 */
#ifndef STORE_READER_H
#define STORE_READER_H

#include <stdbool.h>

#include "store/io.h"
#include "store/segment.h"

struct reader {
    const struct io *io;
    int fd; /* -1 = no file */
    uint8_t *window;
    size_t capacity, len;
    uint64_t start, file_bytes; /* the window's place in the file */
    uint32_t version;           /* in the last header that was read */
};

enum reader_verdict {
    READER_VALID,   /* a whole batch */
    READER_NOTHING, /* no batch begins here */
    READER_DAMAGED, /* a batch begins here, but is not whole */
};

struct read_batch {
    const uint8_t *bytes; /* valid until the next read */
    uint64_t offset, number, previous, size, oldest;
    uint64_t damage; /* offset of the damaged record */
};

enum reader_header {
    READER_HEADER_VALID,
    READER_HEADER_BLANK, /* never used */
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
/* Looks behind `offset` for the header of a batch with a number above `number`; *found = 0 when
 * there is none. */
int reader_scan(struct reader *reader, const struct segment *segment, uint64_t offset,
                uint64_t number, uint64_t *found) __attribute__((warn_unused_result));
/* True when a batch with a number above `number` had begun to be written at `offset`. */
int reader_torn(struct reader *reader, const struct segment *segment, uint64_t offset,
                uint64_t number, bool *torn) __attribute__((warn_unused_result));

#endif
