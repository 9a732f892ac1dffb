/* journal.c - the journal's files as the disk thread sees them.
 *
 * Owner: the disk thread (the caller of store_sync_now when there is none).
 * A new use of a file begins with its header alone, synced before the first batch: so a file longer
 * than its header has a valid header or is damaged. Small batches at the end of a file that is not
 * written in full yet push a stretch of zeros ahead of them: overwriting is much cheaper to sync
 * than growing. Failure modes: every failed call is passed up; the caller ends the process. */
#include "store/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "store/file_name.h"
#include "store/format.h"

enum {
    AHEAD_BYTES = 1024 * 1024,      /* zeros written ahead of small batches */
    AHEAD_BATCH_BYTES = 256 * 1024, /* larger ones grow the file by themselves */
    ZEROS_BYTES = 64 * 1024
};

void journal_init(struct journal *journal, const struct io *io, const char *dir, struct shred *shred)
{
    *journal = (struct journal){.io = io, .dir = dir, .shred = shred, .fd = -1};
}

void journal_close(struct journal *journal)
{
    if (journal->fd >= 0)
        journal->io->close(journal->io->arg, journal->fd);
    journal->fd = -1;
}

static const struct file_kind segments = {"journal-", ".seg"};

bool journal_path(const char *dir, unsigned slot, char *path, size_t size)
{
    return file_name_path(&segments, dir, slot, path, size);
}

unsigned journal_slot(const char *name)
{
    return file_name_number(&segments, name);
}

static int write_at(struct journal *journal, const void *bytes, size_t size, uint64_t offset)
{
    journal->bytes_written += size;
    return io_write(journal->io, journal->fd, bytes, size, offset);
}

/* A failed sync is final whatever its reason: not even a lack of space may look as if it could be
 * tried again. */
static int final(int failed)
{
    return io_is_full(failed) ? -EIO : failed;
}

static int sync_segment(struct journal *journal)
{
    journal->syncs++;
    return final(journal->io->fdatasync(journal->io->arg, journal->fd));
}

/* Opens the segment's file; a new one is on disk in its directory before anything is written to it.
 */
static int open_segment(struct journal *journal, const struct place *place)
{
    const struct io *io = journal->io;
    journal_close(journal);
    if (!journal_path(journal->dir, place->slot, journal->path, sizeof journal->path))
        return -ENAMETOOLONG;
    bool fresh = place->begins && place->file_bytes == 0;
    int fd = io->open(io->arg, journal->path, O_RDWR | (fresh ? O_CREAT : 0), 0640);
    if (fd < 0)
        return fd;
    journal->fd = fd;
    journal->epoch = place->epoch;
    return fresh ? final(io->sync_dir(io->arg, journal->dir)) : 0;
}

static int write_header(struct journal *journal, struct place *place)
{
    uint8_t header[SEGMENT_HEADER_BYTES] = {0};
    memcpy(header + SEGMENT_MAGIC, FORMAT_SEGMENT_MAGIC, 8);
    format_put_u32(header + SEGMENT_VERSION, FORMAT_VERSION);
    format_put_u32(header + SEGMENT_HEADER_SIZE, SEGMENT_HEADER_BYTES);
    format_put_u64(header + SEGMENT_EPOCH, place->epoch);
    format_put_u64(header + SEGMENT_SALT, place->salt);
    format_put_u64(header + SEGMENT_BYTES, place->segment_bytes);
    format_put_u64(header + SEGMENT_PREVIOUS, place->previous);
    format_put_u64(header + SEGMENT_CHECKSUM, format_segment_checksum(header));
    int failed = write_at(journal, header, sizeof header, 0);
    if (failed)
        return failed;
    if (place->file_bytes < SEGMENT_HEADER_BYTES)
        place->file_bytes = SEGMENT_HEADER_BYTES;
    failed = sync_segment(journal);
    place->begins = failed;
    return failed;
}

/* Writes zeros behind a small batch that reached the file's end, as far as there is space: they only
 * make later syncs cheaper. */
static int write_ahead(struct journal *journal, struct place *place, uint64_t end)
{
    static const uint8_t zeros[ZEROS_BYTES];
    uint64_t until = format_round_up(end, AHEAD_BYTES);
    if (until > place->segment_bytes)
        until = place->segment_bytes;
    for (uint64_t at = end; at < until;) {
        size_t part = until - at < ZEROS_BYTES ? (size_t)(until - at) : ZEROS_BYTES;
        int failed = write_at(journal, zeros, part, at);
        if (failed)
            return io_is_full(failed) ? 0 : failed;
        at += part;
        place->file_bytes = at;
    }
    return 0;
}

static int write_batch(struct journal *journal, struct batch *batch)
{
    struct place *place = &batch->place;
    size_t size = batch_seal(batch);
    uint64_t end = place->offset + size;
    int failed = write_at(journal, batch->bytes, size, place->offset);
    if (!failed && end > place->file_bytes) {
        place->file_bytes = end;
        if (size <= AHEAD_BATCH_BYTES)
            failed = write_ahead(journal, place, end);
    }
    return failed ? failed : sync_segment(journal);
}

int journal_write(struct journal *journal, struct batch *batch)
{
    struct place *place = &batch->place;
    int failed = 0;
    assert(place->size > 0);
    if (journal->fd < 0 || journal->epoch != place->epoch)
        failed = open_segment(journal, place);
    if (!failed && place->begins)
        failed = write_header(journal, place);
    if (!failed)
        failed = write_batch(journal, batch);
    for (unsigned i = 0; !failed && i < place->doomed_count; i++) {
        char path[JOURNAL_PATH_MAX];
        if (journal_path(journal->dir, place->doomed[i], path, sizeof path))
            shred_unlink(journal->shred, path);
    }
    return failed;
}
