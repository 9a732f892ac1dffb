/* fakedisk.h - a disk in memory behind the store's table of calls, which forgets what was not
 * synced. A write reaches the "platter" at the next fdatasync of its file, a new or deleted name at
 * the next sync_dir of its directory; a crash loses the rest, wholly or in part, in sectors of 512
 * bytes. Directories themselves are durable at once. Everything random comes from the seed. */
#ifndef TESTS_SIM_FAKEDISK_H
#define TESTS_SIM_FAKEDISK_H

#include <stdbool.h>

#include "base/slice.h"
#include "store/io.h"

struct fakedisk;

struct fakedisk *fakedisk_new(uint64_t seed);
void fakedisk_free(struct fakedisk **disk);
const struct io *fakedisk_io(struct fakedisk *disk);

enum fakedisk_loss {
    FAKEDISK_LOSE_ALL,  /* of what was not synced */
    FAKEDISK_LOSE_SOME, /* each file and name as chance has it: none, all, a prefix, or single
                           sectors */
    FAKEDISK_LOSE_NONE, /* the process died, the machine did not: a later crash may still lose it */
};

/* The plug is pulled: descriptors and locks are gone, failures set below too. */
void fakedisk_crash(struct fakedisk *disk, enum fakedisk_loss loss);

/* Calls so far that change or sync anything. */
uint64_t fakedisk_changes(const struct fakedisk *disk);
/* The call of that number (as fakedisk_changes counts, from 1) fails with -error; a failing write
 * may have written a part. `stays`: so do all changing calls after it, until a crash or until it is
 * set anew. */
void fakedisk_fail_at(struct fakedisk *disk, uint64_t change, int error, bool stays);
/* Every write may be cut short. */
void fakedisk_short_writes(struct fakedisk *disk, bool on);

/* Every read may be cut short, but for one byte. */
void fakedisk_short_reads(struct fakedisk *disk, bool on);
/* The so-manyth read from now on (1 = the next) fails with -error, once; or an open, with -EMFILE. Not any
 * more after a crash. */
void fakedisk_fail_read(struct fakedisk *disk, uint64_t soon, int error);
void fakedisk_fail_open(struct fakedisk *disk, uint64_t soon);
/* None does any more. */
void fakedisk_serve(struct fakedisk *disk);
/* How many did so far. */
uint64_t fakedisk_refused(const struct fakedisk *disk);

/* A file as programs see it, valid until the next call; .at is NULL when there is none. */
struct slice fakedisk_get(const struct fakedisk *disk, const char *path);
/* Makes or replaces a file, durably; its directory must exist. */
void fakedisk_put(struct fakedisk *disk, const char *path, struct slice bytes);

#endif
