/* test_runs.c - notes of deadlines on disk: they come back in time and once each, in whatever order they
 * came; how much memory and how many runs they take; what a merge leaves out. */
#include <check.h>
#include <stdlib.h>

#include "base/rand.h"
#include "queue/queue_home.h"
#include "queue/runs_merge.h"
#include "store/pages.h"
#include "tests/sim/fakedisk.h"
#include "tests/sim/recovered.h"
#include "tests/unit/suite.h"

enum { NOTES = 200000, BATCH = 5000, SPAN_MS = 100000, GATHERED = 2000, STEP_MS = 50 };

static struct fakedisk *disk;
static struct store *store;
static struct recovered found;
static struct slab_pool pool;
static struct queue_home home;
static struct runs *runs;
static uint8_t *seen;
static uint64_t came, from_ms, until_ms;
static uint64_t every; /* a merge keeps one note of so many */

static void setup(void)
{
    char error[512];
    disk = fakedisk_new(7);
    struct store_options options = {.dir = "data", .io = fakedisk_io(disk), .without_thread = true};
    struct recovery_sink sink = recovered_sink(&found);
    ck_assert_int_eq(store_open(&store, &options, error, sizeof(error)), 0);
    ck_assert_int_eq(store_recover(store, &sink, error, sizeof(error)), 0);
    slab_pool_init(&pool);
    queue_home_init(&home, &pool, store);
    runs = &home.agenda.runs;
    runs->gathered_max = GATHERED;
    seen = mem_zalloc(NOTES);
    came = from_ms = until_ms = 0;
    every = 1;
}

static void teardown(void)
{
    home.store = NULL;
    store_abandon(&store);
    queue_home_free(&home);
    slab_pool_free(&pool);
    recovered_free(&found);
    fakedisk_free(&disk);
    mem_free(seen);
}

static void sync_all(void)
{
    store_commit(store);
    store_sync_now(store);
}

static void take(const struct note *note)
{
    ck_assert_uint_lt(note->sequence, NOTES);
    ck_assert_msg(!seen[note->sequence], "note %u comes twice", (unsigned)note->sequence);
    ck_assert_msg(note->deadline_ms >= from_ms, "note %u comes late", (unsigned)note->sequence);
    seen[note->sequence] = 1;
    came++;
}

/* What the agenda does with what was read. */
static void arrive(void)
{
    for (struct page_load *load; (load = pages_loaded(store_pages(store)));) {
        bool merging = ((const struct run *)load->owner)->merging;
        size_t count = runs_arrive(&home, load);
        ck_assert_uint_gt(count, 0);
        for (size_t i = 0; i < count; i++) {
            struct note note = runs_note(load, i);
            if (!merging)
                take(&note);
            else if (note.sequence % every == 0)
                runs_merge_add(runs, &note);
        }
        if (merging)
            runs_merge_step(&home, until_ms);
        page_load_free(&load);
    }
}

/* All that is due in that step is brought before it. */
static void bring(void)
{
    struct note note;
    uint64_t before;
    do {
        before = came;
        while (runs_take(runs, until_ms, &note))
            take(&note);
        sync_all();
        runs_read(&home, until_ms);
        runs_merge_step(&home, until_ms);
        arrive();
    } while (came != before || runs_next_ms(&home) < until_ms || runs->merge);
}

static void push(uint64_t sequence, uint64_t deadline_ms)
{
    runs_push(runs, &(struct note){.deadline_ms = deadline_ms, .sequence = sequence});
    if (sequence % 100 == 0)
        runs_spill(&home);
    if (sequence % BATCH == 0) {
        sync_all();
        runs_merge_step(&home, 0);
        arrive();
    }
}

static void let_all_come(void)
{
    for (; until_ms <= SPAN_MS; from_ms = until_ms) {
        until_ms += STEP_MS;
        bring();
    }
}

START_TEST(in_any_order)
{
    struct rand rand = rand_seeded(3);
    for (uint64_t i = 0; i < NOTES; i++)
        push(i, rand_below(&rand, SPAN_MS));
    ck_assert_uint_gt(runs->run_count, 20);
    ck_assert_uint_le(runs->run_count, NOTES / GATHERED);
    /* What is gathered, twice that for the arrays, and less than a byte a note. */
    ck_assert_uint_lt(runs_memory(runs), 4 * GATHERED * sizeof(struct note) + NOTES);
    let_all_come();
    ck_assert_uint_eq(came, NOTES);
    ck_assert_uint_eq(runs->count, 0);
    ck_assert_uint_le(runs->run_count, 1);
    ck_assert_uint_eq(store_pages(store)->count, 0);
}
END_TEST

START_TEST(in_order_they_are_one_run)
{
    for (uint64_t i = 0; i < NOTES; i++)
        push(i, i * SPAN_MS / NOTES);
    ck_assert_uint_eq(runs->run_count, 1);
    let_all_come();
    ck_assert_uint_eq(came, NOTES);
}
END_TEST

START_TEST(many_runs_are_merged)
{
    struct rand rand = rand_seeded(4);
    runs->run_max = 8;
    for (uint64_t i = 0; i < NOTES; i++)
        push(i, rand_below(&rand, SPAN_MS));
    for (int i = 0; i < 100000 && (runs->merge || runs->run_count > 8); i++) {
        sync_all();
        runs_merge_step(&home, 0);
        arrive();
    }
    ck_assert_uint_le(runs->run_count, 9);
    let_all_come();
    ck_assert_uint_eq(came, NOTES);
}
END_TEST

START_TEST(what_nobody_needs_goes)
{
    struct rand rand = rand_seeded(5);
    runs->stale_min = NOTES / 2; /* no message is on disk: there are more notes than can be needed */
    every = 10;
    for (uint64_t i = 0; i < NOTES; i++)
        push(i, rand_below(&rand, SPAN_MS));
    while (runs->merge) {
        sync_all();
        runs_merge_step(&home, 0);
        arrive();
    }
    ck_assert_uint_lt(runs->count, NOTES / 2 + NOTES / 10 + GATHERED);
    let_all_come();
    for (uint64_t i = 0; i < NOTES; i += every)
        ck_assert_msg(seen[i], "note %u is missing", (unsigned)i);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("runs");
    TCase *tests = tcase_create("runs");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, in_any_order);
    tcase_add_test(tests, in_order_they_are_one_run);
    tcase_add_test(tests, many_runs_are_merged);
    tcase_add_test(tests, what_nobody_needs_goes);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
