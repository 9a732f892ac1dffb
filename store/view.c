/* view.c - a data directory whose changes stay in memory.
 *
 * Owner: whoever checks or dumps a directory. A file is read through until the first change of it,
 * which copies it; from then on the copy is the file, under its name, until the view ends. Failure
 * modes: those of the table below; there is no disk to be full. */
#include "store/view.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/assert.h"
#include "base/buf.h"
#include "base/mem.h"
#include "base/ring.h"

struct view_file {
    char *path;
    bool copied, gone; /* `bytes` counts; not there any more */
    struct buf bytes;
};

struct view_handle {
    struct view_file *file; /* NULL = closed */
    int fd;                 /* the base's; -1 = none, the file is ours alone */
};

RING(view_files, struct view_file *);
RING(view_handles, struct view_handle);

struct view {
    struct io io;
    const struct io *base;
    struct view_files files;
    struct view_handles handles; /* by descriptor */
};

static struct view_file *file_at(struct view *view, const char *path)
{
    for (size_t i = 0; i < view->files.size; i++) {
        struct view_file *file = *view_files_at(&view->files, i);
        if (strcmp(file->path, path) == 0)
            return file;
    }
    struct view_file *file = mem_zalloc(sizeof *file);
    file->path = mem_copy(path, strlen(path));
    view_files_push_back(&view->files, file);
    return file;
}

static struct view_handle *handle_of(struct view *view, int fd)
{
    assert(fd >= 0);
    struct view_handle *handle = view_handles_at(&view->handles, (size_t)fd);
    assert(handle->file);
    return handle;
}

static int keep_handle(struct view *view, struct view_file *file, int fd)
{
    struct view_handle handle = {file, fd};
    for (size_t i = 0; i < view->handles.size; i++) {
        if (view_handles_at(&view->handles, i)->file)
            continue;
        *view_handles_at(&view->handles, i) = handle;
        return (int)i;
    }
    view_handles_push_back(&view->handles, handle);
    return (int)view->handles.size - 1;
}

static int open_file(void *arg, const char *path, int flags, unsigned mode)
{
    struct view *view = arg;
    struct view_file *file = file_at(view, path);
    (void)mode;
    if (file->copied && !file->gone)
        return keep_handle(view, file, -1);
    int fd = file->gone ? -ENOENT : view->base->open(view->base->arg, path, O_RDONLY, 0);
    if (fd >= 0)
        return keep_handle(view, file, fd);
    if (fd != -ENOENT || !(flags & O_CREAT))
        return fd;
    file->bytes.len = 0;
    file->copied = true, file->gone = false;
    return keep_handle(view, file, -1);
}

static int close_file(void *arg, int fd)
{
    struct view *view = arg;
    struct view_handle *handle = handle_of(view, fd);
    int base = handle->fd;
    handle->file = NULL;
    return base < 0 ? 0 : view->base->close(view->base->arg, base);
}

static ssize_t read_at(void *arg, int fd, void *bytes, size_t size, uint64_t offset)
{
    struct view *view = arg;
    struct view_handle *handle = handle_of(view, fd);
    const struct buf *copy = &handle->file->bytes;
    if (!handle->file->copied)
        return view->base->pread(view->base->arg, handle->fd, bytes, size, offset);
    if (offset >= copy->len)
        return 0;
    if (size > copy->len - offset)
        size = (size_t)(copy->len - offset);
    memcpy(bytes, copy->at + offset, size);
    return (ssize_t)size;
}

static int copy_file(struct view *view, struct view_handle *handle)
{
    struct view_file *file = handle->file;
    const struct io *base = view->base;
    if (file->copied)
        return 0;
    int64_t size = base->size(base->arg, handle->fd);
    file->bytes.len = 0;
    while (size >= 0 && file->bytes.len < (uint64_t)size) {
        size_t want = (size_t)size - file->bytes.len;
        uint8_t *at = buf_reserve(&file->bytes, want);
        ssize_t got = base->pread(base->arg, handle->fd, at, want, file->bytes.len);
        if (got <= 0)
            return got ? (int)got : -EIO;
        file->bytes.len += (size_t)got;
    }
    file->copied = size >= 0;
    return size < 0 ? (int)size : 0;
}

static void resize(struct buf *bytes, uint64_t size)
{
    if (size > bytes->len) {
        uint8_t *at = buf_reserve(bytes, (size_t)(size - bytes->len));
        memset(at, 0, (size_t)(size - bytes->len));
    }
    bytes->len = (size_t)size;
}

static ssize_t write_at(void *arg, int fd, const void *bytes, size_t size, uint64_t offset)
{
    struct view *view = arg;
    struct view_handle *handle = handle_of(view, fd);
    int failed = copy_file(view, handle);
    if (failed)
        return failed;
    struct buf *copy = &handle->file->bytes;
    if (offset + size > copy->len)
        resize(copy, offset + size);
    if (size)
        memcpy(copy->at + offset, bytes, size);
    return (ssize_t)size;
}

static int truncate_file(void *arg, int fd, uint64_t size)
{
    struct view *view = arg;
    struct view_handle *handle = handle_of(view, fd);
    int failed = copy_file(view, handle);
    if (!failed)
        resize(&handle->file->bytes, size);
    return failed;
}

static int64_t file_size(void *arg, int fd)
{
    struct view *view = arg;
    struct view_handle *handle = handle_of(view, fd);
    return handle->file->copied ? (int64_t)handle->file->bytes.len
                                : view->base->size(view->base->arg, handle->fd);
}

static int unlink_file(void *arg, const char *path)
{
    struct view *view = arg;
    int fd = open_file(view, path, O_RDONLY, 0);
    if (fd < 0)
        return fd;
    handle_of(view, fd)->file->gone = true;
    return close_file(view, fd);
}

static int rename_file(void *arg, const char *from, const char *to)
{
    struct view *view = arg;
    int fd = open_file(view, from, O_RDONLY, 0);
    if (fd < 0)
        return fd;
    int failed = copy_file(view, handle_of(view, fd));
    if (!failed) {
        struct view_file *old = file_at(view, from), *new = file_at(view, to);
        new->bytes.len = 0;
        buf_append_slice(&new->bytes, buf_slice(&old->bytes));
        new->copied = true, new->gone = false;
        old->gone = true;
    }
    close_file(view, fd);
    return failed;
}

/* The directory is there or nothing can be looked at. */
static int make_dir(void *arg, const char *path, unsigned mode)
{
    (void)arg, (void)path, (void)mode;
    return -EEXIST;
}

static int sync_file(void *arg, int fd)
{
    handle_of(arg, fd);
    return 0;
}

static int sync_dir(void *arg, const char *path)
{
    (void)arg, (void)path;
    return 0;
}

/* Names of the directory itself: what is made here is not for those who list it. */
static int list_dir(void *arg, const char *path, void (*each)(void *ctx, const char *name),
                    void *ctx)
{
    struct view *view = arg;
    return view->base->list(view->base->arg, path, each, ctx);
}

/* A directory without a lock file is a copy: nobody can have it open. */
static int lock_file(void *arg, int fd)
{
    struct view *view = arg;
    struct view_handle *handle = handle_of(view, fd);
    return handle->fd < 0 ? 0 : view->base->lock(view->base->arg, handle->fd);
}

struct view *view_new(const struct io *base)
{
    struct view *view = mem_zalloc(sizeof *view);
    view->base = base;
    view->io = (struct io){
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
        .arg = view,
    };
    return view;
}

void view_free(struct view **view_at)
{
    struct view *view = *view_at;
    for (size_t i = 0; i < view->handles.size; i++)
        assertf(!view_handles_at(&view->handles, i)->file, "descriptor %zu is still open", i);
    while (view->files.size) {
        struct view_file *file = view_files_pop_front(&view->files);
        buf_free(&file->bytes);
        mem_free(file->path);
        mem_free(file);
    }
    view_files_free(&view->files);
    view_handles_free(&view->handles);
    mem_free(view);
    *view_at = NULL;
}

const struct io *view_io(struct view *view)
{
    return &view->io;
}
