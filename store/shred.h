/* shred.h - large files go piece by piece: to let go of 64 MB at once takes a file system 20 ms, and all who
 * wait for the disk would wait for that. */
#ifndef STORE_SHRED_H
#define STORE_SHRED_H

#include "base/ring.h"
#include "store/io.h"

enum {
    SHRED_PIECE = 1024 * 1024, /* bytes that are let go at a time */
    SHRED_FILES_MAX = 16       /* that wait; more go at once */
};

/* A file that has no name any more. */
struct shred_file {
    uint64_t size;
    int fd;
};
RING(shred_ring, struct shred_file);

struct shred {
    const struct io *io;
    struct shred_ring files;
};

void shred_init(struct shred *shred, const struct io *io);
/* The file's name goes now, its bytes with the next steps. Nothing depends on it: a failure costs the space
 * until the next start. */
void shred_unlink(struct shred *shred, const char *path);
/* Lets go of one piece; false when there was none. */
bool shred_step(struct shred *shred);
/* Lets go of all that is left. */
void shred_finish(struct shred *shred);

#endif
