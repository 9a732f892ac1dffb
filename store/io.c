/* io.c - the operating system's files behind the store's table of calls.
 *
 * Files are opened close-on-exec; interrupted calls are repeated here, so that nobody above has to.
 */
#include "store/io.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"

static int open_file(void *arg, const char *path, int flags, unsigned mode)
{
    (void)arg;
    int fd;
    do
        fd = open(path, flags | O_CLOEXEC, (mode_t)mode);
    while (fd < 0 && errno == EINTR);
    return fd < 0 ? -errno : fd;
}

static int close_file(void *arg, int fd)
{
    (void)arg;
    assert(fd >= 0);
    /* Linux has closed it even when it says it was interrupted. */
    return close(fd) == 0 || errno == EINTR ? 0 : -errno;
}

static ssize_t read_at(void *arg, int fd, void *bytes, size_t size, uint64_t offset)
{
    (void)arg;
    assert(offset <= INT64_MAX);
    ssize_t got;
    do
        got = pread(fd, bytes, size, (off_t)offset);
    while (got < 0 && errno == EINTR);
    return got < 0 ? -errno : got;
}

static ssize_t write_at(void *arg, int fd, const void *bytes, size_t size, uint64_t offset)
{
    (void)arg;
    assert(offset <= INT64_MAX);
    ssize_t put;
    do
        put = pwrite(fd, bytes, size, (off_t)offset);
    while (put < 0 && errno == EINTR);
    return put < 0 ? -errno : put;
}

static int sync_file(void *arg, int fd)
{
    (void)arg;
    /* Never repeated: after a failure the kernel may have forgotten which pages were dirty. */
    return fdatasync(fd) == 0 ? 0 : -errno;
}

static int truncate_file(void *arg, int fd, uint64_t size)
{
    (void)arg;
    assert(size <= INT64_MAX);
    int failed;
    do
        failed = ftruncate(fd, (off_t)size);
    while (failed && errno == EINTR);
    return failed ? -errno : 0;
}

static int64_t file_size(void *arg, int fd)
{
    (void)arg;
    struct stat status;
    return fstat(fd, &status) == 0 ? (int64_t)status.st_size : -errno;
}

static int unlink_file(void *arg, const char *path)
{
    (void)arg;
    return unlink(path) == 0 ? 0 : -errno;
}

static int rename_file(void *arg, const char *from, const char *to)
{
    (void)arg;
    return rename(from, to) == 0 ? 0 : -errno;
}

static int make_dir(void *arg, const char *path, unsigned mode)
{
    (void)arg;
    return mkdir(path, (mode_t)mode) == 0 ? 0 : -errno;
}

static int sync_dir(void *arg, const char *path)
{
    int fd = open_file(arg, path, O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0)
        return fd;
    int failed = fsync(fd) == 0 ? 0 : -errno;
    close(fd);
    return failed;
}

static int list_dir(void *arg, const char *path, void (*each)(void *ctx, const char *name),
                    void *ctx)
{
    (void)arg;
    DIR *dir = opendir(path);
    if (!dir)
        return -errno;
    struct dirent *entry;
    errno = 0;
    while ((entry = readdir(dir)) != NULL) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            each(ctx, entry->d_name);
        errno = 0;
    }
    int failed = -errno;
    closedir(dir);
    return failed;
}

static int lock_file(void *arg, int fd)
{
    (void)arg;
    int failed;
    do
        failed = flock(fd, LOCK_EX | LOCK_NB);
    while (failed && errno == EINTR);
    return failed ? -errno : 0;
}

const struct io *io_system(void)
{
    static const struct io system = {
        .open = open_file,
        .close = close_file,
        .pread = read_at,
        .pwrite = write_at,
        .fdatasync = sync_file,
        .truncate = truncate_file,
        .size = file_size,
        .unlink = unlink_file,
        .rename = rename_file,
        .mkdir = make_dir,
        .sync_dir = sync_dir,
        .list = list_dir,
        .lock = lock_file,
    };
    return &system;
}

bool io_is_full(int failed)
{
    return failed == -ENOSPC || failed == -EDQUOT;
}

int io_write(const struct io *io, int fd, const void *bytes, size_t size, uint64_t offset)
{
    const uint8_t *at = bytes;
    while (size) {
        ssize_t put = io->pwrite(io->arg, fd, at, size, offset);
        if (put <= 0)
            return put ? (int)put : -ENOSPC;
        assert((size_t)put <= size);
        at += put, size -= (size_t)put, offset += (uint64_t)put;
    }
    return 0;
}
