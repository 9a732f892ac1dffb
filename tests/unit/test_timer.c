/* test_timer.c - timers: order, moving, clearing, and timers that set timers. */
#include <check.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/timer.h"
#include "tests/unit/suite.h"

static struct timers timers;
static struct timer set[5];
static int fired[20], fired_count;
static uint64_t again_ms;

static void note(struct timer *timer)
{
    ck_assert(!heap_linked(&timer->node)); /* unset when it is called */
    fired[fired_count++] = (int)(timer - set);
}

static void note_and_set_again(struct timer *timer)
{
    note(timer);
    timer_set(&timers, timer, timer->node.key + again_ms);
}

static void note_and_clear_next(struct timer *timer)
{
    note(timer);
    timer_clear(&timers, timer + 1);
}

START_TEST(test_order)
{
    static const uint64_t due[] = {30, 10, 50, 20, 40};
    static const int order[] = {1, 3, 0, 4};
    ck_assert_uint_eq(timers_next_ms(&timers), UINT64_MAX);
    for (size_t i = 0; i < array_size(set); i++) {
        set[i].fire = note;
        timer_set(&timers, &set[i], due[i]);
    }
    ck_assert_uint_eq(timers_next_ms(&timers), 10);
    timers_run(&timers, 9);
    ck_assert_int_eq(fired_count, 0);
    timers_run(&timers, 40);
    ck_assert_int_eq(fired_count, 4);
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(fired[i], order[i]);
    ck_assert_uint_eq(timers_next_ms(&timers), 50);
    timer_clear(&timers, &set[2]);
    timer_clear(&timers, &set[2]); /* nothing happens */
    timers_run(&timers, UINT64_MAX - 1);
    ck_assert_int_eq(fired_count, 4);
    timers_free(&timers);
}
END_TEST

START_TEST(test_moved)
{
    set[0].fire = set[1].fire = note;
    timer_set(&timers, &set[0], 10);
    timer_set(&timers, &set[1], 20);
    timer_set(&timers, &set[0], 30); /* later */
    timers_run(&timers, 20);
    ck_assert_int_eq(fired_count, 1);
    ck_assert_int_eq(fired[0], 1);
    timer_set(&timers, &set[0], 5); /* sooner */
    ck_assert_uint_eq(timers_next_ms(&timers), 5);
    timers_run(&timers, 20);
    ck_assert_int_eq(fired_count, 2);
    timers_free(&timers);
}
END_TEST

START_TEST(test_set_and_clear_while_firing)
{
    set[0].fire = note_and_set_again;
    set[1].fire = note_and_clear_next;
    set[2].fire = note;
    again_ms = 10;
    timer_set(&timers, &set[0], 10);
    timer_set(&timers, &set[1], 11);
    timer_set(&timers, &set[2], 12);
    timers_run(&timers, 35); /* the first at 10, 20 and 30; the third was cleared by the second */
    static const int order[] = {0, 1, 0, 0};
    ck_assert_int_eq(fired_count, 4);
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(fired[i], order[i]);
    ck_assert_uint_eq(timers_next_ms(&timers), 40);
    timer_clear(&timers, &set[0]);
    timers_free(&timers);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("timer");
    TCase *tcase = tcase_create("timer");
    tcase_add_test(tcase, test_order);
    tcase_add_test(tcase, test_moved);
    tcase_add_test(tcase, test_set_and_clear_while_firing);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
