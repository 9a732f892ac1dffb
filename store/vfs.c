/* vfs.c - SQLite's files through the store's table of calls.
 *
 * Owner: the definitions. Only what SQLite needs for one connection with an exclusive lock and a
 * write-ahead log: no shared memory, no file locks, no temporary files, no extensions. Failure
 * modes: a failed call becomes SQLITE_IOERR or SQLITE_FULL and its -errno is kept in vfs->error. */
#include "store/vfs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "base/rand.h"

struct vfs_file {
    sqlite3_file base;
    struct vfs *vfs;
    int fd;
    bool fresh; /* its name is not yet synced in the directory */
};

static struct vfs_file *file_of(sqlite3_file *file)
{
    return container_of(file, struct vfs_file, base);
}

static struct vfs *vfs_of(sqlite3_vfs *base)
{
    return container_of(base, struct vfs, base);
}

static int fail(struct vfs *vfs, int error, int code)
{
    assert(error < 0);
    vfs->error = error;
    return io_is_full(error) && code != SQLITE_IOERR_FSYNC ? SQLITE_FULL : code;
}

static int file_close(sqlite3_file *base)
{
    struct vfs_file *file = file_of(base);
    int failed = file->vfs->io->close(file->vfs->io->arg, file->fd);
    return failed ? fail(file->vfs, failed, SQLITE_IOERR_CLOSE) : SQLITE_OK;
}

static int file_read(sqlite3_file *base, void *bytes, int size, sqlite3_int64 offset)
{
    struct vfs_file *file = file_of(base);
    const struct io *io = file->vfs->io;
    uint8_t *at = bytes;
    size_t left = (size_t)size;
    assert(size >= 0 && offset >= 0);
    while (left) {
        ssize_t got = io->pread(io->arg, file->fd, at, left, (uint64_t)offset);
        if (got < 0)
            return fail(file->vfs, (int)got, SQLITE_IOERR_READ);
        if (got == 0) {
            memset(at, 0, left);
            return SQLITE_IOERR_SHORT_READ;
        }
        at += got, left -= (size_t)got, offset += got;
    }
    return SQLITE_OK;
}

static int file_write(sqlite3_file *base, const void *bytes, int size, sqlite3_int64 offset)
{
    struct vfs_file *file = file_of(base);
    assert(size >= 0 && offset >= 0);
    if (file->vfs->dead)
        return SQLITE_IOERR_WRITE;
    int failed = io_write(file->vfs->io, file->fd, bytes, (size_t)size, (uint64_t)offset);
    return failed ? fail(file->vfs, failed, SQLITE_IOERR_WRITE) : SQLITE_OK;
}

static int file_truncate(sqlite3_file *base, sqlite3_int64 size)
{
    struct vfs_file *file = file_of(base);
    assert(size >= 0);
    if (file->vfs->dead)
        return SQLITE_IOERR_TRUNCATE;
    int failed = file->vfs->io->truncate(file->vfs->io->arg, file->fd, (uint64_t)size);
    return failed ? fail(file->vfs, failed, SQLITE_IOERR_TRUNCATE) : SQLITE_OK;
}

static int file_sync(sqlite3_file *base, int flags)
{
    struct vfs_file *file = file_of(base);
    const struct io *io = file->vfs->io;
    (void)flags;
    if (file->vfs->dead)
        return SQLITE_IOERR_FSYNC;
    int failed = io->fdatasync(io->arg, file->fd);
    if (!failed && file->fresh)
        failed = io->sync_dir(io->arg, file->vfs->dir);
    if (failed) {
        file->vfs->sync_failed = true;
        return fail(file->vfs, failed, SQLITE_IOERR_FSYNC);
    }
    file->fresh = false;
    return SQLITE_OK;
}

static int file_size(sqlite3_file *base, sqlite3_int64 *size)
{
    struct vfs_file *file = file_of(base);
    *size = file->vfs->io->size(file->vfs->io->arg, file->fd);
    return *size < 0 ? fail(file->vfs, (int)*size, SQLITE_IOERR_FSTAT) : SQLITE_OK;
}

static int file_lock(sqlite3_file *base, int level)
{
    (void)base, (void)level;
    return SQLITE_OK;
}

static int file_check_lock(sqlite3_file *base, int *reserved)
{
    (void)base;
    *reserved = 0;
    return SQLITE_OK;
}

static int file_control(sqlite3_file *base, int op, void *arg)
{
    (void)base, (void)op, (void)arg;
    return SQLITE_NOTFOUND;
}

static int file_sector_size(sqlite3_file *base)
{
    (void)base;
    return 4096;
}

static int file_traits(sqlite3_file *base)
{
    (void)base;
    return SQLITE_IOCAP_POWERSAFE_OVERWRITE;
}

static const sqlite3_io_methods file_methods = {
    .iVersion = 1,
    .xClose = file_close,
    .xRead = file_read,
    .xWrite = file_write,
    .xTruncate = file_truncate,
    .xSync = file_sync,
    .xFileSize = file_size,
    .xLock = file_lock,
    .xUnlock = file_lock,
    .xCheckReservedLock = file_check_lock,
    .xFileControl = file_control,
    .xSectorSize = file_sector_size,
    .xDeviceCharacteristics = file_traits,
};

static int open_file(sqlite3_vfs *base, const char *path, sqlite3_file *out, int flags,
                     int *out_flags)
{
    struct vfs *vfs = vfs_of(base);
    struct vfs_file *file = file_of(out);
    *file = (struct vfs_file){.vfs = vfs, .fd = -1};
    if (!path || (flags & SQLITE_OPEN_DELETEONCLOSE) || vfs->dead)
        return SQLITE_CANTOPEN;
    int fd = vfs->io->open(vfs->io->arg, path, O_RDWR, 0);
    if (fd == -ENOENT && (flags & SQLITE_OPEN_CREATE)) {
        fd = vfs->io->open(vfs->io->arg, path, O_RDWR | O_CREAT, 0640);
        file->fresh = true;
    }
    if (fd < 0)
        return fail(vfs, fd, SQLITE_CANTOPEN);
    file->fd = fd;
    file->base.pMethods = &file_methods;
    if (out_flags)
        *out_flags = flags;
    return SQLITE_OK;
}

static int delete_file(sqlite3_vfs *base, const char *path, int sync_dir)
{
    struct vfs *vfs = vfs_of(base);
    if (vfs->dead)
        return SQLITE_IOERR_DELETE;
    int failed = vfs->io->unlink(vfs->io->arg, path);
    if (failed == -ENOENT)
        return SQLITE_IOERR_DELETE_NOENT;
    if (!failed && sync_dir)
        failed = vfs->io->sync_dir(vfs->io->arg, vfs->dir);
    return failed ? fail(vfs, failed, SQLITE_IOERR_DELETE) : SQLITE_OK;
}

static int access_file(sqlite3_vfs *base, const char *path, int flags, int *yes)
{
    struct vfs *vfs = vfs_of(base);
    (void)flags;
    int fd = vfs->io->open(vfs->io->arg, path, O_RDWR, 0);
    *yes = fd >= 0;
    if (fd >= 0) {
        /* SQLite takes an empty log for no log; so must we, or it would be deleted for nothing. */
        *yes = vfs->io->size(vfs->io->arg, fd) != 0;
        vfs->io->close(vfs->io->arg, fd);
    }
    return fd >= 0 || fd == -ENOENT ? SQLITE_OK : fail(vfs, fd, SQLITE_IOERR_ACCESS);
}

static int full_path(sqlite3_vfs *base, const char *path, int size, char *full)
{
    (void)base;
    int len = snprintf(full, (size_t)size, "%s", path);
    return len >= 0 && len < size ? SQLITE_OK : SQLITE_CANTOPEN;
}

static int random_bytes(sqlite3_vfs *base, int size, char *bytes)
{
    (void)base;
    struct rand secure = rand_secure();
    assert(size >= 0);
    rand_bytes(&secure, bytes, (size_t)size);
    return size;
}

static int sleep_us(sqlite3_vfs *base, int us)
{
    (void)base;
    return us;
}

/* Julian day: no statement of ours asks for the date. */
static int julian_day(sqlite3_vfs *base, double *day)
{
    (void)base;
    *day = 2440587.5;
    return SQLITE_OK;
}

static int last_error(sqlite3_vfs *base, int size, char *text)
{
    (void)size, (void)text;
    return -vfs_of(base)->error;
}

int vfs_init(struct vfs *vfs, const struct io *io, const char *dir)
{
    *vfs = (struct vfs){
        .base = {.iVersion = 1,
                 .szOsFile = sizeof(struct vfs_file),
                 .mxPathname = 4096,
                 .xOpen = open_file,
                 .xDelete = delete_file,
                 .xAccess = access_file,
                 .xFullPathname = full_path,
                 .xRandomness = random_bytes,
                 .xSleep = sleep_us,
                 .xCurrentTime = julian_day,
                 .xGetLastError = last_error},
        .io = io,
        .dir = dir,
    };
    snprintf(vfs->name, sizeof vfs->name, "leveret-%p", (void *)vfs);
    vfs->base.zName = vfs->name;
    assert(!sqlite3_vfs_find(vfs->name));
    return sqlite3_vfs_register(&vfs->base, 0) == SQLITE_OK ? 0 : -ENOMEM;
}

void vfs_free(struct vfs *vfs)
{
    if (!vfs->base.zName)
        return;
    int failed = sqlite3_vfs_unregister(&vfs->base);
    assert(failed == SQLITE_OK);
    vfs->base.zName = NULL;
}
