/* survey.c - all of a journal, damaged or not.
 *
 * Owner: the offline tool, on a directory that no broker has open.
 * Behind a damaged place it goes on with the next record or batch whose checksum is right (salvage.h):
 * checksums are seeded with the use of the file and the place in it, so nothing else can look like one.
 * Failure modes: a call that fails is reported as damage of its file. */
#include "store/survey.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "store/format.h"
#include "store/journal.h"
#include "store/salvage.h"

struct survey {
    const struct io *io;
    const char *dir;
    const struct survey_sink *sink;
    struct reader reader;
    struct segment_ring found; /* with a valid header; oldest first once sorted */
    struct segment_ring other;
    uint64_t oldest; /* epoch that still counts */
    char path[JOURNAL_PATH_MAX];
};

static void damage(struct survey *s, uint64_t offset, const char *why)
{
    s->sink->damage(s->sink->arg, s->path, offset, why);
}

static void call_failed(struct survey *s, uint64_t offset, int failed)
{
    char why[128];
    snprintf(why, sizeof why, "it cannot be read: %s", strerror(-failed));
    damage(s, offset, why);
}

static int open_segment(struct survey *s, const struct segment *segment)
{
    bool fits = journal_path(s->dir, segment->slot, s->path, sizeof s->path);
    return fits ? reader_open(&s->reader, s->path, O_RDONLY) : -ENAMETOOLONG;
}

static void collect(void *ctx, const char *name)
{
    struct survey *s = ctx;
    unsigned slot = journal_slot(name);
    if (!slot)
        return;
    struct segment *segment = mem_zalloc(sizeof *segment);
    segment->slot = slot;
    segment_ring_push_back(&s->other, segment);
}

static int by_epoch(const void *a, const void *b)
{
    const struct segment *one = *(struct segment *const *)a, *other = *(struct segment *const *)b;
    return (one->epoch > other->epoch) - (one->epoch < other->epoch);
}

/* Tells what a file without a usable header is. */
static void tell_unusable(struct survey *s, const struct segment *segment, int failed,
                          enum reader_header verdict)
{
    bool blank = !failed && verdict == READER_HEADER_BLANK;
    char why[96];
    s->sink->segment(s->sink->arg, s->path, segment, blank ? SURVEY_BLANK : SURVEY_UNREADABLE);
    if (failed)
        call_failed(s, 0, failed);
    else if (verdict == READER_HEADER_DAMAGED)
        damage(s, 0, "the segment's header is not valid");
    else if (verdict == READER_HEADER_NEWER) {
        snprintf(why, sizeof why, "its format has version %u, this program knows version %d",
                 s->reader.version, FORMAT_VERSION);
        damage(s, SEGMENT_VERSION, why);
    }
}

static void read_headers(struct survey *s)
{
    struct segment **sorted = mem_alloc((s->other.size + 1) * sizeof *sorted);
    size_t count = 0;
    while (s->other.size) {
        struct segment *segment = segment_ring_pop_front(&s->other);
        enum reader_header verdict = READER_HEADER_DAMAGED;
        int failed = open_segment(s, segment);
        if (!failed)
            failed = reader_header(&s->reader, segment, &verdict);
        bool mended = !failed && verdict == READER_HEADER_MENDED;
        if (mended)
            damage(s, 0, "the segment's header is not valid: one bit is wrong");
        if (mended || (!failed && verdict == READER_HEADER_VALID)) {
            sorted[count++] = segment;
            continue;
        }
        tell_unusable(s, segment, failed, verdict);
        mem_free(segment);
    }
    qsort(sorted, count, sizeof *sorted, by_epoch);
    for (size_t i = 0; i < count; i++)
        segment_ring_push_back(&s->found, sorted[i]);
    mem_free(sorted);
}

/* One step through a segment: a batch, whole or what is left of it. */
struct step {
    struct read_batch batch;
    enum reader_verdict verdict;
    bool goes_on; /* false: here the batches end */
};

/* Reads at segment->used and moves it behind. -EILSEQ: what follows does not fit what was before. */
static int take_step(struct survey *s, struct segment *segment, uint64_t promised, struct step *step)
{
    *step = (struct step){.goes_on = true};
    int failed =
        reader_batch(&s->reader, segment, segment->used, true, &step->batch, &step->verdict);
    if (!failed && step->verdict != READER_VALID)
        failed = salvage_batch(&s->reader, segment, promised, step->verdict, &step->batch, &step->goes_on);
    if (failed || !step->goes_on)
        return failed;
    segment->used += format_round_up(step->batch.size, BATCH_ALIGN);
    return 0;
}

/* What the next segment says is the last batch of the i-th; 0 = it is the newest. */
static uint64_t promised_to(struct survey *s, size_t i)
{
    if (i + 1 >= s->found.size)
        return 0;
    return (*segment_ring_at(&s->found, i + 1))->first_batch - 1;
}

/* Without a word: the newest segment's last valid batch says which epochs count. */
static void find_oldest(struct survey *s)
{
    for (size_t i = s->found.size; i-- && s->oldest == 0;) {
        struct segment probe = **segment_ring_at(&s->found, i);
        struct step step;
        int failed = open_segment(s, &probe);
        while (!failed) {
            failed = take_step(s, &probe, promised_to(s, i), &step);
            if (failed || !step.goes_on)
                break;
            probe.last_batch = step.batch.number;
            if (step.batch.oldest)
                s->oldest = step.batch.oldest;
        }
    }
}

static void tell_damage(struct survey *s, const struct read_batch *batch, enum reader_verdict verdict)
{
    char why[160];
    salvage_reason(batch, verdict, why, sizeof why);
    damage(s, batch->damage, why);
    for (uint32_t i = 0; i < batch->hole_count; i++)
        if (batch->offset + batch->holes[i].from > batch->damage)
            damage(s, batch->offset + batch->holes[i].from, "this is no valid record either");
}

/* How the newest segment ends. */
static void tell_end(struct survey *s, const struct segment *segment)
{
    bool torn = false;
    int failed = reader_torn(&s->reader, segment, segment->used, segment->last_batch, &torn);
    if (failed)
        call_failed(s, segment->used, failed);
    if (torn)
        s->sink->torn(s->sink->arg, s->path, segment->used);
}

static void visit_batches(struct survey *s, struct segment *segment, uint64_t promised)
{
    for (;;) {
        struct step step;
        uint64_t at = segment->used;
        int failed = take_step(s, segment, promised, &step);
        if (failed == -EILSEQ)
            damage(s, at, "the next batch does not follow the one before it");
        else if (failed)
            call_failed(s, at, failed);
        else if (!step.goes_on && !promised)
            tell_end(s, segment);
        if (failed || !step.goes_on)
            return;
        if (step.verdict != READER_VALID)
            tell_damage(s, &step.batch, step.verdict);
        else if (step.batch.previous != segment->last_batch)
            damage(s, at, "the batch does not follow the one before it");
        if (step.verdict == READER_VALID || step.batch.records)
            s->sink->batch(s->sink->arg, segment, &step.batch);
        segment->last_batch = step.batch.number;
    }
}

static void visit_segment(struct survey *s, struct segment *segment, const struct segment *next,
                          uint64_t promised)
{
    int failed = open_segment(s, segment);
    bool counts = segment->epoch >= s->oldest || !next;
    s->sink->segment(s->sink->arg, s->path, segment, counts ? SURVEY_IN_USE : SURVEY_FREE);
    if (failed)
        call_failed(s, 0, failed);
    if (failed || !counts)
        return;
    visit_batches(s, segment, promised);
    if (next && next->epoch == segment->epoch + 1 && segment->last_batch != promised)
        damage(s, segment->used, "batches are missing, for later segments build on them");
}

static void tell_missing(struct survey *s, uint64_t epoch, const struct segment *next)
{
    char why[160];
    snprintf(s->path, sizeof s->path, "%s", s->dir);
    snprintf(why, sizeof why,
             "the journal's segment of epoch %llu is missing (the next is journal-%06u.seg of "
             "epoch %llu)",
             (unsigned long long)epoch, next->slot, (unsigned long long)next->epoch);
    damage(s, 0, why);
}

int survey_run(const struct io *io, const char *dir, const struct survey_sink *sink)
{
    struct survey *s = mem_zalloc(sizeof *s);
    s->io = io, s->dir = dir, s->sink = sink;
    reader_init(&s->reader, io);
    int failed = io->list(io->arg, dir, collect, s);
    if (!failed) {
        read_headers(s);
        find_oldest(s);
    }
    uint64_t expected = s->oldest;
    for (size_t i = 0; i < s->found.size; i++) {
        struct segment *segment = *segment_ring_at(&s->found, i);
        if (expected && segment->epoch > expected)
            tell_missing(s, expected, segment);
        if (segment->epoch >= s->oldest)
            expected = segment->epoch + 1;
        visit_segment(s, segment,
                      i + 1 < s->found.size ? *segment_ring_at(&s->found, i + 1) : NULL,
                      promised_to(s, i));
    }
    while (s->found.size)
        mem_free(segment_ring_pop_front(&s->found));
    while (s->other.size)
        mem_free(segment_ring_pop_front(&s->other));
    segment_ring_free(&s->found);
    segment_ring_free(&s->other);
    reader_free(&s->reader);
    mem_free(s);
    return failed;
}
