/* test_progress.c - what a long recovery says, on a clock of its own. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/progress.h"
#include "tests/unit/suite.h"

struct world {
    uint64_t now_ms;
    unsigned lines;
    char last[200];
};

static uint64_t monotonic_ns(void *arg)
{
    return ((struct world *)arg)->now_ms * 1000000;
}

static void note(void *arg, enum store_note level, const char *text)
{
    struct world *world = arg;
    ck_assert(level == STORE_NOTE_INFO);
    world->lines++;
    snprintf(world->last, sizeof world->last, "%s", text);
}

/* Every step takes a millisecond; returns the step with the first line, 0 = none. */
static unsigned run(struct progress *progress, struct world *world, unsigned steps)
{
    unsigned first = 0;
    for (unsigned i = 1; i <= steps; i++) {
        world->now_ms++;
        if (!progress_due(progress))
            continue;
        progress_say(progress, i, steps, "pages found");
        first = first ? first : i;
    }
    return first;
}

START_TEST(test_short_starts_say_nothing)
{
    struct world world = {.now_ms = 77};
    struct clock clock = {.monotonic_ns = monotonic_ns, .arg = &world};
    struct store_options options = {.note = note, .note_arg = &world};
    struct progress progress;
    progress_init(&progress, &options, &clock);
    ck_assert_uint_eq(run(&progress, &world, 999), 0);
    ck_assert_uint_eq(world.lines, 0);
}
END_TEST

START_TEST(test_long_ones_say_how_far_they_are)
{
    struct world world = {.now_ms = 77};
    struct clock clock = {.monotonic_ns = monotonic_ns, .arg = &world};
    struct store_options options = {.note = note, .note_arg = &world};
    struct progress progress;
    progress_init(&progress, &options, &clock);
    unsigned first = run(&progress, &world, 20000);
    ck_assert(first >= 1000 && first < 1100);
    ck_assert(world.lines >= 3 && world.lines <= 5); /* after 1, 6, 11, 16 s */
    ck_assert_ptr_nonnull(strstr(world.last, "recovering: "));
    ck_assert_ptr_nonnull(strstr(world.last, " of 20000 pages found"));
}
END_TEST

START_TEST(test_without_a_clock_nothing_is_due)
{
    struct world world = {0};
    struct store_options options = {.note = note, .note_arg = &world};
    struct progress progress;
    progress_init(&progress, &options, NULL);
    ck_assert_uint_eq(run(&progress, &world, 100000), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("progress");
    TCase *tcase = tcase_create("lines");
    tcase_add_test(tcase, test_short_starts_say_nothing);
    tcase_add_test(tcase, test_long_ones_say_how_far_they_are);
    tcase_add_test(tcase, test_without_a_clock_nothing_is_due);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
