/* runs_merge.c - many runs of notes become one.
 *
 * Owner: the runs. The sources are read part by part, the one whose next part may be the earliest first; a
 * note goes to the end of the new run when no source can have an earlier one any more. So what is due soon
 * comes first, and is gathered instead of written. The new run is read while it is being written.
 * The runs with the fewest notes are merged: a note is written again once for each step in size. When there
 * are more notes than what is in pages can need, all runs are merged, and what is not needed goes: a merge
 * of all is due again when there are twice as many as it left. */
#include "queue/runs_merge.h"

#include <stdlib.h>

#include "queue/queue_home.h"

enum {
    SOURCES_MAX = 128,
    READS_MAX = 4,                 /* parts under way */
    PENDING_MAX = 4 * 1024 * 1024  /* bytes on their way to the disk beyond which nothing is read */
};

static size_t page_notes(const struct runs *runs)
{
    return (size_t)runs->part_max * RUNS_PAGE_PARTS;
}

/* --- which --- */

static int by_count(const void *a, const void *b)
{
    const struct run *one = *(struct run *const *)a, *other = *(struct run *const *)b;
    return (one->count > other->count) - (one->count < other->count);
}

/* Notes take more room than the messages that they could be about. */
static bool are_stale(const struct queue_home *home)
{
    const struct runs *runs = &home->agenda.runs;
    uint64_t bytes = runs->count * sizeof(struct note), live = store_pages(home->store)->live_bytes;
    uint64_t messages = live > bytes ? live - bytes : 0;
    return runs->count > 2 * runs->kept + runs->stale_min && messages < bytes / 2;
}

/* It is read by nobody else from now on. */
static void take_source(struct runs *runs, struct runs_merge *merge, struct run *run)
{
    list_unlink(&run->waiting);
    if (heap_linked(&run->node))
        heap_remove(&runs->due, &run->node);
    run->merging = true;
    merge->reading += run->loading;
    list_push_back(&merge->sources, &run->waiting);
}

static struct runs_merge *begin(struct runs *runs, bool all)
{
    struct run **found = mem_alloc((runs->run_count + 1) * sizeof(struct run *));
    size_t count = 0;
    if (all)
        runs_end_writing(runs);
    list_each(node, &runs->all) {
        struct run *run = container_of(node, struct run, link);
        if (run->written && !run->loading)
            found[count++] = run;
    }
    if (!all && count > SOURCES_MAX) {
        qsort(found, count, sizeof(struct run *), by_count);
        count = SOURCES_MAX;
    }
    struct runs_merge *merge = NULL;
    if (count > !all) {
        merge = mem_zalloc(sizeof(*merge));
        merge->all = all;
        merge->target = run_new(runs);
        list_init(&merge->sources);
        for (size_t i = 0; i < count; i++)
            take_source(runs, merge, found[i]);
    }
    mem_free(found);
    return merge;
}

/* --- reading --- */

/* No source has a note that is earlier. */
static uint64_t bound_ms(const struct runs_merge *merge)
{
    uint64_t bound = UINT64_MAX;
    list_each(node, &merge->sources) {
        const struct run *run = container_of(node, struct run, waiting);
        bound = run->first_ms < bound ? run->first_ms : bound;
    }
    return bound;
}

/* The source whose next part may be the earliest, and is on disk. */
static struct run *choose_source(struct queue_home *home, const struct runs_merge *merge)
{
    struct run *chosen = NULL;
    list_each(node, &merge->sources) {
        struct run *run = container_of(node, struct run, waiting);
        if (!run->loading && (!chosen || run->first_ms < chosen->first_ms) && run_is_on_disk(home, run))
            chosen = run;
    }
    return chosen;
}

static void read_sources(struct queue_home *home, struct runs_merge *merge)
{
    while (merge->reading < READS_MAX && store_pending_bytes(home->store) < PENDING_MAX) {
        struct run *run = choose_source(home, merge);
        if (!run)
            return;
        run_ask(home, run);
        merge->reading++;
    }
}

/* --- writing --- */

void runs_merge_add(struct runs *runs, const struct note *note)
{
    assert(runs->merge);
    notes_push(&runs->merge->read, *note);
}

static void sort_out(struct queue_home *home, struct runs_merge *merge, uint64_t before_ms)
{
    struct runs *runs = &home->agenda.runs;
    uint64_t bound = bound_ms(merge);
    while (merge->read.size > 0 && merge->read.at[0].deadline_ms <= bound) {
        struct note note = notes_pop(&merge->read);
        if (note.deadline_ms < before_ms)
            runs_push(runs, &note);
        else
            notes_push(&merge->ready, note); /* in order: no step in the heap */
        if (merge->ready.size >= page_notes(runs))
            run_write(home, merge->target, &merge->ready);
    }
    runs_spill(home);
}

static void end(struct queue_home *home, struct runs_merge *merge)
{
    struct runs *runs = &home->agenda.runs;
    assert(merge->read.size == 0 && merge->reading == 0);
    if (merge->ready.size > 0)
        run_write(home, merge->target, &merge->ready);
    run_end(runs, merge->target);
    if (merge->all)
        runs->kept = runs->count;
    runs_merge_free(runs);
}

void runs_merge_step(struct queue_home *home, uint64_t before_ms)
{
    struct runs *runs = &home->agenda.runs;
    if (!runs->merge) {
        bool stale = are_stale(home);
        if (stale || runs->run_count > runs->run_max)
            runs->merge = begin(runs, stale);
        if (!runs->merge)
            return;
    }
    struct runs_merge *merge = runs->merge;
    read_sources(home, merge);
    sort_out(home, merge, before_ms);
    if (list_empty(&merge->sources))
        end(home, merge);
}

void runs_merge_free(struct runs *runs)
{
    struct runs_merge *merge = runs->merge;
    if (!merge)
        return;
    while (!list_empty(&merge->sources))
        list_pop_front(&merge->sources);
    notes_free(&merge->read);
    notes_free(&merge->ready);
    mem_free(merge);
    runs->merge = NULL;
}
