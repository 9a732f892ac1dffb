/* test_status.c - the line that says what the store costs. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "broker/status.h"
#include "tests/unit/suite.h"

START_TEST(test_amplification)
{
    char text[640];
    struct store_stats stats = {.journal_bytes = 40000000,
                                .journal_live_bytes = 10000000,
                                .page_bytes = 60000000,
                                .page_live_bytes = 30000000,
                                .record_bytes = 200000000,
                                .bytes_written = 500000000,
                                .pages = 77,
                                .segments = 3,
                                .spare_segments = 2};
    status_text(&stats, text, sizeof text);
    ck_assert_ptr_nonnull(strstr(text, "100.0 MB on disk, 40.0 MB of it needed (2.50 times as much)"));
    ck_assert_ptr_nonnull(strstr(text, "77 pages with 60.0 MB, 30.0 MB needed"));
    ck_assert_ptr_nonnull(strstr(text, "200.0 MB were published and 500.0 MB written for it (2.50 times"));
}
END_TEST

START_TEST(test_nothing_is_once_nothing)
{
    char text[640];
    struct store_stats stats = {0};
    status_text(&stats, text, sizeof text);
    ck_assert_ptr_nonnull(strstr(text, "0.0 MB on disk, 0.0 MB of it needed: journal"));
}
END_TEST

START_TEST(test_the_largest_numbers_fit)
{
    char text[640];
    struct store_stats stats;
    memset(&stats, 0xff, sizeof stats);
    status_text(&stats, text, sizeof text);
    ck_assert(strlen(text) < sizeof text - 1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("status");
    TCase *tcase = tcase_create("line");
    tcase_add_test(tcase, test_amplification);
    tcase_add_test(tcase, test_nothing_is_once_nothing);
    tcase_add_test(tcase, test_the_largest_numbers_fit);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
