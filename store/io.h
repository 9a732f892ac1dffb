/* io.h - every call the store makes to a file system, as a table: the system's, or a fake one that
 * crashes, fills up and lies. All return 0 or more, or -errno. Offsets and sizes in bytes. */
#ifndef STORE_IO_H
#define STORE_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct io {
    int (*open)(void *arg, const char *path, int flags, unsigned mode);
    int (*close)(void *arg, int fd);
    ssize_t (*pread)(void *arg, int fd, void *bytes, size_t size, uint64_t offset);
    ssize_t (*pwrite)(void *arg, int fd, const void *bytes, size_t size, uint64_t offset);
    int (*fdatasync)(void *arg, int fd);
    int (*truncate)(void *arg, int fd, uint64_t size);
    int64_t (*size)(void *arg, int fd);
    int (*unlink)(void *arg, const char *path);
    int (*rename)(void *arg, const char *from, const char *to);
    int (*mkdir)(void *arg, const char *path, unsigned mode);
    int (*sync_dir)(void *arg, const char *path);
    /* Calls `each` with every name in the directory but . and .. */
    int (*list)(void *arg, const char *path, void (*each)(void *ctx, const char *name), void *ctx);
    /* Takes an exclusive lock on the open file; -EWOULDBLOCK when another process has it. */
    int (*lock)(void *arg, int fd);
    void *arg;
};

/* The operating system's. Interrupted calls are repeated; short reads and writes are the caller's. */
const struct io *io_system(void);

/* True for the errors that mean: there is no space. Writing may succeed later. */
bool io_is_full(int failed);

/* Writes all `size` bytes, however short the single writes are. 0 or -errno. */
int io_write(const struct io *io, int fd, const void *bytes, size_t size, uint64_t offset)
    __attribute__((warn_unused_result));

#endif
