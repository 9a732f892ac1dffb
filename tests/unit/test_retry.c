/* test_retry.c - the delays of retries, against sums written down the long way. */
#include <check.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/rand.h"
#include "protocol/table.h"
#include "queue/delay.h"
#include "queue/retry.h"
#include "tests/unit/suite.h"

static struct retry list_of(unsigned count, int64_t limit)
{
    struct retry retry = retry_none();
    for (unsigned i = 0; i < count; i++)
        retry.delays_ms[i] = (i + 1) * 100;
    retry.delay_count = count;
    retry.limit = limit;
    return retry;
}

START_TEST(nothing_is_set)
{
    struct retry retry = retry_none();
    ck_assert(!retry_is_set(&retry));
    ck_assert_int_lt(retry_limit(&retry, -1), 0);
    ck_assert_int_eq(retry_limit(&retry, 20), 20);
}
END_TEST

START_TEST(a_list_goes_step_by_step_and_repeats_the_last)
{
    struct retry retry = list_of(3, 5);
    static const uint64_t expected[] = {100, 200, 300, 300, 300};
    for (int64_t i = 0; i < 5; i++)
        ck_assert_uint_eq(retry_delay_ms(&retry, i + 1, 12345), expected[i]);
    ck_assert_int_eq(retry_limit(&retry, -1), 5);
    retry.limit = -1;
    ck_assert_int_eq(retry_limit(&retry, -1), 3);
}
END_TEST

START_TEST(the_smaller_limit_counts)
{
    struct retry retry = list_of(2, 10);
    ck_assert_int_eq(retry_limit(&retry, 4), 4);
    ck_assert_int_eq(retry_limit(&retry, 40), 10);
    ck_assert_int_eq(retry_limit(&retry, 0), 0);
    retry.limit = 0;
    ck_assert_int_eq(retry_limit(&retry, 4), 0);
}
END_TEST

/* base times factor, so often, and never more than the largest. */
static uint64_t naive(uint64_t base, uint64_t factor, uint64_t max, int64_t times)
{
    uint64_t ms = base; /* the largest is ten years, a thousand times that fits */
    for (int64_t i = 1; i < times && ms < max; i++)
        ms *= factor;
    return ms < max ? ms : max;
}

START_TEST(factors_grow_to_the_largest)
{
    struct rand rand = rand_seeded(7);
    for (int i = 0; i < 20000; i++) {
        struct retry retry = retry_none();
        retry.base_ms = 1 + rand_below(&rand, rand_below(&rand, 2) ? 100 : DELAY_MAX_MS);
        retry.factor = (uint32_t)(1 + rand_below(&rand, RETRY_FACTOR_MAX));
        retry.max_ms = 1 + rand_below(&rand, DELAY_MAX_MS);
        int64_t times = (int64_t)(1 + rand_below(&rand, RETRY_LIMIT_MAX));
        ck_assert_uint_eq(retry_delay_ms(&retry, times, rand_u64(&rand)),
                          naive(retry.base_ms, retry.factor, retry.max_ms, times));
    }
}
END_TEST

START_TEST(jitter_goes_both_ways_and_not_further)
{
    struct rand rand = rand_seeded(8);
    struct retry retry = list_of(1, 1);
    uint64_t least = UINT64_MAX, most = 0;
    retry.delays_ms[0] = 1000;
    retry.jitter_percent = 25;
    for (int i = 0; i < 20000; i++) {
        uint64_t ms = retry_delay_ms(&retry, 1, rand_u64(&rand));
        least = ms < least ? ms : least;
        most = ms > most ? ms : most;
    }
    ck_assert_uint_eq(least, 750);
    ck_assert_uint_eq(most, 1250);
    retry.jitter_percent = 100;
    ck_assert_uint_eq(retry_delay_ms(&retry, 1, 0), 0);
    retry.delays_ms[0] = 0;
    ck_assert_uint_eq(retry_delay_ms(&retry, 1, 99), 0);
}
END_TEST

START_TEST(arguments_are_read)
{
    struct buf args = {0};
    table_put_int(&args, "x-retry-base", 10);
    table_put_int(&args, "x-retry-factor", 3);
    table_put_int(&args, "x-retry-max", 50);
    table_put_int(&args, "x-retry-jitter", 0);
    table_put_int(&args, "x-retry-limit", 4);
    struct retry retry = retry_none();
    retry_apply_args(&retry, buf_slice(&args));
    static const uint64_t expected[] = {10, 30, 50, 50};
    ck_assert(retry_is_set(&retry));
    for (int64_t i = 0; i < 4; i++)
        ck_assert_uint_eq(retry_delay_ms(&retry, i + 1, 1), expected[i]);
    ck_assert_int_eq(retry_limit(&retry, -1), 4);
    buf_free(&args);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("retry");
    TCase *tests = tcase_create("retry");
    tcase_add_test(tests, nothing_is_set);
    tcase_add_test(tests, a_list_goes_step_by_step_and_repeats_the_last);
    tcase_add_test(tests, the_smaller_limit_counts);
    tcase_add_test(tests, factors_grow_to_the_largest);
    tcase_add_test(tests, jitter_goes_both_ways_and_not_further);
    tcase_add_test(tests, arguments_are_read);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
