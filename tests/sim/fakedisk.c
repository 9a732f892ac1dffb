/* fakedisk.c - a disk in memory that forgets what was not synced.
 *
 * Owner: the test. A file is an inode with two contents: what programs see, and what is on the
 * platter; names likewise. One thread. Few files: names are walked. */
#include "tests/sim/fakedisk.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/assert.h"
#include "base/buf.h"
#include "base/mem.h"
#include "base/rand.h"

enum { SECTOR = 512 };

struct inode {
    struct buf now, platter;
    uint8_t *dirty_map; /* one byte a sector */
    size_t dirty_map_size;
    size_t *dirty; /* sectors, in the order they were first written */
    size_t dirty_count, dirty_capacity;
    int lock_fd; /* -1 = unlocked */
    struct inode *next;
};

struct name {
    char *path;
    struct inode *now, *platter; /* NULL = not there */
};

struct fakedisk {
    struct io io;
    struct rand rand, read_rand; /* the second: a seed's other events do not depend on it */
    struct inode *inodes;
    struct name *names;
    size_t name_count;
    char **dirs;
    size_t dir_count;
    struct inode **fds; /* NULL = closed; numbers are not used twice */
    size_t fd_count;
    uint64_t changes, fail_at;
    int fail_error;
    bool fail_stays, short_writes, short_reads;
    uint64_t reads, read_fails_at, opens, open_fails_at, refused; /* the last: reads and opens that failed */
    int read_error;
};

static bool has_dir(const struct fakedisk *disk, const char *path, size_t len)
{
    if (len == 0 || (len == 1 && path[0] == '.'))
        return true;
    for (size_t i = 0; i < disk->dir_count; i++)
        if (strlen(disk->dirs[i]) == len && memcmp(disk->dirs[i], path, len) == 0)
            return true;
    return false;
}

static size_t parent_len(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? (size_t)(slash - path) : 0;
}

static struct name *find_name(const struct fakedisk *disk, const char *path)
{
    for (size_t i = 0; i < disk->name_count; i++)
        if (strcmp(disk->names[i].path, path) == 0)
            return &disk->names[i];
    return NULL;
}

static struct name *get_name(struct fakedisk *disk, const char *path)
{
    struct name *name = find_name(disk, path);
    if (name)
        return name;
    disk->names = mem_realloc(disk->names, (disk->name_count + 1) * sizeof *disk->names);
    name = &disk->names[disk->name_count++];
    *name = (struct name){.path = mem_copy(path, strlen(path))};
    return name;
}

static struct inode *new_inode(struct fakedisk *disk)
{
    struct inode *inode = mem_zalloc(sizeof *inode);
    inode->lock_fd = -1;
    inode->next = disk->inodes;
    return disk->inodes = inode;
}

/* Counts a changing call; the error it is to fail with, or 0. */
static int change(struct fakedisk *disk)
{
    disk->changes++;
    bool fails = disk->fail_at && (disk->changes == disk->fail_at ||
                                   (disk->fail_stays && disk->changes > disk->fail_at));
    return fails ? -disk->fail_error : 0;
}

static struct inode *inode_of(const struct fakedisk *disk, int fd)
{
    return fd >= 3 && (size_t)fd - 3 < disk->fd_count ? disk->fds[fd - 3] : NULL;
}

static void set_size(struct buf *buf, size_t size)
{
    if (size > buf->len)
        memset(buf_reserve(buf, size - buf->len), 0, size - buf->len);
    buf->len = size;
}

static void mark_dirty(struct inode *inode, size_t from, size_t to)
{
    for (size_t sector = from / SECTOR; sector * SECTOR < to; sector++) {
        if (sector >= inode->dirty_map_size) {
            size_t size = (sector + 1) * 2;
            inode->dirty_map = mem_realloc(inode->dirty_map, size);
            memset(inode->dirty_map + inode->dirty_map_size, 0, size - inode->dirty_map_size);
            inode->dirty_map_size = size;
        }
        if (inode->dirty_map[sector])
            continue;
        inode->dirty_map[sector] = 1;
        if (inode->dirty_count == inode->dirty_capacity) {
            inode->dirty_capacity = inode->dirty_capacity ? inode->dirty_capacity * 2 : 16;
            inode->dirty = mem_realloc(inode->dirty, inode->dirty_capacity * sizeof *inode->dirty);
        }
        inode->dirty[inode->dirty_count++] = sector;
    }
}

/* Brings one sector from what programs see to the platter, as far as both reach. */
static void land(struct inode *inode, size_t sector)
{
    size_t at = sector * SECTOR, end = at + SECTOR;
    if (end > inode->now.len)
        end = inode->now.len;
    if (at >= end)
        return;
    if (inode->platter.len < end)
        set_size(&inode->platter, end);
    memcpy(inode->platter.at + at, inode->now.at + at, end - at);
}

static void forget_dirty(struct inode *inode)
{
    for (size_t i = 0; i < inode->dirty_count; i++)
        inode->dirty_map[inode->dirty[i]] = 0;
    inode->dirty_count = 0;
}

static void sync_inode(struct inode *inode)
{
    set_size(&inode->platter, inode->now.len);
    for (size_t i = 0; i < inode->dirty_count; i++)
        land(inode, inode->dirty[i]);
    forget_dirty(inode);
}

/* The calls. */

static int open_file(void *arg, const char *path, int flags, unsigned mode)
{
    struct fakedisk *disk = arg;
    struct name *name = find_name(disk, path);
    (void)mode;
    if (++disk->opens == disk->open_fails_at) {
        disk->refused++;
        return -EMFILE;
    }
    if (!name || !name->now) {
        if (!(flags & O_CREAT) || !has_dir(disk, path, parent_len(path)))
            return -ENOENT;
        int failed = change(disk);
        if (failed)
            return failed;
        name = get_name(disk, path);
        name->now = new_inode(disk);
    }
    disk->fds = mem_realloc(disk->fds, (disk->fd_count + 1) * sizeof *disk->fds);
    disk->fds[disk->fd_count++] = name->now;
    return (int)disk->fd_count + 2;
}

static int close_file(void *arg, int fd)
{
    struct fakedisk *disk = arg;
    struct inode *inode = inode_of(disk, fd);
    if (!inode)
        return -EBADF;
    if (inode->lock_fd == fd)
        inode->lock_fd = -1;
    disk->fds[fd - 3] = NULL;
    return 0;
}

static ssize_t read_at(void *arg, int fd, void *bytes, size_t size, uint64_t offset)
{
    struct fakedisk *disk = arg;
    struct inode *inode = inode_of(disk, fd);
    if (!inode)
        return -EBADF;
    if (++disk->reads == disk->read_fails_at) {
        disk->refused++;
        return -disk->read_error;
    }
    if (offset >= inode->now.len)
        return 0;
    if (size > inode->now.len - offset)
        size = (size_t)(inode->now.len - offset);
    if (disk->short_reads && size > 1 && rand_below(&disk->read_rand, 4) == 0)
        size = 1 + (size_t)rand_below(&disk->read_rand, size - 1);
    memcpy(bytes, inode->now.at + offset, size);
    return (ssize_t)size;
}

/* A write that is cut short ends on a sector's edge, as a disk's do: within a sector bytes are old
 * or new together. */
static size_t cut_short(struct fakedisk *disk, uint64_t offset, size_t size)
{
    uint64_t end = offset + rand_below(&disk->rand, size + 1);
    end -= end % SECTOR;
    return end > offset ? (size_t)(end - offset) : 0;
}

static ssize_t write_at(void *arg, int fd, const void *bytes, size_t size, uint64_t offset)
{
    struct fakedisk *disk = arg;
    struct inode *inode = inode_of(disk, fd);
    if (!inode || size == 0)
        return inode ? 0 : -EBADF;
    int failed = change(disk);
    if (failed || disk->short_writes) {
        size_t cut = cut_short(disk, offset, size);
        if (failed || cut)
            size = cut;
    }
    size_t end = (size_t)offset + size, before = inode->now.len;
    if (size) {
        if (end > before)
            set_size(&inode->now, end);
        memcpy(inode->now.at + offset, bytes, size);
        mark_dirty(inode, before < offset ? before : (size_t)offset, end);
    }
    return failed ? failed : (ssize_t)size;
}

static int sync_file(void *arg, int fd)
{
    struct fakedisk *disk = arg;
    struct inode *inode = inode_of(disk, fd);
    if (!inode)
        return -EBADF;
    int failed = change(disk);
    if (!failed)
        sync_inode(inode);
    return failed;
}

static int truncate_file(void *arg, int fd, uint64_t size)
{
    struct fakedisk *disk = arg;
    struct inode *inode = inode_of(disk, fd);
    if (!inode)
        return -EBADF;
    int failed = change(disk);
    if (failed)
        return failed;
    size_t before = inode->now.len;
    set_size(&inode->now, (size_t)size);
    mark_dirty(inode, before < size ? before : (size_t)size, before < size ? (size_t)size : before);
    return 0;
}

static int64_t file_size(void *arg, int fd)
{
    struct inode *inode = inode_of(arg, fd);
    return inode ? (int64_t)inode->now.len : -EBADF;
}

static int unlink_file(void *arg, const char *path)
{
    struct fakedisk *disk = arg;
    struct name *name = find_name(disk, path);
    if (!name || !name->now)
        return -ENOENT;
    int failed = change(disk);
    if (!failed)
        name->now = NULL;
    return failed;
}

static int rename_file(void *arg, const char *from, const char *to)
{
    struct fakedisk *disk = arg;
    struct name *name = find_name(disk, from);
    if (!name || !name->now)
        return -ENOENT;
    int failed = change(disk);
    if (failed)
        return failed;
    struct inode *inode = name->now;
    name->now = NULL;
    get_name(disk, to)->now = inode;
    return 0;
}

static int make_dir(void *arg, const char *path, unsigned mode)
{
    struct fakedisk *disk = arg;
    (void)mode;
    if (has_dir(disk, path, strlen(path)))
        return -EEXIST;
    if (!has_dir(disk, path, parent_len(path)))
        return -ENOENT;
    int failed = change(disk);
    if (failed)
        return failed;
    disk->dirs = mem_realloc(disk->dirs, (disk->dir_count + 1) * sizeof *disk->dirs);
    disk->dirs[disk->dir_count++] = mem_copy(path, strlen(path));
    return 0;
}

static bool in_dir(const struct name *name, const char *dir)
{
    return parent_len(name->path) == strlen(dir) && memcmp(name->path, dir, strlen(dir)) == 0;
}

static int sync_dir(void *arg, const char *path)
{
    struct fakedisk *disk = arg;
    int failed = change(disk);
    for (size_t i = 0; i < disk->name_count && !failed; i++)
        if (in_dir(&disk->names[i], path))
            disk->names[i].platter = disk->names[i].now;
    return failed;
}

static int list_dir(void *arg, const char *path, void (*each)(void *ctx, const char *name),
                    void *ctx)
{
    struct fakedisk *disk = arg;
    if (!has_dir(disk, path, strlen(path)))
        return -ENOENT;
    for (size_t i = 0; i < disk->name_count; i++)
        if (disk->names[i].now && in_dir(&disk->names[i], path))
            each(ctx, disk->names[i].path + strlen(path) + 1);
    return 0;
}

static int lock_file(void *arg, int fd)
{
    struct inode *inode = inode_of(arg, fd);
    if (!inode)
        return -EBADF;
    if (inode->lock_fd >= 0 && inode->lock_fd != fd)
        return -EWOULDBLOCK;
    inode->lock_fd = fd;
    return 0;
}

/* The test's side. */

struct fakedisk *fakedisk_new(uint64_t seed)
{
    struct fakedisk *disk = mem_zalloc(sizeof *disk);
    disk->rand = rand_seeded(seed);
    disk->read_rand = rand_seeded(~seed);
    disk->io = (struct io){
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
        .arg = disk,
    };
    return disk;
}

static void free_inode(struct inode *inode)
{
    buf_free(&inode->now);
    buf_free(&inode->platter);
    mem_free(inode->dirty_map);
    mem_free(inode->dirty);
    mem_free(inode);
}

void fakedisk_free(struct fakedisk **disk_at)
{
    struct fakedisk *disk = *disk_at;
    while (disk->inodes) {
        struct inode *inode = disk->inodes;
        disk->inodes = inode->next;
        free_inode(inode);
    }
    for (size_t i = 0; i < disk->name_count; i++)
        mem_free(disk->names[i].path);
    for (size_t i = 0; i < disk->dir_count; i++)
        mem_free(disk->dirs[i]);
    mem_free(disk->names);
    mem_free(disk->dirs);
    mem_free(disk->fds);
    mem_free(disk);
    *disk_at = NULL;
}

const struct io *fakedisk_io(struct fakedisk *disk)
{
    return &disk->io;
}

/* Chance decides which unsynced sectors had reached the platter, and how long the file is. */
static void land_some(struct fakedisk *disk, struct inode *inode)
{
    uint64_t manner = rand_below(&disk->rand, 4);
    size_t prefix = manner == 0   ? 0
                    : manner == 1 ? inode->dirty_count
                                  : (size_t)rand_below(&disk->rand, inode->dirty_count + 1);
    if (inode->now.len != inode->platter.len && rand_below(&disk->rand, 2))
        set_size(&inode->platter, inode->now.len);
    for (size_t i = 0; i < inode->dirty_count; i++)
        if (manner == 3 ? rand_below(&disk->rand, 2) == 0 : i < prefix)
            land(inode, inode->dirty[i]);
}

static void crash_inode(struct fakedisk *disk, struct inode *inode, enum fakedisk_loss loss)
{
    inode->lock_fd = -1;
    if (loss == FAKEDISK_LOSE_NONE)
        return; /* the machine keeps it in memory, and may lose it yet */
    if (loss == FAKEDISK_LOSE_SOME)
        land_some(disk, inode);
    set_size(&inode->now, inode->platter.len);
    if (inode->platter.len)
        memcpy(inode->now.at, inode->platter.at, inode->platter.len);
    forget_dirty(inode);
}

static void free_nameless(struct fakedisk *disk)
{
    for (struct inode **at = &disk->inodes; *at;) {
        struct inode *inode = *at;
        bool named = false;
        for (size_t i = 0; i < disk->name_count && !named; i++)
            named = disk->names[i].now == inode || disk->names[i].platter == inode;
        if (named) {
            at = &inode->next;
            continue;
        }
        *at = inode->next;
        free_inode(inode);
    }
}

void fakedisk_crash(struct fakedisk *disk, enum fakedisk_loss loss)
{
    for (size_t i = 0; i < disk->name_count && loss != FAKEDISK_LOSE_NONE; i++) {
        struct name *name = &disk->names[i];
        bool landed = loss == FAKEDISK_LOSE_SOME && rand_below(&disk->rand, 2);
        if (landed)
            name->platter = name->now;
        name->now = name->platter;
    }
    free_nameless(disk);
    for (struct inode *inode = disk->inodes; inode; inode = inode->next)
        crash_inode(disk, inode, loss);
    for (size_t i = 0; i < disk->fd_count; i++)
        disk->fds[i] = NULL;
    disk->fail_at = disk->read_fails_at = disk->open_fails_at = 0;
}

uint64_t fakedisk_changes(const struct fakedisk *disk)
{
    return disk->changes;
}

void fakedisk_fail_at(struct fakedisk *disk, uint64_t change_number, int error, bool stays)
{
    assert(error >= 0);
    disk->fail_at = change_number, disk->fail_error = error, disk->fail_stays = stays;
}

void fakedisk_short_writes(struct fakedisk *disk, bool on)
{
    disk->short_writes = on;
}

void fakedisk_short_reads(struct fakedisk *disk, bool on)
{
    disk->short_reads = on;
}

void fakedisk_fail_read(struct fakedisk *disk, uint64_t soon, int error)
{
    assert(soon > 0 && error > 0);
    disk->read_fails_at = disk->reads + soon, disk->read_error = error;
}

void fakedisk_fail_open(struct fakedisk *disk, uint64_t soon)
{
    assert(soon > 0);
    disk->open_fails_at = disk->opens + soon;
}

void fakedisk_serve(struct fakedisk *disk)
{
    disk->read_fails_at = disk->open_fails_at = 0;
}

uint64_t fakedisk_refused(const struct fakedisk *disk)
{
    return disk->refused;
}

struct slice fakedisk_get(const struct fakedisk *disk, const char *path)
{
    const struct name *name = find_name(disk, path);
    if (!name || !name->now)
        return (struct slice){0};
    return slice_of(name->now->now.len ? name->now->now.at : (const uint8_t *)"",
                    name->now->now.len);
}

void fakedisk_put(struct fakedisk *disk, const char *path, struct slice bytes)
{
    assertf(has_dir(disk, path, parent_len(path)), "no directory for %s", path);
    struct name *name = get_name(disk, path);
    if (!name->now)
        name->now = new_inode(disk);
    struct inode *inode = name->now;
    mark_dirty(inode, 0, inode->now.len > bytes.len ? inode->now.len : bytes.len);
    set_size(&inode->now, bytes.len);
    if (bytes.len)
        memcpy(inode->now.at, bytes.at, bytes.len);
    sync_inode(inode);
    name->platter = name->now;
}
