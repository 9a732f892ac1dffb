/* test_buf.c - the growable buffer. */
#include <check.h>
#include <stdlib.h>

#include "base/buf.h"
#include "tests/unit/suite.h"

START_TEST(test_append)
{
    struct buf buf = {0};
    buf_append(&buf, NULL, 0);
    ck_assert_ptr_null(buf.at);
    ck_assert_uint_eq(buf_slice(&buf).len, 0);
    for (size_t i = 0; i < 3000; i++) {
        uint8_t byte = (uint8_t)i;
        buf_append(&buf, &byte, 1);
        ck_assert_uint_le(buf.len, buf.capacity);
    }
    buf_append_slice(&buf, SLICE("end"));
    ck_assert_uint_eq(buf.len, 3003);
    for (size_t i = 0; i < 3000; i++)
        ck_assert_uint_eq(buf.at[i], i & 0xFF);
    ck_assert(slice_is(slice_of(buf.at + 3000, 3), "end"));
    buf_free(&buf);
    ck_assert_ptr_null(buf.at);
    ck_assert_uint_eq(buf.capacity, 0);
}
END_TEST

START_TEST(test_reserve)
{
    struct buf buf = {0};
    buf_reserve(&buf, 0);
    uint8_t *at = buf_reserve(&buf, 100000);
    at[0] = 'a', at[99999] = 'z';
    ck_assert_uint_eq(buf.len, 0);
    buf.len = 100000;
    ck_assert_ptr_eq(buf_reserve(&buf, 0), buf.at + 100000);
    ck_assert_uint_eq(buf.at[99999], 'z');
    buf_free(&buf);
}
END_TEST

START_TEST(test_printf)
{
    struct buf buf = {0};
    buf_printf(&buf, "%s-%d", "queue", 7);
    buf_printf(&buf, "%s", "");
    buf_printf(&buf, "%0*d", 200, 1); /* grows */
    ck_assert_uint_eq(buf.len, 207);
    ck_assert(slice_is(slice_of(buf.at, 8), "queue-70"));
    ck_assert_uint_eq(buf.at[206], '1');
    buf_free(&buf);
}
END_TEST

START_TEST(test_consume)
{
    struct buf buf = {0};
    buf_append_slice(&buf, SLICE("hello world"));
    buf_consume(&buf, 0);
    ck_assert(slice_is(buf_slice(&buf), "hello world"));
    buf_consume(&buf, 6);
    ck_assert(slice_is(buf_slice(&buf), "world"));
    buf_consume(&buf, 5);
    ck_assert_uint_eq(buf.len, 0);
    buf_append_slice(&buf, SLICE("again"));
    ck_assert(slice_is(buf_slice(&buf), "again"));
    buf_free(&buf);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("buf");
    TCase *tcase = tcase_create("buf");
    tcase_add_test(tcase, test_append);
    tcase_add_test(tcase, test_reserve);
    tcase_add_test(tcase, test_printf);
    tcase_add_test(tcase, test_consume);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
