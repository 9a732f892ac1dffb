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
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "store/format.h"
#include "store/journal.h"
#include "store/page_disk.h"
#include "store/reader.h"
#include "store/replay.h"

struct work {
    struct recover *r;
    const struct io *io;
    struct reader reader;
    struct replay replay;
    struct segment_ring found; /* with a valid header; oldest first once sorted */
    struct segment_ring blank;
    struct page_slot_ring page_files;
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
    return *verdict == READER_HEADER_DAMAGED ? damaged(w, 0, "the segment's header is not valid")
                                             : 0;
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
        bool valid = !failed && verdict == READER_HEADER_VALID;
        segment_ring_push_back(valid ? &w->found : &w->blank, segment);
        if (failed)
            return failed;
    }
    sort_found(w);
    return 0;
}

/* Walking through a segment's batches. */

typedef int visit_batch(struct work *w, struct segment *segment, const struct read_batch *batch);

/* What stands behind a segment's last batch: the end of what was written, or damage. */
static int judge_end(struct work *w, struct segment *segment, enum reader_verdict verdict,
                     uint64_t damage, bool *torn)
{
    char why[160];
    uint64_t behind = 0;
    int failed = reader_scan(&w->reader, segment, segment->used, segment->last_batch, &behind);
    if (!failed && behind == 0)
        failed = reader_torn(&w->reader, segment, segment->used, segment->last_batch, torn);
    if (failed)
        return call_failed(w, failed, "read it");
    if (behind == 0)
        return 0;
    snprintf(why, sizeof why, "the %s is not valid, but a later batch at offset %llu is",
             verdict == READER_DAMAGED ? "record" : "batch", (unsigned long long)behind);
    return damaged(w, damage, why);
}

/* Calls `visit` for each batch, moving segment->used and last_batch behind it. */
static int walk(struct work *w, struct segment *segment, bool newest, visit_batch *visit,
                bool *torn)
{
    int failed = open_segment(w, segment, O_RDONLY);
    segment->used = SEGMENT_HEADER_BYTES;
    while (!failed) {
        struct read_batch batch = {0};
        enum reader_verdict verdict;
        failed = reader_batch(&w->reader, segment, segment->used, true, &batch, &verdict);
        if (failed)
            return call_failed(w, failed, "read it");
        uint64_t damage = verdict == READER_DAMAGED ? batch.damage : segment->used;
        if (verdict != READER_VALID && newest)
            return judge_end(w, segment, verdict, damage, torn);
        if (verdict == READER_DAMAGED)
            return damaged(w, damage, "the record is not valid, but there are later segments");
        if (verdict == READER_NOTHING)
            return 0;
        if (batch.previous != segment->last_batch)
            return damaged(w, segment->used, "the batch does not follow the one before it");
        segment->last_batch = batch.number;
        segment->used += batch.size;
        failed = visit(w, segment, &batch);
    }
    return failed;
}

/* Which epochs count: the last batch says which ones are dead. */

static int keep_oldest(struct work *w, struct segment *segment, const struct read_batch *batch)
{
    (void)w;
    segment->freed_by = batch->oldest; /* the field is free for it until the segment is adopted */
    return 0;
}

static int find_oldest(struct work *w, uint64_t *oldest)
{
    *oldest = 0;
    for (size_t i = w->found.size; i-- && *oldest == 0;) {
        struct segment *segment = *segment_ring_at(&w->found, i);
        struct segment probe = *segment;
        bool torn = false;
        probe.freed_by = 0;
        int failed = walk(w, &probe, i + 1 == w->found.size, keep_oldest, &torn);
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

static int learn_batch(struct work *w, struct segment *segment, const struct read_batch *batch)
{
    segment->messages += format_u32(batch->bytes + BATCH_RECORDS);
    uint64_t backwards = replay_learn(&w->replay, batch);
    return backwards ? damaged(w, backwards, "a queue's sequence goes back") : 0;
}

/* Makes sure that what was cut off can never be taken for a batch, and that what was read is on
 * disk. */
static int settle_newest(struct work *w, const struct segment *segment, bool torn)
{
    static const uint8_t zeros[BATCH_HEADER_BYTES];
    int failed = open_segment(w, segment, O_RDWR);
    if (failed)
        return failed;
    if (torn) {
        char text[JOURNAL_PATH_MAX + 128];
        snprintf(text, sizeof text,
                 "%s: cut off an unfinished batch at offset %llu (a write that did not end)",
                 w->path, (unsigned long long)segment->used);
        note(w, STORE_NOTE_WARNING, text);
        failed = io_write(w->io, w->reader.fd, zeros, sizeof zeros, segment->used);
        if (failed)
            return call_failed(w, failed, "write it");
    }
    failed = w->io->fdatasync(w->io->arg, w->reader.fd);
    return failed ? call_failed(w, failed, "sync it") : 0;
}

static int learn(struct work *w)
{
    uint64_t last = 0;
    for (size_t i = 0; i < w->found.size; i++) {
        struct segment *segment = *segment_ring_at(&w->found, i);
        bool newest = i + 1 == w->found.size, torn = false;
        if (i > 0 && segment->last_batch != last) {
            /* The end of the segment before is not where its last batch ended. */
            struct segment *before = *segment_ring_at(&w->found, i - 1);
            journal_path(w->r->options->dir, before->slot, w->path, sizeof w->path);
            return damaged(w, before->used,
                           "batches are missing, for later segments build on them");
        }
        int failed = walk(w, segment, newest, learn_batch, &torn);
        if (!failed && newest)
            failed = settle_newest(w, segment, torn);
        if (failed)
            return failed;
        last = segment->last_batch;
    }
    return 0;
}

/* Second reading. */

static int report_segment(struct work *w, struct segment *segment)
{
    int failed = open_segment(w, segment, O_RDONLY);
    for (uint64_t offset = SEGMENT_HEADER_BYTES; !failed && offset < segment->used;) {
        struct read_batch batch = {0};
        enum reader_verdict verdict;
        failed = reader_batch(&w->reader, segment, offset, false, &batch, &verdict);
        if (failed || verdict != READER_VALID)
            return failed ? call_failed(w, failed, "read it")
                          : damaged(w, offset, "it changed while it was read");
        segment->live += replay_report(&w->replay, &batch, w->r->sink);
        offset += batch.size;
    }
    return failed;
}

static int report(struct work *w)
{
    int failed = 0;
    for (size_t i = 0; i < w->found.size && !failed; i++)
        failed = report_segment(w, *segment_ring_at(&w->found, i));
    if (!failed)
        replay_report_delivered(&w->replay, w->r->sink);
    return failed;
}

/* The whole. */

static void learn_definition(void *arg, const struct definition *definition)
{
    struct work *w = arg;
    if (definition->kind == DEFINITION_QUEUE)
        replay_define(&w->replay, definition->id);
    w->r->sink->definition(w->r->sink->arg, definition);
}

/* The directory of pages comes before the journal, which says what of them is acked. */

static void learn_page(void *arg, const struct page_row *row)
{
    struct work *w = arg;
    struct page *page = pages_restore(w->r->pages, row);
    if (!replay_page(&w->replay, page))
        pages_drop(w->r->pages, page->slot);
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
}

int recover_run(struct recover *r)
{
    struct work *w = mem_zalloc(sizeof *w);
    struct recovery_sink learner = {.definition = learn_definition, .arg = w};
    w->r = r;
    w->io = r->options->io;
    reader_init(&w->reader, w->io);
    replay_init(&w->replay, r->pages);
    int failed = definitions_load(r->definitions, &learner, r->error, r->error_size);
    if (!failed)
        failed = find_segments(w);
    if (!failed)
        failed = definitions_load_pages(r->definitions, learn_page, w, r->error, r->error_size);
    if (!failed)
        failed = recover_journal(w);
    if (!failed) {
        adopt_blank(w);
        uint64_t pages = pages_needed_batch(r->pages);
        r->segments->needed = pages < r->notes_needed ? pages : r->notes_needed;
        segments_retire(r->segments);
    }
    free_work(w);
    mem_free(w);
    return failed;
}
