/* recover.c - reads the data directory back.
 *
 * Owner: store_recover, on the loop thread, before there is a disk thread.
 * Two readings: the first verifies every byte and learns what is acked, the second reports what is
 * left. What it decides is written down in docs/format.md, "Recovery". Failure modes: a failed
 * call, damage (-EILSEQ), a newer format (-ENOTSUP): one sentence names the file. */
#include "store/recover.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "store/format.h"
#include "store/journal.h"
#include "store/page_disk.h"
#include "store/page_mend.h"
#include "store/page_rows.h"
#include "store/pages_restore.h"
#include "store/progress.h"
#include "store/quarantine.h"
#include "store/reader.h"
#include "store/replay.h"
#include "store/salvage.h"
#include "store/schema.h"

/* A damaged place that the first reading came by. */
struct scar {
    unsigned slot;
    uint64_t offset, size, number;
};

enum { WIPE_BYTES = 64 * 1024 };

RING(scar_ring, struct scar);
RING(row_ring, struct page_row);

struct work {
    struct recover *r;
    const struct io *io;
    struct reader reader;
    struct replay replay;
    struct segment_ring found; /* with a valid header; oldest first once sorted */
    struct segment_ring blank;
    struct page_slot_ring page_files;
    struct row_ring bad_rows; /* with what is acked in memory of their own */
    struct scar_ring scars; /* in the order of the journal */
    struct progress progress;
    uint64_t definitions, pages, batch_bytes; /* read */
    char path[JOURNAL_PATH_MAX];
};

static int sentence(struct work *w, int failed, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static int sentence(struct work *w, int failed, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(w->r->error, w->r->error_size, format, args);
    va_end(args);
    assert(failed < 0);
    return failed;
}

static int call_failed(struct work *w, int failed, const char *what)
{
    return sentence(w, failed, "%s: cannot %s: %s", w->path, what, strerror(-failed));
}

static int damaged(struct work *w, uint64_t offset, const char *why)
{
    return sentence(w, -EILSEQ, "%s: damaged at offset %llu: %s", w->path,
                    (unsigned long long)offset, why);
}

static void note(struct work *w, enum store_note level, const char *text)
{
    if (w->r->options->note)
        w->r->options->note(w->r->options->note_arg, level, text);
}

/* What is to be read is counted only when there is something to say. */
static void tell_rows(struct work *w, uint64_t done, const char *count, const char *what)
{
    int64_t total = 0;
    if (progress_due(&w->progress) && schema_number(w->r->definitions, count, &total) == 0)
        progress_say(&w->progress, done, (uint64_t)total, what);
}

static void tell_bytes(struct work *w, const char *what)
{
    uint64_t total = 0;
    if (!progress_due(&w->progress))
        return;
    for (size_t i = 0; i < w->found.size; i++)
        total += (*segment_ring_at(&w->found, i))->file_bytes;
    progress_say(&w->progress, w->batch_bytes >> 20, total >> 20, what);
}

static void note_damage(struct work *w, uint64_t offset, const char *what)
{
    char text[JOURNAL_PATH_MAX + 1088];
    snprintf(text, sizeof text, "%s: damaged at offset %" PRIu64 ": %s", w->path, offset, what);
    note(w, STORE_NOTE_ERROR, text);
}

static int open_segment(struct work *w, const struct segment *segment, int flags)
{
    bool fits = journal_path(w->r->options->dir, segment->slot, w->path, sizeof w->path);
    int failed = fits ? reader_open(&w->reader, w->path, flags) : -ENAMETOOLONG;
    return failed ? call_failed(w, failed, "open it") : 0;
}

/* Finding the segments. */

/* A size that cannot be had is 0: reading a page of the file tells why. */
static void collect_pages(struct work *w, uint32_t file)
{
    int64_t size = 0;
    if (!page_disk_path(w->r->options->dir, file, w->path, sizeof w->path))
        return;
    int fd = w->io->open(w->io->arg, w->path, O_RDONLY, 0);
    if (fd >= 0) {
        size = w->io->size(w->io->arg, fd);
        w->io->close(w->io->arg, fd);
    }
    pages_restore_file(w->r->pages, file, size > 0 ? (uint64_t)size : 0);
}

static void collect(void *ctx, const char *name)
{
    struct work *w = ctx;
    if (page_disk_number(name))
        page_slot_ring_push_back(&w->page_files, page_disk_number(name));
    unsigned slot = journal_slot(name);
    if (!slot)
        return;
    struct segment *segment = mem_zalloc(sizeof *segment);
    segment->slot = slot;
    segment_ring_push_back(&w->found, segment);
}

static int read_header(struct work *w, struct segment *segment, enum reader_header *verdict)
{
    int failed = open_segment(w, segment, O_RDONLY);
    if (failed)
        return failed;
    failed = reader_header(&w->reader, segment, verdict);
    if (failed)
        return call_failed(w, failed, "read it");
    if (*verdict == READER_HEADER_NEWER)
        return sentence(w, -ENOTSUP, "%s: its format has version %u, this program knows version %d",
                        w->path, w->reader.version, FORMAT_VERSION);
    bool mended = *verdict == READER_HEADER_MENDED && w->r->options->quarantine;
    if (mended)
        note_damage(w, 0, "one bit of the segment's header is wrong; it is read as if it were right");
    else if (*verdict == READER_HEADER_DAMAGED || *verdict == READER_HEADER_MENDED)
        return damaged(w, 0, "the segment's header is not valid");
    return 0;
}

static int by_epoch(const void *a, const void *b)
{
    const struct segment *one = *(struct segment *const *)a, *other = *(struct segment *const *)b;
    return (one->epoch > other->epoch) - (one->epoch < other->epoch);
}

static void sort_found(struct work *w)
{
    size_t size = w->found.size;
    struct segment **sorted = mem_alloc(size * sizeof *sorted);
    for (size_t i = 0; i < size; i++)
        sorted[i] = segment_ring_pop_front(&w->found);
    qsort(sorted, size, sizeof *sorted, by_epoch);
    for (size_t i = 0; i < size; i++)
        segment_ring_push_back(&w->found, sorted[i]);
    mem_free(sorted);
}

static int find_segments(struct work *w)
{
    snprintf(w->path, sizeof w->path, "%s", w->r->options->dir);
    int failed = w->io->list(w->io->arg, w->r->options->dir, collect, w);
    if (failed)
        return call_failed(w, failed, "list it");
    while (w->page_files.size)
        collect_pages(w, page_slot_ring_pop_front(&w->page_files));
    for (size_t left = w->found.size; left; left--) {
        struct segment *segment = segment_ring_pop_front(&w->found);
        enum reader_header verdict = READER_HEADER_BLANK;
        failed = read_header(w, segment, &verdict);
        bool valid = !failed && (verdict == READER_HEADER_VALID || verdict == READER_HEADER_MENDED);
        segment_ring_push_back(valid ? &w->found : &w->blank, segment);
        if (failed)
            return failed;
    }
    sort_found(w);
    return 0;
}

/* Walking through a segment's batches. */

typedef int visit_batch(struct work *w, struct segment *segment, const struct read_batch *batch);

/* No whole batch begins at segment->used: the end of what was written, or damage, which is refused or made
 * into a batch of what is left. `promised` as in salvage_batch. */
static int judge(struct work *w, const struct segment *segment, uint64_t promised,
                 enum reader_verdict verdict, struct read_batch *batch, bool *goes_on)
{
    char why[160];
    int failed = salvage_batch(&w->reader, segment, promised, verdict, batch, goes_on);
    if (failed == -EILSEQ)
        return damaged(w, segment->used, "the next batch does not follow the one before it");
    if (failed)
        return call_failed(w, failed, "read it");
    if (!*goes_on || w->r->options->quarantine)
        return 0;
    salvage_reason(batch, verdict, why, sizeof why);
    return damaged(w, batch->damage, why);
}

/* Calls `visit` for each batch, moving segment->used and last_batch behind it. */
static int walk(struct work *w, struct segment *segment, uint64_t promised, visit_batch *visit)
{
    int failed = open_segment(w, segment, O_RDONLY);
    segment->used = SEGMENT_HEADER_BYTES;
    while (!failed) {
        struct read_batch batch = {0};
        enum reader_verdict verdict;
        failed = reader_batch(&w->reader, segment, segment->used, true, &batch, &verdict);
        if (failed)
            return call_failed(w, failed, "read it");
        bool goes_on = true;
        if (verdict != READER_VALID)
            failed = judge(w, segment, promised, verdict, &batch, &goes_on);
        else if (batch.previous != segment->last_batch)
            failed = damaged(w, segment->used, "the batch does not follow the one before it");
        if (failed || !goes_on)
            return failed;
        segment->last_batch = batch.number;
        segment->used += format_round_up(batch.size, BATCH_ALIGN);
        w->batch_bytes += batch.size;
        tell_bytes(w, "MB of the journal verified");
        failed = visit(w, segment, &batch);
    }
    return failed;
}

/* The last batch of the i-th segment, as the next one says; 0 = it is the newest. */
static uint64_t promised_to(struct work *w, size_t i)
{
    return i + 1 < w->found.size ? (*segment_ring_at(&w->found, i + 1))->first_batch - 1 : 0;
}

/* Which epochs count: the last batch says which ones are dead. */

static int keep_oldest(struct work *w, struct segment *segment, const struct read_batch *batch)
{
    (void)w;
    if (batch->oldest)
        segment->freed_by = batch->oldest; /* the field is free for it until the segment is adopted */
    return 0;
}

static int find_oldest(struct work *w, uint64_t *oldest)
{
    *oldest = 0;
    for (size_t i = w->found.size; i-- && *oldest == 0;) {
        struct segment *segment = *segment_ring_at(&w->found, i);
        struct segment probe = *segment;
        probe.freed_by = 0;
        int failed = walk(w, &probe, promised_to(w, i), keep_oldest);
        if (failed)
            return failed;
        *oldest = probe.freed_by;
    }
    return 0;
}

/* Sets the dead segments aside and makes sure that none of the others is missing. */
static int drop_dead(struct work *w, uint64_t oldest)
{
    while (w->found.size > 1 && (*segment_ring_at(&w->found, 0))->epoch < oldest)
        segments_adopt_spare(w->r->segments, segment_ring_pop_front(&w->found));
    struct segment *first = *segment_ring_at(&w->found, 0);
    uint64_t expected = oldest ? oldest : first->epoch;
    for (size_t i = 0; i < w->found.size; i++, expected++) {
        struct segment *segment = *segment_ring_at(&w->found, i);
        if (segment->epoch != expected)
            return sentence(w, -EILSEQ,
                            "%s: the journal's segment of epoch %llu is missing (the next is "
                            "journal-%06u.seg of epoch %llu)",
                            w->r->options->dir, (unsigned long long)expected, segment->slot,
                            (unsigned long long)segment->epoch);
    }
    return 0;
}

/* The definitions know of a later segment than the newest that was found. */
static int miss_newest(struct work *w)
{
    uint64_t known = w->r->definitions->journal_epoch, newest = 0;
    if (w->found.size)
        newest = (*segment_ring_at(&w->found, w->found.size - 1))->epoch;
    if (newest >= known)
        return 0;
    return sentence(w, -EILSEQ, "%s: the journal's segment of epoch %llu is missing (%s)",
                    w->r->options->dir, (unsigned long long)known,
                    newest ? "there are older ones" : "there is none");
}

/* First reading. */

/* Says which queue a damaged record seems to have been about. */
struct naming {
    uint64_t id;
    char text[160];
};

static void find_name(void *arg, const struct definition *d)
{
    struct naming *naming = arg;
    if (d->kind == DEFINITION_QUEUE && d->id == naming->id)
        snprintf(naming->text, sizeof naming->text, "queue '%.*s' in vhost '%.*s'",
                 (int)(d->name.len < 64 ? d->name.len : 64), (const char *)d->name.at,
                 (int)(d->vhost.len < 32 ? d->vhost.len : 32), (const char *)d->vhost.at);
}

/* Nothing in a damaged record can be trusted, so this is said as a guess, and only of queues that exist. */
static void guess(struct work *w, struct slice bytes, char *text, size_t size)
{
    struct naming naming = {0};
    struct recovery_sink sink = {.definition = find_name, .arg = &naming};
    char error[256];
    uint64_t sequence;
    uint32_t count;
    const char *what = quarantine_guess(bytes, &naming.id, &sequence, &count);
    text[0] = 0;
    if (what && definitions_load(w->r->definitions, &sink, error, sizeof error) == 0 && naming.text[0])
        snprintf(text, size, "; it seems to have held %s for %s (id %" PRIu64 "), sequence %" PRIu64 "%s",
                 what, naming.text, naming.id, sequence, count > 1 ? " and others" : "");
}

/* Keeps one hole's bytes and tells of it. */
static int set_aside(struct work *w, const struct segment *segment, const struct read_batch *batch,
                     const struct read_hole *hole)
{
    char name[QUARANTINE_NAME_MAX], kept[QUARANTINE_NAME_MAX + 16], about[320], text[1024];
    uint64_t offset = batch->offset + hole->from, size = hole->to - hole->from;
    struct slice bytes = slice_of(batch->bytes + hole->from, (size_t)size);
    quarantine_name_journal(name, segment->slot, segment->epoch, offset);
    int failed = quarantine_keep(w->io, w->r->options->dir, name, bytes);
    if (failed && !io_is_full(failed))
        return sentence(w, failed, "%s/" QUARANTINE_DIR "/%s: cannot keep damaged bytes: %s",
                        w->r->options->dir, name, strerror(-failed));
    guess(w, bytes, about, sizeof about);
    snprintf(kept, sizeof kept, QUARANTINE_DIR "/%s", name);
    snprintf(text, sizeof text, "%" PRIu64 " bytes of batch %" PRIu64 " are left out, %s %s%s", size,
             batch->number, failed ? "no space to keep them in" : "kept in",
             failed ? QUARANTINE_DIR : kept, about);
    note_damage(w, offset, text);
    return 0;
}

static int learn_batch(struct work *w, struct segment *segment, const struct read_batch *batch)
{
    int failed = 0;
    bool damage = batch->damage > 0;
    segment->messages += batch->records;
    for (uint32_t i = 0; i < batch->hole_count && !failed; i++)
        failed = set_aside(w, segment, batch, &batch->holes[i]);
    if (failed)
        return failed;
    if (damage && batch->size == 0)
        note_damage(w, batch->offset, "the file ends here, though there are later segments");
    if (damage && batch->size > 0 && batch->hole_count == 0)
        note_damage(w, batch->offset, "the batch is not what its header says; its records count");
    if (damage && batch->size > 0)
        scar_ring_push_back(&w->scars,
                            (struct scar){segment->slot, batch->offset, batch->size, batch->number});
    uint64_t backwards = replay_learn(&w->replay, batch);
    if (damage)
        replay_doubt(&w->replay);
    return backwards ? damaged(w, backwards, "a queue's sequence goes back") : 0;
}

/* What was cut off can never be taken for a batch, nor can its records be taken for those of the batches
 * that are written in its place, should one of these lose its header. From behind, so that a crash meanwhile
 * leaves its beginning, which is known again. Lack of space is no reason not to start. */
static int wipe(struct work *w, const struct segment *segment)
{
    static const uint8_t zeros[WIPE_BYTES];
    int failed = 0;
    for (uint64_t end = reader_limit(&w->reader, segment); end > segment->used && !failed;) {
        size_t size = end - segment->used < WIPE_BYTES ? (size_t)(end - segment->used) : WIPE_BYTES;
        const uint8_t *bytes = NULL;
        end -= size;
        failed = reader_bytes(&w->reader, end, size, &bytes);
        if (!failed && memcmp(bytes, zeros, size) != 0)
            failed = io_write(w->io, w->reader.fd, zeros, size, end);
    }
    return io_is_full(failed) ? 0 : failed;
}

/* Makes sure that what was cut off stays away, and that what was read is on disk. */
static int settle_newest(struct work *w, const struct segment *segment)
{
    /* What may be a batch that was confirmed is not cut off, and not written over. */
    uint64_t unreadable = w->reader.unreadable;
    if (w->reader.unreadable_bytes && unreadable + w->reader.unreadable_bytes > segment->used)
        return sentence(w, -EIO,
                        "%s: cannot be read at offset %llu, where the journal may go on: %s", w->path,
                        (unsigned long long)unreadable, strerror(EIO));
    bool torn = false;
    int failed = open_segment(w, segment, O_RDWR);
    if (failed)
        return failed;
    failed = reader_torn(&w->reader, segment, segment->used, segment->last_batch, &torn);
    if (failed)
        return call_failed(w, failed, "read it");
    if (torn) {
        char text[JOURNAL_PATH_MAX + 128];
        snprintf(text, sizeof text,
                 "%s: cut off an unfinished batch at offset %llu (a write that did not end)",
                 w->path, (unsigned long long)segment->used);
        note(w, STORE_NOTE_WARNING, text);
        failed = wipe(w, segment);
        if (failed)
            return call_failed(w, failed, "write it");
    }
    failed = w->io->fdatasync(w->io->arg, w->reader.fd);
    return failed ? call_failed(w, failed, "sync it") : 0;
}

static void note_unreadable(struct work *w)
{
    char text[128];
    if (w->reader.unreadable_bytes == 0)
        return;
    snprintf(text, sizeof text, "%" PRIu64 " bytes cannot be read (%s) and count as damaged",
             w->reader.unreadable_bytes, strerror(EIO));
    note_damage(w, w->reader.unreadable, text);
}

static int learn(struct work *w)
{
    uint64_t last = 0;
    w->batch_bytes = 0;
    for (size_t i = 0; i < w->found.size; i++) {
        struct segment *segment = *segment_ring_at(&w->found, i);
        bool newest = i + 1 == w->found.size;
        if (i > 0 && segment->last_batch != last) {
            /* The end of the segment before is not where its last batch ended. */
            struct segment *before = *segment_ring_at(&w->found, i - 1);
            journal_path(w->r->options->dir, before->slot, w->path, sizeof w->path);
            return damaged(w, before->used,
                           "batches are missing, for later segments build on them");
        }
        int failed = walk(w, segment, promised_to(w, i), learn_batch);
        if (!failed)
            note_unreadable(w);
        if (!failed && newest)
            failed = settle_newest(w, segment);
        if (failed)
            return failed;
        last = segment->last_batch;
    }
    return 0;
}

/* Second reading. */

/* Reads a batch once more; where the first reading found damage, what is left of it. */
static int read_again(struct work *w, const struct segment *segment, uint64_t offset,
                      struct read_batch *batch)
{
    enum reader_verdict verdict = READER_VALID;
    const struct scar *scar = w->scars.size ? scar_ring_at(&w->scars, 0) : NULL;
    int failed;
    if (scar && scar->slot == segment->slot && scar->offset == offset) {
        *batch = (struct read_batch){.offset = offset, .size = scar->size, .number = scar->number};
        scar_ring_pop_front(&w->scars);
        failed = salvage_again(&w->reader, segment, batch);
    } else {
        failed = reader_batch(&w->reader, segment, offset, false, batch, &verdict);
    }
    if (failed)
        return call_failed(w, failed, "read it");
    return verdict == READER_VALID ? 0 : damaged(w, offset, "it changed while it was read");
}

static int report_segment(struct work *w, struct segment *segment)
{
    int failed = open_segment(w, segment, O_RDONLY);
    for (uint64_t offset = SEGMENT_HEADER_BYTES; !failed && offset < segment->used;) {
        struct read_batch batch = {0};
        failed = read_again(w, segment, offset, &batch);
        if (failed)
            return failed;
        segment->live += replay_report(&w->replay, &batch, w->r->sink);
        w->batch_bytes += batch.size;
        tell_bytes(w, "MB of the journal given to their queues");
        offset += format_round_up(batch.size, BATCH_ALIGN);
    }
    return failed;
}

static int report(struct work *w)
{
    int failed = 0;
    w->batch_bytes = 0;
    for (size_t i = 0; i < w->found.size && !failed; i++)
        failed = report_segment(w, *segment_ring_at(&w->found, i));
    if (!failed)
        replay_report_delivered(&w->replay, w->r->sink);
    return failed;
}

/* The whole. */

/* Those of which there may be many. */
#define DEFINITIONS_COUNT \
    "SELECT (SELECT count(*) FROM exchange) + (SELECT count(*) FROM queue) + (SELECT count(*) FROM binding)"

static void learn_definition(void *arg, const struct definition *definition)
{
    struct work *w = arg;
    bool counted = definition->kind == DEFINITION_EXCHANGE || definition->kind == DEFINITION_QUEUE ||
                   definition->kind == DEFINITION_BINDING;
    w->definitions += counted;
    tell_rows(w, w->definitions, DEFINITIONS_COUNT, "definitions read");
    if (definition->kind == DEFINITION_QUEUE)
        replay_define(&w->replay, definition->id);
    w->r->sink->definition(w->r->sink->arg, definition);
}

static void learn_queues(void *arg, size_t count)
{
    const struct recovery_sink *sink = ((const struct work *)arg)->r->sink;
    if (sink->queues)
        sink->queues(sink->arg, count);
}

/* A process that was killed may have left changes that only the kernel knows. From now on clients are told of
 * them, so they must be on disk. */
static int settle_definitions(struct work *w)
{
    static const char *const names[] = {"definitions.db", "definitions.db-wal"};
    const char *dir = w->r->options->dir;
    for (size_t i = 0; i < array_size(names); i++) {
        snprintf(w->path, sizeof w->path, "%s/%s", dir, names[i]);
        int fd = w->io->open(w->io->arg, w->path, O_RDWR, 0);
        if (fd == -ENOENT)
            continue;
        int failed = fd < 0 ? fd : w->io->fdatasync(w->io->arg, fd);
        if (fd >= 0)
            w->io->close(w->io->arg, fd);
        if (failed)
            return call_failed(w, failed, "sync it");
    }
    snprintf(w->path, sizeof w->path, "%s", dir);
    int failed = w->io->sync_dir(w->io->arg, dir);
    return failed ? call_failed(w, failed, "sync it") : 0;
}

/* The directory of pages is read before the journal, which says what of them is acked. */

static void note_row(struct work *w, const struct page_row *row, enum store_note level, const char *what)
{
    char text[JOURNAL_PATH_MAX + 256];
    snprintf(text, sizeof text,
             "%s/definitions.db: %s (id %" PRIu64 ", queue %" PRIu64 ", sequence %" PRIu64 ", %" PRIu32
             " messages)%s",
             w->r->options->dir, what, row->id, row->queue_id, row->first, row->count,
             level == STORE_NOTE_ERROR ? ": it is left out" : "");
    note(w, level, text);
}

/* NULL when the row does not make sense beside the others. */
static struct page *take_row(struct work *w, const struct page_row *row)
{
    const char *wrong = page_rows_wrong(row);
    if (!wrong && replay_is_paged(&w->replay, row->queue_id, row->first, row->first + (row->count - 1)))
        wrong = "the row of a page names messages that another page holds";
    if (wrong) {
        note_row(w, row, STORE_NOTE_ERROR, wrong);
        return NULL;
    }
    return pages_restore(w->r->pages, row);
}

static void add_page(struct work *w, struct page *page)
{
    if (page && !replay_page(&w->replay, page))
        pages_drop(w->r->pages, page->slot);
}

/* Those with damage wait until all others are known: what is wrong in them must not push a good one out. */
static void learn_page(void *arg, const struct page_row *row)
{
    struct work *w = arg;
    tell_rows(w, ++w->pages, "SELECT count(*) FROM page", "pages of long queues found");
    if (!row->damage) {
        add_page(w, take_row(w, row));
        return;
    }
    struct page_row kept = *row;
    uint8_t *acked = mem_alloc(row->acked_size + 1);
    if (row->acked_size)
        memcpy(acked, row->acked, row->acked_size);
    kept.acked = acked;
    row_ring_push_back(&w->bad_rows, kept);
}

static void mend_row(struct work *w, const struct page_row *bad)
{
    struct page_row row = *bad;
    bool mended = page_mend(w->r->pages, &row);
    struct page *page = mended ? take_row(w, &row) : NULL;
    if (!mended)
        note_row(w, bad, STORE_NOTE_ERROR, "the row of a page is damaged, and the page is not found");
    else if (page)
        note_row(w, &row, STORE_NOTE_WARNING,
                 bad->damage & PAGE_ROW_BAD_PROGRESS
                     ? "the row of a page was damaged: what was acknowledged of it comes again"
                     : "the row of a page was damaged, and was made anew from the page");
    if (page)
        pages_restore_row(w->r->pages, page, bad->id);
    else if (!(bad->damage & PAGE_ROW_BAD_PLACE))
        pages_restore_hold(w->r->pages, bad->file, bad->bytes);
    add_page(w, page);
}

static int learn_pages(struct work *w)
{
    int failed =
        definitions_load_pages(w->r->definitions, learn_page, w, w->r->error, w->r->error_size);
    while (w->bad_rows.size) {
        struct page_row row = row_ring_pop_front(&w->bad_rows);
        if (!failed)
            mend_row(w, &row);
        mem_free((void *)(uintptr_t)row.acked);
    }
    return failed;
}

static void report_pages(struct work *w)
{
    const struct recovery_sink *sink = w->r->sink;
    for (size_t i = 0; i < w->replay.queues.size; i++) {
        struct replay_queue *queue = *replay_queues_at(&w->replay.queues, i);
        for (size_t j = 0; j < queue->pages.size; j++) {
            struct page *page = *page_ring_at(&queue->pages, j);
            if (page->live == 0 || !sink->page)
                pages_drop(w->r->pages, page->slot);
            else
                sink->page(sink->arg, queue->id, page->slot);
        }
    }
    pages_restored(w->r->pages);
}

static int recover_journal(struct work *w)
{
    struct segments *segments = w->r->segments;
    uint64_t oldest = 0;
    int failed = miss_newest(w);
    if (!failed && w->found.size)
        failed = find_oldest(w, &oldest);
    if (!failed && w->found.size)
        failed = drop_dead(w, oldest);
    if (!failed)
        failed = learn(w);
    if (failed)
        return failed;
    report_pages(w);
    failed = report(w);
    w->r->queue_id_max = w->replay.queue_id_max;
    w->r->notes_needed = w->replay.notes_first;
    if (failed || w->found.size == 0)
        return failed;
    while (w->found.size)
        segments_adopt(segments, segment_ring_pop_front(&w->found));
    segments->previous =
        (*segment_ring_at(&segments->in_use, segments->in_use.size - 1))->last_batch;
    return 0;
}

static void adopt_blank(struct work *w)
{
    while (w->blank.size) {
        struct segment *segment = segment_ring_pop_front(&w->blank);
        *segment = (struct segment){.bytes = w->r->segments->segment_bytes,
                                    .file_bytes = segment->file_bytes,
                                    .slot = segment->slot};
        segments_adopt_spare(w->r->segments, segment);
    }
}

static void free_work(struct work *w)
{
    reader_free(&w->reader);
    replay_free(&w->replay);
    while (w->found.size)
        mem_free(segment_ring_pop_front(&w->found));
    while (w->blank.size)
        mem_free(segment_ring_pop_front(&w->blank));
    segment_ring_free(&w->found);
    segment_ring_free(&w->blank);
    page_slot_ring_free(&w->page_files);
    row_ring_free(&w->bad_rows);
    scar_ring_free(&w->scars);
}

static void note_definitions(void *arg, const char *what)
{
    struct work *w = arg;
    char text[sizeof w->r->definitions->path + 512];
    snprintf(text, sizeof text, "%s: damaged: %.400s", w->r->definitions->path, what);
    note(w, STORE_NOTE_ERROR, text);
}

/* Rows have sums of their own; this is about those that cannot be come by any more. */
static int verify_definitions(struct work *w)
{
    struct definitions *definitions = w->r->definitions;
    int failed = definitions_verify(definitions, true, note_definitions, w);
    return schema_told(definitions->path, failed, w->r->error, w->r->error_size);
}

int recover_run(struct recover *r)
{
    struct work *w = mem_zalloc(sizeof *w);
    struct recovery_sink learner = {.definition = learn_definition, .arg = w, .queues = learn_queues};
    w->r = r;
    w->io = r->options->io;
    reader_init(&w->reader, w->io);
    w->reader.forgiving = r->options->quarantine;
    replay_init(&w->replay, r->pages);
    const struct clock clock = clock_system();
    progress_init(&w->progress, r->options, r->options->without_thread ? NULL : &clock);
    int failed = settle_definitions(w);
    if (!failed)
        failed = verify_definitions(w);
    if (!failed)
        failed = definitions_load(r->definitions, &learner, r->error, r->error_size);
    if (!failed)
        failed = find_segments(w);
    if (!failed)
        failed = learn_pages(w);
    if (!failed)
        failed = recover_journal(w);
    if (!failed) {
        adopt_blank(w);
        uint64_t pages = pages_needed_batch(r->pages);
        r->segments->needed = pages < r->notes_needed ? pages : r->notes_needed;
        /* else pages that are dead are still named by rows */
        if (!r->pages->open || page_work_empty(&r->pages->open->pages))
            segments_handed_over(r->segments);
    }
    free_work(w);
    mem_free(w);
    return failed;
}
