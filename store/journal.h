/* journal.h - the journal's files as the disk thread sees them: write a sealed batch, make it
 * durable. */
#ifndef STORE_JOURNAL_H
#define STORE_JOURNAL_H

#include "store/batch.h"
#include "store/io.h"
#include "store/shred.h"

enum { JOURNAL_PATH_MAX = 4096 };

struct journal {
    const struct io *io;
    const char *dir;
    struct shred *shred; /* takes the files that are to go */
    int fd; /* of the segment being written; -1 = none */
    uint64_t epoch; /* of that segment */
    uint64_t syncs, bytes_written;
    char path[JOURNAL_PATH_MAX]; /* of that segment: for error texts */
};

void journal_init(struct journal *journal, const struct io *io, const char *dir, struct shred *shred);
/* Closes the file; nothing is written. */
void journal_close(struct journal *journal);

/* The path of a segment's file; false when it does not fit. */
bool journal_path(const char *dir, unsigned slot, char *path, size_t size);
/* The slot in a file's name, 0 when it is no segment's. */
unsigned journal_slot(const char *name);

/* Seals the batch, writes it where its place says and returns when it is on disk; then unlinks the
 * files its place names. 0 or -errno. When there was no space (io_is_full) it may be called
 * again with the same batch; after any other failure nothing more may be written. */
int journal_write(struct journal *journal, struct batch *batch) __attribute__((warn_unused_result));

#endif
