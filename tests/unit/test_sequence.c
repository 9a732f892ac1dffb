/* test_sequence.c - the load tool's check of sequence numbers: loss, repetition, order. */
#include <check.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/rand.h"
#include "tests/unit/suite.h"
#include "tools/perf/sequence.h"

static struct sequence s;

static void teardown(void)
{
    sequence_free(&s);
}

static void take(uint64_t first, uint64_t end)
{
    for (uint64_t n = first; n < end; n++)
        sequence_take(&s, n, false);
}

START_TEST(test_in_order_is_clean)
{
    take(0, 1000);
    ck_assert_uint_eq(s.received, 1000);
    ck_assert_uint_eq(s.missing + s.late + s.duplicated + s.redelivered, 0);
}
END_TEST

START_TEST(test_gap_is_missing)
{
    take(0, 10);
    take(15, 20);
    ck_assert_uint_eq(s.missing, 5);
    ck_assert_uint_eq(s.received, 15);
    ck_assert_uint_eq(s.late + s.duplicated, 0);
}
END_TEST

START_TEST(test_what_fills_a_gap_came_late)
{
    take(0, 10);
    take(13, 20);
    take(11, 12); /* the middle: the gap falls in two */
    ck_assert_uint_eq(s.missing, 2);
    take(10, 11);
    take(12, 13);
    ck_assert_uint_eq(s.missing, 0);
    ck_assert_uint_eq(s.gap_count, 0);
    ck_assert_uint_eq(s.late, 3);
    ck_assert_uint_eq(s.received, 20);
}
END_TEST

START_TEST(test_repeated_is_duplicated)
{
    take(0, 10);
    take(4, 6);
    ck_assert_uint_eq(s.duplicated, 2);
    ck_assert_uint_eq(s.received, 10);
    ck_assert_uint_eq(s.late, 0);
}
END_TEST

START_TEST(test_redelivered_is_allowed)
{
    take(0, 10);
    sequence_take(&s, 7, true);
    sequence_take(&s, 10, true);
    ck_assert_uint_eq(s.redelivered, 2);
    ck_assert_uint_eq(s.duplicated + s.late + s.missing, 0);
    ck_assert_uint_eq(s.received, 11);
}
END_TEST

START_TEST(test_shared_sees_no_gaps_but_order)
{
    s.shared = true;
    sequence_take(&s, 3, false);
    sequence_take(&s, 9, false);
    ck_assert_uint_eq(s.missing + s.late, 0);
    sequence_take(&s, 5, false);
    ck_assert_uint_eq(s.late, 1);
    ck_assert_uint_eq(s.received, 3);
}
END_TEST

START_TEST(test_fingerprints_of_shares_add_up)
{
    uint64_t whole = 0, parts = 0;
    struct sequence other = {.shared = true};
    s.shared = true;
    for (uint64_t n = 0; n < 1000; n++) {
        whole += sequence_mix(n);
        sequence_take(n % 3 ? &s : &other, n, false);
    }
    parts = s.fingerprint + other.fingerprint;
    ck_assert_uint_eq(parts, whole);
    ck_assert_uint_ne(parts - sequence_mix(7) + sequence_mix(8), whole);
}
END_TEST

/* Against a table of what was seen: random order with omissions and repetitions. */
START_TEST(test_agrees_with_a_table)
{
    enum { COUNT = 3000 };
    struct rand rand = rand_seeded(7);
    uint8_t *seen = mem_zalloc(COUNT);
    uint64_t highest = 0, late = 0, duplicated = 0, received = 0;
    for (int i = 0; i < COUNT * 2; i++) {
        uint64_t n = (uint64_t)i / 2 + rand_below(&rand, 40);
        if (n >= COUNT)
            continue;
        late += !seen[n] && n < highest;
        duplicated += seen[n];
        received += !seen[n];
        seen[n] = 1;
        highest = n + 1 > highest ? n + 1 : highest;
        sequence_take(&s, n, false);
        ck_assert_uint_eq(s.missing, highest - received);
    }
    ck_assert_uint_eq(s.late, late);
    ck_assert_uint_eq(s.duplicated, duplicated);
    ck_assert_uint_eq(s.received, received);
    mem_free(seen);
}
END_TEST

START_TEST(test_more_gaps_than_are_kept_stay_missing)
{
    for (uint64_t n = 0; n < 20000; n += 2)
        sequence_take(&s, n + 1, false);
    ck_assert_uint_eq(s.missing, 10000);
    sequence_take(&s, 19998, false);
    ck_assert_uint_eq(s.missing, 9999);
    ck_assert_uint_eq(s.late, 1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sequence");
    TCase *tests = tcase_create("sequence");
    tcase_add_checked_fixture(tests, NULL, teardown);
    tcase_add_test(tests, test_in_order_is_clean);
    tcase_add_test(tests, test_gap_is_missing);
    tcase_add_test(tests, test_what_fills_a_gap_came_late);
    tcase_add_test(tests, test_repeated_is_duplicated);
    tcase_add_test(tests, test_redelivered_is_allowed);
    tcase_add_test(tests, test_shared_sees_no_gaps_but_order);
    tcase_add_test(tests, test_fingerprints_of_shares_add_up);
    tcase_add_test(tests, test_agrees_with_a_table);
    tcase_add_test(tests, test_more_gaps_than_are_kept_stay_missing);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
