/* test_delay.c - a calendar of which nobody takes what is due, for longer than it has buckets; and one that a
 * restart found with messages of two times in one lane. */
#include <check.h>

#include "queue/delay.h"
#include "queue/queue.h"
#include "tests/unit/suite.h"

enum { STEP_MS = 64, SLOW = 3 * DELAY_LEVEL_LANES, LONG = 500, DAY_MS = 24 * 60 * 60 * 1000 };

static struct slab_pool pool;
static struct queue_home home;

static void setup(void)
{
    slab_pool_init(&pool);
    queue_home_init(&home, &pool, NULL);
    home.now_ms = 1700000000000;
}

static void teardown(void)
{
    queue_home_free(&home);
    slab_pool_free(&pool); /* panics when a message is left */
}

static void push(struct delay *delay, uint64_t ms)
{
    struct message *m = message_new(&pool, SLICE(""), SLICE("q"), (struct slice){0}, 0);
    delay_push(delay, m, home.now_ms + ms);
    message_unref(&pool, &m);
}

/* Takes what is due: never before its time, and each after those that are due earlier. */
static size_t take(void)
{
    struct delayed delayed;
    size_t count = 0;
    delay_run(&home.delays, home.now_ms);
    for (uint64_t before_ms = 0; delay_take(&home.delays, home.now_ms, &delayed); count++) {
        uint64_t due_ms = delayed.entry.message->born_ms;
        ck_assert_uint_le(due_ms, home.now_ms);
        ck_assert_uint_ge(due_ms, before_ms);
        before_ms = due_ms;
        delay_settle(&delayed);
    }
    return count;
}

START_TEST(nobody_takes_what_is_due)
{
    struct delay *delay = delay_new(&home, 7, NULL, false);
    size_t count = 0;
    for (int i = 0; i < SLOW; i++) {
        push(delay, 1);
        push(delay, (uint64_t)i % LONG * (DAY_MS / 10));
        home.now_ms += STEP_MS;
        delay_run(&home.delays, home.now_ms);
        delay_check(delay);
    }
    for (int i = 0; i < LONG * 10 && count < 2 * SLOW; i++) {
        count += take();
        home.now_ms += i % 10 ? STEP_MS : DAY_MS / 10;
    }
    ck_assert_uint_eq(count, 2 * SLOW);
    ck_assert_uint_eq(delay->buckets.size, 0);
    delay_delete(&delay);
}
END_TEST

static void restore(struct delay *delay, unsigned lane, uint64_t sequence, uint64_t ms)
{
    struct message *m = message_new(&pool, SLICE(""), SLICE("q"), (struct slice){0}, 0);
    m->born_ms = home.now_ms + ms;
    m->journal_refs = 1;
    delay_restore(delay, lane, m, sequence);
    message_unref(&pool, &m);
}

/* The lane's bucket is opened for the earlier one, and what is due later does not go back to it, again and
 * again: that would take all of the turn's budget from those that are due now. */
START_TEST(two_times_in_one_lane)
{
    enum { LANE = DELAY_LANE_FIRST + 2 * DELAY_LEVEL_LANES + 5, HOUR_MS = 60 * 60 * 1000 };
    struct delay *delay = delay_new(&home, 7, NULL, false);
    size_t count = 0;
    restore(delay, LANE, 1, 20 * HOUR_MS);
    restore(delay, LANE, 2, 2 * HOUR_MS);
    delay_restored(delay, 100);
    push(delay, 3 * HOUR_MS);
    for (uint64_t end_ms = home.now_ms + 3 * HOUR_MS + 1000; home.now_ms <= end_ms; home.now_ms += 1000)
        count += take();
    ck_assert_uint_eq(count, 2);
    for (uint64_t end_ms = home.now_ms + 17 * HOUR_MS + 1000; home.now_ms <= end_ms; home.now_ms += 1000)
        count += take();
    ck_assert_uint_eq(count, 3);
    ck_assert_uint_eq(delay->buckets.size, 0);
    delay_delete(&delay);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("delay");
    TCase *tests = tcase_create("delay");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, nobody_takes_what_is_due);
    tcase_add_test(tests, two_times_in_one_lane);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
