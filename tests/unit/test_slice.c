/* test_slice.c - slices: comparing, copying, hashing, and what is UTF-8. */
#include <check.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/slice.h"
#include "tests/unit/suite.h"

START_TEST(test_compare)
{
    const struct {
        struct slice a, b;
        int order;
    } rows[] = {
        {SLICE(""), SLICE(""), 0},       {SLICE("a"), SLICE(""), 1},
        {SLICE("a"), SLICE("b"), -1},    {SLICE("ab"), SLICE("a"), 1},
        {SLICE("ab"), SLICE("b"), -1},   {SLICE("a\0b"), SLICE("a\0c"), -1},
        {SLICE("\xff"), SLICE("a"), 1},  {SLICE("same"), SLICE("same"), 0},
    };
    for (size_t i = 0; i < array_size(rows); i++) {
        int order = slice_compare(rows[i].a, rows[i].b), back = slice_compare(rows[i].b, rows[i].a);
        ck_assert_int_eq((order > 0) - (order < 0), rows[i].order);
        ck_assert_int_eq((back > 0) - (back < 0), -rows[i].order);
        ck_assert_int_eq(slice_equal(rows[i].a, rows[i].b), rows[i].order == 0);
    }
    ck_assert(slice_equal((struct slice){0}, SLICE("")));
    ck_assert_int_eq(slice_compare((struct slice){0}, SLICE("")), 0);
    ck_assert(slice_is(SLICE("abc"), "abc") && !slice_is(SLICE("abc"), "ab"));
    ck_assert(slice_starts_with(SLICE("amq.x"), "amq.") && slice_starts_with(SLICE("a"), ""));
    ck_assert(!slice_starts_with(SLICE("amq"), "amq."));
}
END_TEST

START_TEST(test_copy)
{
    char text[] = "text";
    struct slice copy = slice_copy(slice_of_string(text)), empty = slice_copy((struct slice){0});
    text[0] = 'n';
    ck_assert(slice_is(copy, "text"));
    ck_assert_int_eq(copy.at[4], 0);
    ck_assert_uint_eq(empty.len, 0);
    slice_free(&copy);
    slice_free(&empty);
    ck_assert_ptr_null(copy.at);
}
END_TEST

START_TEST(test_hash)
{
    ck_assert_uint_eq(slice_hash(SLICE("queue"), 1), slice_hash(slice_of_string("queue"), 1));
    ck_assert_uint_ne(slice_hash(SLICE("queue"), 1), slice_hash(SLICE("queue"), 2));
    ck_assert_uint_ne(slice_hash(SLICE("queue"), 1), slice_hash(SLICE("queuf"), 1));
    ck_assert_uint_eq(slice_hash((struct slice){0}, 1), slice_hash(SLICE(""), 1));
}
END_TEST

static size_t encode(uint32_t code, uint8_t *at)
{
    if (code < 0x80)
        return at[0] = (uint8_t)code, 1;
    size_t len = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (size_t i = len - 1; i > 0; i--, code >>= 6)
        at[i] = 0x80 | (code & 0x3F);
    at[0] = (uint8_t)((0xF00 >> len & 0xFF) | code);
    return len;
}

START_TEST(test_utf8_every_code_point)
{
    for (uint32_t code = 0; code < 0x111000; code++) {
        uint8_t bytes[5];
        size_t len = encode(code, bytes);
        bytes[len] = 'x';
        bool valid = code < 0x110000 && (code < 0xD800 || code > 0xDFFF);
        bool right = slice_is_utf8(slice_of(bytes, len)) == valid &&
                     slice_is_utf8(slice_of(bytes, len + 1)) == valid;
        for (size_t cut = 1; cut < len; cut++)
            right = right && !slice_is_utf8(slice_of(bytes, cut));
        if (!right) /* ck_assert itself is too slow to be called so often */
            ck_abort_msg("U+%X", code);
    }
}
END_TEST

START_TEST(test_utf8_table)
{
    const struct {
        struct slice text;
        bool valid;
    } rows[] = {
        {SLICE(""), true},
        {SLICE("a\0b"), true},
        {SLICE("gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x90\x87"), true},
        {SLICE("\x80"), false},             /* continuation alone */
        {SLICE("\xc0\x80"), false},         /* overlong zero */
        {SLICE("\xc1\xbf"), false},         /* overlong */
        {SLICE("\xe0\x9f\xbf"), false},     /* overlong */
        {SLICE("\xf0\x8f\xbf\xbf"), false}, /* overlong */
        {SLICE("\xed\xa0\x80"), false},     /* surrogate */
        {SLICE("\xf4\x90\x80\x80"), false}, /* beyond U+10FFFF */
        {SLICE("\xf5\x80\x80\x80"), false},
        {SLICE("\xff"), false},
        {SLICE("\xe2\x28\xa1"), false},
        {SLICE("\xe2\x82\x28"), false},
        {SLICE("ok\xc3"), false},
    };
    for (size_t i = 0; i < array_size(rows); i++)
        ck_assert_msg(slice_is_utf8(rows[i].text) == rows[i].valid, "row %zu", i);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("slice");
    TCase *tcase = tcase_create("slice");
    tcase_add_test(tcase, test_compare);
    tcase_add_test(tcase, test_copy);
    tcase_add_test(tcase, test_hash);
    tcase_add_test(tcase, test_utf8_every_code_point);
    tcase_add_test(tcase, test_utf8_table);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
