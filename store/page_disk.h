/* page_disk.h - page files as the disk thread sees them: writes a batch's pages, moves others, makes them
 * durable. */
#ifndef STORE_PAGE_DISK_H
#define STORE_PAGE_DISK_H

#include "store/io.h"
#include "store/journal.h"
#include "store/page_work.h"
#include "store/shred.h"

struct page_disk {
    const struct io *io;
    const char *dir;
    int fd; /* of the file being written; -1 = none */
    uint32_t file;
    bool unsynced; /* something in it must survive */
    uint64_t syncs, bytes_written;
    uint8_t *copy; /* scratch of moves */
    size_t copy_size;
    char path[JOURNAL_PATH_MAX]; /* of the last file: for error texts */
};

void page_disk_init(struct page_disk *disk, const struct io *io, const char *dir);
void page_disk_close(struct page_disk *disk);

/* The path of a page file; false when it does not fit. */
bool page_disk_path(const char *dir, uint32_t file, char *path, size_t size);
/* The number in a file's name, 0 when it is no page file's. */
uint32_t page_disk_number(const char *name);

/* Writes and moves; on disk when it returns 0, else -errno. */
int page_disk_write(struct page_disk *disk, const struct page_work *work) __attribute__((warn_unused_result));
/* Lets go of the files that no row names any more, when that is on disk. */
void page_disk_unlink(struct page_disk *disk, const struct page_work *work, struct shred *shred);
/* Reads `size` bytes; -EIO when the file ends before. */
int page_disk_read(const struct io *io, const char *path, uint8_t *bytes, size_t size, uint64_t offset)
    __attribute__((warn_unused_result));

#endif
