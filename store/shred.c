/* shred.c - large files go piece by piece.
 *
 * Owner: the disk thread (the caller of store_sync_now when there is none). A file loses its name first and
 * is made shorter through the descriptor: so nobody, not even the next start after a crash, sees a part of
 * one.
 * Failure modes: what cannot be opened or made shorter goes at once, as without us. */
#include "store/shred.h"

#include <fcntl.h>

#include "base/assert.h"

void shred_init(struct shred *shred, const struct io *io)
{
    *shred = (struct shred){.io = io};
}

/* Returns a descriptor of a file worth the trouble, or -1. */
static int open_large(const struct shred *shred, const char *path, uint64_t *size)
{
    const struct io *io = shred->io;
    if (shred->files.size >= SHRED_FILES_MAX)
        return -1;
    int fd = io->open(io->arg, path, O_RDWR, 0);
    if (fd < 0)
        return -1;
    int64_t bytes = io->size(io->arg, fd);
    if (bytes <= SHRED_PIECE) {
        io->close(io->arg, fd);
        return -1;
    }
    *size = (uint64_t)bytes;
    return fd;
}

void shred_unlink(struct shred *shred, const char *path)
{
    const struct io *io = shred->io;
    uint64_t size = 0;
    int fd = open_large(shred, path, &size);
    int failed = io->unlink(io->arg, path);
    if (fd < 0)
        return;
    if (failed)
        io->close(io->arg, fd); /* it has its name still, and may not be cut */
    else
        shred_ring_push_back(&shred->files, (struct shred_file){size, fd});
}

bool shred_step(struct shred *shred)
{
    const struct io *io = shred->io;
    if (shred->files.size == 0)
        return false;
    struct shred_file *file = shred_ring_at(&shred->files, 0);
    assert(file->fd >= 0 && file->size > 0);
    file->size -= file->size < SHRED_PIECE ? file->size : SHRED_PIECE;
    if (io->truncate(io->arg, file->fd, file->size) == 0 && file->size > 0)
        return true;
    io->close(io->arg, file->fd);
    shred_ring_pop_front(&shred->files);
    return true;
}

void shred_finish(struct shred *shred)
{
    while (shred->files.size > 0)
        shred->io->close(shred->io->arg, shred_ring_pop_front(&shred->files).fd);
    shred_ring_free(&shred->files);
}
