/* quarantine.c - damaged bytes are kept aside.
 *
 * Owner: the recovery for the journal, the thread that reads pages for pages. Nothing is ever read from here
 * or deleted by the broker. Failure modes: -errno of a failed call; the damaged bytes are where they were. */
#include "store/quarantine.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#include "base/assert.h"
#include "store/format.h"
#include "store/journal.h"

void quarantine_name_journal(char *name, unsigned slot, uint64_t epoch, uint64_t offset)
{
    assert(slot > 0 && epoch > 0);
    snprintf(name, QUARANTINE_NAME_MAX, "journal-%06u.seg-epoch-%llu-offset-%llu", slot,
             (unsigned long long)epoch, (unsigned long long)offset);
}

void quarantine_name_page(char *name, uint32_t file, uint64_t id, uint64_t offset)
{
    assert(file > 0 && id > 0);
    snprintf(name, QUARANTINE_NAME_MAX, "pages-%06u.dat-page-%llu-offset-%llu", file, (unsigned long long)id,
             (unsigned long long)offset);
}

static int write_file(const struct io *io, const char *path, struct slice bytes)
{
    int fd = io->open(io->arg, path, O_RDWR | O_CREAT, 0640);
    if (fd < 0)
        return fd;
    int failed = io->truncate(io->arg, fd, 0);
    if (!failed)
        failed = io_write(io, fd, bytes.at, bytes.len, 0);
    if (!failed)
        failed = io->fdatasync(io->arg, fd);
    int closed = io->close(io->arg, fd);
    return failed ? failed : closed;
}

int quarantine_keep(const struct io *io, const char *dir, const char *name, struct slice bytes)
{
    char path[JOURNAL_PATH_MAX];
    int len = snprintf(path, sizeof path, "%s/" QUARANTINE_DIR, dir);
    if (len < 0 || (size_t)len >= sizeof path)
        return -ENAMETOOLONG;
    int failed = io->mkdir(io->arg, path, 0750);
    if (!failed)
        failed = io->sync_dir(io->arg, dir);
    if (failed && failed != -EEXIST)
        return failed;
    char file[JOURNAL_PATH_MAX + QUARANTINE_NAME_MAX];
    snprintf(file, sizeof file, "%s/%s", path, name);
    failed = write_file(io, file, bytes);
    return failed ? failed : io->sync_dir(io->arg, path);
}

const char *quarantine_guess(struct slice bytes, uint64_t *queue_id, uint64_t *sequence, uint32_t *count)
{
    *queue_id = *sequence = 0;
    *count = 0;
    if (bytes.len < MARKS_HEADER_BYTES || format_u32(bytes.at + RECORD_SIZE) > bytes.len)
        return NULL;
    uint8_t type = bytes.at[RECORD_TYPE];
    bool message = type == RECORD_MESSAGE || type == RECORD_MOVED;
    size_t head = message ? MESSAGE_HEADER_BYTES : MARKS_HEADER_BYTES;
    if (bytes.len < head + TARGET_BYTES || bytes.at[RECORD_TYPE + 1] != 0)
        return NULL;
    *count = format_u32(bytes.at + (message ? MESSAGE_TARGETS : MARKS_COUNT));
    *queue_id = format_u64(bytes.at + head), *sequence = format_u64(bytes.at + head + 8);
    return message                    ? "a message"
           : type == RECORD_ACKS      ? "acknowledgements"
           : type == RECORD_DELIVERED ? "marks of deliveries"
           : type == RECORD_RETURNED  ? "counts of returns"
                                      : NULL;
}
