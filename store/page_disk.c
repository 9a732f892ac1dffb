/* page_disk.c - page files as the disk thread sees them.
 *
 * Owner: the disk thread (the caller of store_sync_now when there is none).
 * Pages are appended; a file is written by one process only. What is moved is copied as it is, damaged or
 * not: whoever reads it tells.
 * Failure modes: every failed call is passed up; the caller ends the process. */
#include "store/page_disk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "store/file_name.h"

void page_disk_init(struct page_disk *disk, const struct io *io, const char *dir)
{
    *disk = (struct page_disk){.io = io, .dir = dir, .fd = -1};
}

static void close_file(struct page_disk *disk)
{
    if (disk->fd >= 0)
        disk->io->close(disk->io->arg, disk->fd);
    disk->fd = -1;
}

void page_disk_close(struct page_disk *disk)
{
    close_file(disk);
    mem_free(disk->copy);
    disk->copy = NULL;
    disk->copy_size = 0;
}

static const struct file_kind pages = {"pages-", ".dat"};

bool page_disk_path(const char *dir, uint32_t file, char *path, size_t size)
{
    return file_name_path(&pages, dir, file, path, size);
}

uint32_t page_disk_number(const char *name)
{
    return file_name_number(&pages, name);
}

static int sync_file(struct page_disk *disk)
{
    if (!disk->unsynced)
        return 0;
    disk->unsynced = false;
    disk->syncs++;
    int failed = disk->io->fdatasync(disk->io->arg, disk->fd);
    return io_is_full(failed) ? -EIO
                              : failed; /* lack of space is met by writing; a sync is never tried again */
}

/* Goes over to that file, which is made when it is new. */
static int use_file(struct page_disk *disk, uint32_t file)
{
    const struct io *io = disk->io;
    if (disk->fd >= 0 && disk->file == file)
        return 0;
    int failed = sync_file(disk);
    close_file(disk);
    if (failed)
        return failed;
    if (!page_disk_path(disk->dir, file, disk->path, sizeof disk->path))
        return -ENAMETOOLONG;
    int fd = io->open(io->arg, disk->path, O_RDWR | O_CREAT, 0640);
    if (fd < 0)
        return fd;
    disk->fd = fd;
    disk->file = file;
    failed = io->sync_dir(io->arg, disk->dir);
    return io_is_full(failed) ? -EIO : failed;
}

static int put(struct page_disk *disk, const struct page_job *job, const uint8_t *bytes, size_t size)
{
    int failed = use_file(disk, job->file);
    if (failed)
        return failed;
    disk->bytes_written += size;
    return io_write(disk->io, disk->fd, bytes, size, job->offset);
}

/* Pages that follow each other go with one call. Returns the jobs done in `count`. */
static int put_run(struct page_disk *disk, const struct page_work *work, uint32_t first, uint32_t *count)
{
    const struct page_job *job = &work->jobs[first];
    size_t size = job->size;
    bool stored = job->stored;
    for (*count = 1; first + *count < work->count; ++*count) {
        const struct page_job *next = &job[*count];
        if (next->kind != PAGE_JOB_WRITE || next->file != job->file || next->offset != job->offset + size ||
            next->at != job->at + size)
            break;
        size += next->size;
        stored |= next->stored;
    }
    int failed = put(disk, job, work->bytes + job->at, size);
    disk->unsynced |= stored && !failed; /* what failed for lack of space is written again, all of it */
    return failed;
}

int page_disk_read(const struct io *io, const char *path, uint8_t *bytes, size_t size, uint64_t offset)
{
    int fd = io->open(io->arg, path, O_RDONLY, 0);
    if (fd < 0)
        return fd;
    int failed = 0;
    for (size_t have = 0; have < size && !failed;) {
        ssize_t got = io->pread(io->arg, fd, bytes + have, size - have, offset + have);
        if (got <= 0)
            failed = got ? (int)got : -EIO;
        else
            have += (size_t)got;
    }
    io->close(io->arg, fd);
    return failed;
}

static int move(struct page_disk *disk, const struct page_job *job)
{
    char path[JOURNAL_PATH_MAX];
    if (disk->copy_size < job->size) {
        mem_free(disk->copy);
        disk->copy = mem_alloc(job->size);
        disk->copy_size = job->size;
    }
    if (!page_disk_path(disk->dir, job->from_file, path, sizeof path))
        return -ENAMETOOLONG;
    int failed = page_disk_read(disk->io, path, disk->copy, job->size, job->from_offset);
    if (failed) /* the place in the new file stays a hole: reading the page will fail there, and tell */
        memset(disk->copy, 0, job->size);
    failed = put(disk, job, disk->copy, job->size);
    disk->unsynced |= job->stored && !failed;
    return failed;
}

int page_disk_write(struct page_disk *disk, const struct page_work *work)
{
    int failed = 0;
    for (uint32_t i = 0, done = 1; i < work->count && !failed; i += done) {
        done = 1;
        if (work->jobs[i].kind == PAGE_JOB_WRITE)
            failed = put_run(disk, work, i, &done);
        else if (work->jobs[i].kind == PAGE_JOB_MOVE)
            failed = move(disk, &work->jobs[i]);
    }
    return failed ? failed : sync_file(disk);
}

void page_disk_unlink(struct page_disk *disk, const struct page_work *work, struct shred *shred)
{
    for (uint32_t i = 0; i < work->count; i++) {
        const struct page_job *job = &work->jobs[i];
        char path[JOURNAL_PATH_MAX];
        if (job->kind != PAGE_JOB_UNLINK || !page_disk_path(disk->dir, job->file, path, sizeof path))
            continue;
        if (disk->fd >= 0 && disk->file == job->file)
            close_file(disk);
        shred_unlink(shred, path);
    }
}
