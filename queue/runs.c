/* runs.c - notes of deadlines on disk, in order of time.
 *
 * Owner: the agenda of a home. Invariants: deadlines within a run never fall; a run is in exactly one of
 * `due` and `waiting`, or loading, while it has pages; one without pages is the one that is being written.
 * Failure modes: notes that cannot be read are gone; the agenda gathers all anew (agenda_arrive). */
#include "queue/runs.h"

#include <string.h>

#include "queue/queue_home.h"
#include "queue/runs_merge.h"
#include "store/pages.h"

/* No queue has that id; what is of it is in no journal. */
#define RUNS_ID ((UINT64_C(1) << STORE_LANE_SHIFT) - 1)

enum { READ_BYTES_MAX = 2 * 1024 * 1024 };

/* --- a run's life --- */

void runs_init(struct runs *runs)
{
    *runs = (struct runs){.gathered_max = RUNS_GATHERED_MAX, .part_max = RUNS_PART_NOTES, .run_max = RUNS_MAX,
                           .stale_min = RUNS_STALE_MIN};
    list_init(&runs->all);
    list_init(&runs->waiting);
}

struct run *run_new(struct runs *runs)
{
    struct run *run = mem_zalloc(sizeof(*run));
    list_push_back(&runs->all, &run->link);
    runs->run_count++;
    return run;
}

static void free_run(struct runs *runs, struct run *run)
{
    assert(!run->loading && runs->run_count > 0);
    list_remove(&run->link);
    list_unlink(&run->waiting);
    if (heap_linked(&run->node))
        heap_remove(&runs->due, &run->node);
    run_page_ring_free(&run->pages);
    runs->run_count--;
    mem_free(run);
}

void runs_free(struct runs *runs)
{
    runs_merge_free(runs);
    while (!list_empty(&runs->all)) {
        struct run *run = list_first(&runs->all, struct run, link);
        run->loading = false; /* the store has gone before */
        free_run(runs, run);
    }
    heap_free(&runs->due);
    notes_free(&runs->fits);
    notes_free(&runs->misses);
}

static bool is_idle(const struct run *run)
{
    return !run->loading && !heap_linked(&run->node) && !list_linked(&run->waiting);
}

/* Its next part is looked for when the first note in it may be due. A run that has nothing more ends. */
static void look_at(struct runs *runs, struct run *run)
{
    if (run->merging && run->pages.size > 0)
        return; /* the merge asks for it */
    assert(run->merging || is_idle(run));
    if (run->pages.size > 0) {
        run->node.key = run->first_ms;
        heap_push(&runs->due, &run->node);
    } else if (run->written) {
        assert(run->count == 0);
        free_run(runs, run);
    }
}

/* --- to disk --- */

/* So many of the earliest notes become one record of the page. Returns the last deadline. */
static uint64_t put_part(struct page_draft *draft, struct notes *notes, size_t count, uint32_t *check)
{
    struct note part[RUNS_PART_NOTES];
    size_t begins = draft->used;
    assert(count > 0 && count <= RUNS_PART_NOTES);
    for (size_t i = 0; i < count; i++)
        part[i] = notes_pop(notes);
    page_add(draft, &(struct page_record){.body = slice_of(part, count * sizeof(*part)), .run = 1});
    *check = page_part_check(slice_of(draft->bytes + begins, draft->used - begins));
    return part[count - 1].deadline_ms;
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

uint64_t run_write(struct queue_home *home, struct run *run, struct notes *notes)
{
    struct runs *runs = &home->agenda.runs;
    struct pages *pages = store_pages(home->store);
    size_t count = least(notes->size, (size_t)runs->part_max * RUNS_PAGE_PARTS);
    size_t parts = (count + runs->part_max - 1) / runs->part_max;
    struct run_page page = {.count = (uint32_t)count};
    struct page_draft draft;
    uint64_t last_ms = 0;
    assert(count > 0 && !run->written);
    if (run->pages.size == 0 && !run->loading)
        run->first_ms = notes->at[0].deadline_ms;
    pages_begin(pages, &draft, parts * PAGE_RECORD_HEADER_BYTES + count * sizeof(struct note));
    for (size_t i = 0, left = count; i < parts; i++, left -= least(left, runs->part_max))
        last_ms = put_part(&draft, notes, least(left, runs->part_max), &page.checks[i]);
    page.slot = pages_write(pages, &draft, RUNS_ID, 1, false, &(struct page_times){.own_first = UINT64_MAX});
    run_page_ring_push_back(&run->pages, page);
    run->count += count;
    runs->count += count;
    if (is_idle(run))
        look_at(runs, run);
    return last_ms;
}

void run_end(struct runs *runs, struct run *run)
{
    run->written = true;
    if (run->pages.size == 0 && is_idle(run))
        free_run(runs, run);
}

void runs_end_writing(struct runs *runs)
{
    if (runs->writing)
        run_end(runs, runs->writing);
    runs->writing = NULL;
}

/* What is gathered and fits goes to the end of the run; when nothing does the next one begins. */
static void spill(struct queue_home *home)
{
    struct runs *runs = &home->agenda.runs;
    if (runs->fits.size == 0) {
        struct notes none = runs->fits;
        runs->fits = runs->misses;
        runs->misses = none;
        runs_end_writing(runs);
    }
    if (!runs->writing)
        runs->writing = run_new(runs);
    runs->written_ms = run_write(home, runs->writing, &runs->fits);
}

void runs_push(struct runs *runs, const struct note *note)
{
    bool misses = runs->writing && note->deadline_ms < runs->written_ms;
    notes_push(misses ? &runs->misses : &runs->fits, *note);
}

void runs_spill(struct queue_home *home)
{
    const struct runs *runs = &home->agenda.runs;
    while (runs->fits.size + runs->misses.size >= runs->gathered_max)
        spill(home);
}

bool runs_take(struct runs *runs, uint64_t before_ms, struct note *note)
{
    struct notes *heaps[] = {&runs->fits, &runs->misses};
    for (size_t i = 0; i < array_size(heaps); i++)
        if (heaps[i]->size > 0 && heaps[i]->at[0].deadline_ms < before_ms) {
            *note = notes_pop(heaps[i]);
            return true;
        }
    return false;
}

/* --- back --- */

static uint32_t part_size(const struct runs *runs, const struct run *run, const struct run_page *page)
{
    uint32_t before = run->part * runs->part_max;
    uint32_t notes = (uint32_t)least(page->count - before, runs->part_max);
    return PAGE_RECORD_HEADER_BYTES + notes * (uint32_t)sizeof(struct note);
}

bool run_is_on_disk(struct queue_home *home, const struct run *run)
{
    const struct run_page *page = run_page_ring_at(&run->pages, 0);
    return pages_at(store_pages(home->store), page->slot)->batch <= store_durable(home->store);
}

void run_ask(struct queue_home *home, struct run *run)
{
    const struct runs *runs = &home->agenda.runs;
    const struct run_page *page = run_page_ring_at(&run->pages, 0);
    uint32_t whole = PAGE_RECORD_HEADER_BYTES + runs->part_max * (uint32_t)sizeof(struct note);
    assert(!run->loading);
    run->loading = true;
    pages_load_part(store_pages(home->store), page->slot,
                    &(struct page_load){.owner = run,
                                        .part = PAGE_HEADER_BYTES + run->part * whole,
                                        .size = part_size(runs, run, page),
                                        .check = page->checks[run->part]});
}

static bool may_read(const struct queue_home *home)
{
    return store_pages(home->store)->loader.bytes < READ_BYTES_MAX;
}

void runs_read(struct queue_home *home, uint64_t before_ms)
{
    struct runs *runs = &home->agenda.runs;
    if (!list_empty(&runs->waiting) && store_durable(home->store) > runs->waited_batch)
        while (!list_empty(&runs->waiting))
            look_at(runs, container_of(list_pop_front(&runs->waiting), struct run, waiting));
    while (heap_min(&runs->due) && heap_min(&runs->due)->key < before_ms && may_read(home)) {
        struct run *run = container_of(heap_pop(&runs->due), struct run, node);
        if (run_is_on_disk(home, run)) {
            run_ask(home, run);
            continue;
        }
        list_push_back(&runs->waiting, &run->waiting);
        runs->waited_batch = store_durable(home->store);
    }
}

struct note runs_note(const struct page_load *load, size_t i)
{
    struct note note;
    size_t at = PAGE_RECORD_HEADER_BYTES + i * sizeof(note);
    assert(at + sizeof(note) <= load->size);
    memcpy(&note, load->bytes + at, sizeof(note));
    return note;
}

size_t runs_arrive(struct queue_home *home, const struct page_load *load)
{
    struct runs *runs = &home->agenda.runs;
    struct run *run = load->owner;
    const struct run_page *page = run_page_ring_at(&run->pages, 0);
    size_t count = (load->size - PAGE_RECORD_HEADER_BYTES) / sizeof(struct note);
    assert(run->loading && run->count >= count && page->slot == load->slot);
    run->loading = false;
    run->count -= count;
    runs->count -= count;
    if (run->merging)
        runs->merge->reading--;
    if (!load->failed)
        run->first_ms = runs_note(load, count - 1).deadline_ms;
    if (++run->part * runs->part_max >= page->count) {
        pages_drop(store_pages(home->store), page->slot);
        run_page_ring_pop_front(&run->pages);
        run->part = 0;
    }
    look_at(runs, run);
    return load->failed ? 0 : count;
}

uint64_t runs_next_ms(const struct queue_home *home)
{
    const struct runs *runs = &home->agenda.runs;
    const struct heap_node *node = heap_min(&runs->due);
    uint64_t next = node && may_read(home) ? node->key : UINT64_MAX;
    const struct notes *heaps[] = {&runs->fits, &runs->misses};
    for (size_t i = 0; i < array_size(heaps); i++)
        if (heaps[i]->size > 0 && heaps[i]->at[0].deadline_ms < next)
            next = heaps[i]->at[0].deadline_ms;
    return next;
}

size_t runs_memory(const struct runs *runs)
{
    size_t bytes = (runs->fits.capacity + runs->misses.capacity) * sizeof(struct note);
    list_each(node, &runs->all) {
        const struct run *run = container_of(node, struct run, link);
        bytes += sizeof(*run) + run->pages.capacity * sizeof(struct run_page);
    }
    return bytes;
}
