/* test_histogram.c - the load tool's histogram: cells, error bound, percentiles, differences. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rand.h"
#include "tests/unit/suite.h"
#include "tools/perf/histogram.h"

static struct histogram h, other;

static void reset(void)
{
    memset(&h, 0, sizeof(h));
    memset(&other, 0, sizeof(other));
}

static int compare_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

START_TEST(test_cells_are_contiguous_and_bound_their_values)
{
    size_t last = 0;
    for (uint64_t us = 0; us <= HISTOGRAM_MAX_US; us += 1 + us / 3000) {
        size_t cell = histogram_cell(us);
        ck_assert_uint_ge(cell, last);
        ck_assert_uint_ge(histogram_cell_us(cell), us);
        if (cell > 0)
            ck_assert_uint_lt(histogram_cell_us(cell - 1), us);
        last = cell;
    }
    ck_assert_uint_lt(last, HISTOGRAM_CELLS);
    for (size_t cell = 0; cell < last; cell++) {
        ck_assert_uint_eq(histogram_cell(histogram_cell_us(cell)), cell);
        ck_assert_uint_eq(histogram_cell(histogram_cell_us(cell) + 1), cell + 1);
    }
}
END_TEST

START_TEST(test_error_is_below_one_percent)
{
    for (uint64_t us = 1; us <= HISTOGRAM_MAX_US; us += 1 + us / 1000) {
        uint64_t shown = histogram_cell_us(histogram_cell(us));
        ck_assert_uint_ge(shown, us);
        ck_assert_msg((double)(shown - us) <= 0.01 * (double)us, "%lu us shown as %lu us",
                      (unsigned long)us, (unsigned long)shown);
    }
}
END_TEST

START_TEST(test_short_durations_are_exact)
{
    for (uint64_t us = 0; us < HISTOGRAM_EXACT; us++)
        ck_assert_uint_eq(histogram_cell_us(histogram_cell(us)), us);
}
END_TEST

START_TEST(test_too_long_durations_count_as_the_longest)
{
    histogram_record(&h, UINT64_MAX);
    histogram_record(&h, (uint64_t)HISTOGRAM_MAX_US + 1);
    ck_assert_uint_eq(histogram_count(&h), 2);
    ck_assert_uint_ge(histogram_percentile(&h, 100), HISTOGRAM_MAX_US);
    ck_assert_uint_eq(histogram_cell(UINT64_MAX), histogram_cell(HISTOGRAM_MAX_US));
}
END_TEST

START_TEST(test_empty_histogram_is_all_zero)
{
    ck_assert_uint_eq(histogram_count(&h), 0);
    ck_assert_uint_eq(histogram_percentile(&h, 50), 0);
    ck_assert_double_eq(histogram_mean(&h), 0);
}
END_TEST

START_TEST(test_percentiles_of_one_to_hundred)
{
    for (uint64_t us = 1; us <= 100; us++)
        histogram_record(&h, us);
    ck_assert_uint_eq(histogram_percentile(&h, 1), 1);
    ck_assert_uint_eq(histogram_percentile(&h, 50), 50);
    ck_assert_uint_eq(histogram_percentile(&h, 50.5), 51);
    ck_assert_uint_eq(histogram_percentile(&h, 99), 99);
    ck_assert_uint_eq(histogram_percentile(&h, 99.9), 100);
    ck_assert_uint_eq(histogram_percentile(&h, 100), 100);
    ck_assert_double_eq_tol(histogram_mean(&h), 50.5, 1e-9);
}
END_TEST

START_TEST(test_percentiles_agree_with_sorting)
{
    static const double percents[] = {1, 10, 50, 90, 99, 99.9, 100};
    enum { COUNT = 20000 };
    uint64_t *values = mem_alloc(COUNT * sizeof(*values));
    struct rand rand = rand_seeded(42);
    for (int i = 0; i < COUNT; i++) {
        values[i] = rand_below(&rand, 1 + (UINT64_C(1) << rand_below(&rand, 26)));
        if (values[i] > HISTOGRAM_MAX_US)
            values[i] = HISTOGRAM_MAX_US;
        histogram_record(&h, values[i]);
    }
    qsort(values, COUNT, sizeof(*values), compare_u64);
    for (size_t i = 0; i < array_size(percents); i++) {
        size_t rank = (size_t)(percents[i] / 100 * COUNT + 0.5);
        uint64_t want = values[rank - 1], got = histogram_percentile(&h, percents[i]);
        ck_assert_uint_ge(got, want);
        ck_assert_msg((double)(got - want) <= 0.01 * (double)want, "p%g: %lu instead of %lu",
                      percents[i], (unsigned long)got, (unsigned long)want);
    }
    mem_free(values);
}
END_TEST

START_TEST(test_add_and_subtract_are_inverse)
{
    histogram_record(&h, 7);
    histogram_record(&h, 70000);
    histogram_record(&other, 7);
    histogram_record(&other, 12345678);
    histogram_add(&h, &other);
    ck_assert_uint_eq(histogram_count(&h), 4);
    ck_assert_uint_eq(histogram_percentile(&h, 50), 7);
    histogram_subtract(&h, &other);
    ck_assert_uint_eq(histogram_count(&h), 2);
    ck_assert_uint_eq(histogram_percentile(&h, 50), 7);
    ck_assert_uint_eq(histogram_percentile(&h, 100), histogram_cell_us(histogram_cell(70000)));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("histogram");
    TCase *tests = tcase_create("histogram");
    tcase_add_checked_fixture(tests, reset, NULL);
    tcase_add_test(tests, test_cells_are_contiguous_and_bound_their_values);
    tcase_add_test(tests, test_error_is_below_one_percent);
    tcase_add_test(tests, test_short_durations_are_exact);
    tcase_add_test(tests, test_too_long_durations_count_as_the_longest);
    tcase_add_test(tests, test_empty_histogram_is_all_zero);
    tcase_add_test(tests, test_percentiles_of_one_to_hundred);
    tcase_add_test(tests, test_percentiles_agree_with_sorting);
    tcase_add_test(tests, test_add_and_subtract_are_inverse);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
