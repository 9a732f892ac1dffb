/* definitions.h - vhosts, users, permissions, exchanges, queues and bindings in SQLite.
 * The loop encodes changes into a batch; the disk thread applies a batch's changes in one
 * transaction. */
#ifndef STORE_DEFINITIONS_H
#define STORE_DEFINITIONS_H

#include "base/buf.h"
#include "store/page_rows.h"
#include "store/store.h"
#include "store/vfs.h"

enum { DEFINITION_KINDS = DEFINITION_BINDING + 1 };

struct definitions {
    struct vfs vfs;
    sqlite3 *db;
    sqlite3_stmt *upserts[DEFINITION_KINDS], *deletes[DEFINITION_KINDS]; /* made at first use */
    sqlite3_stmt *begin, *commit, *keep_id, *keep_epoch;
    struct page_rows pages;
    uint64_t queue_id_max;  /* highest id a queue ever had; also in the table */
    uint64_t journal_epoch; /* of the last journal segment known to have begun; also there */
    char path[4096];
};

/* Opens `dir`/definitions.db, creating its tables when it is new. 0, or -errno and a sentence in
 * `error`. */
int definitions_open(struct definitions *definitions, const struct io *io, const char *dir,
                     char *error, size_t error_size) __attribute__((warn_unused_result));
/* `crash`: nothing more is written, not even what SQLite tidies up at the end. */
void definitions_close(struct definitions *definitions, bool crash);

/* Calls sink->definition with every row, kind after kind in the order of the enum. */
int definitions_load(struct definitions *definitions, const struct recovery_sink *sink, char *error,
                     size_t error_size) __attribute__((warn_unused_result));

/* SQLite's own verification of the whole file, or, `quick`, of all but that indexes and tables agree: calls
 * `damage` with each thing it finds. */
int definitions_verify(struct definitions *definitions, bool quick,
                       void (*damage)(void *arg, const char *what), void *arg)
    __attribute__((warn_unused_result));

/* Calls `each` with every row of the directory of pages, by queue and sequence. */
int definitions_load_pages(struct definitions *definitions,
                           void (*each)(void *arg, const struct page_row *row), void *arg, char *error,
                           size_t error_size) __attribute__((warn_unused_result));

/* Appends a change; all bytes are copied. */
void definitions_encode(struct buf *changes, const struct definition *definition, bool undefine);
/* Does the changes, and those of the directory of pages, in order in one transaction; on disk when it
 * returns 0, else -errno. When there was no space (io_is_full) nothing was done; it may be tried again. */
int definitions_apply(struct definitions *definitions, struct slice changes, struct slice pages)
    __attribute__((warn_unused_result));
/* A journal segment of that epoch is on disk: if it is missing one day, that will be noticed. */
int definitions_keep_epoch(struct definitions *definitions, uint64_t epoch)
    __attribute__((warn_unused_result));

#endif
