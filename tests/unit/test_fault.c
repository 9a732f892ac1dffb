/* test_fault.c - what a client is told when it is wrong. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/fault.h"
#include "tests/unit/suite.h"

START_TEST(the_text_begins_with_the_name_of_the_code)
{
    struct fault f = {.class_id = 9, .method_id = 9};
    ck_assert(!fault(&f, NOT_FOUND, "no queue '%s' in vhost '%s'", "q", "/"));
    ck_assert_int_eq(f.code, 404);
    ck_assert_str_eq(f.text, "NOT_FOUND - no queue 'q' in vhost '/'");
    ck_assert_uint_eq(f.class_id, 9); /* the dispatcher's, kept */
    ck_assert_uint_eq(f.method_id, 9);
}
END_TEST

START_TEST(a_text_of_255_bytes_stays_whole)
{
    char detail[256] = "";
    struct fault f;
    memset(detail, 'x', FAULT_TEXT_MAX - strlen("NOT_FOUND - "));
    fault(&f, NOT_FOUND, "%s", detail);
    ck_assert_uint_eq(strlen(f.text), FAULT_TEXT_MAX);
    ck_assert_str_eq(f.text + strlen("NOT_FOUND - "), detail);
}
END_TEST

/* K34: a reply text is a short string. */
START_TEST(a_longer_text_is_cut)
{
    char detail[1000];
    struct fault f;
    memset(detail, 'x', sizeof(detail) - 1);
    detail[sizeof(detail) - 1] = 0;
    fault(&f, ACCESS_REFUSED, "%s", detail);
    ck_assert_uint_eq(strlen(f.text), FAULT_TEXT_MAX);
    ck_assert_str_eq(f.text + FAULT_TEXT_MAX - 5, "xx...");
}
END_TEST

/* Characters of 2, 3 and 4 octets at every distance from the cut: none is split, none is lost needlessly. */
START_TEST(a_character_is_not_split)
{
    static const char *const characters[] = {"\xC3\xA9", "\xED\x95\x9C", "\xF0\x9F\x90\x87"};
    for (size_t c = 0; c < 3; c++)
        for (size_t lead = 0; lead < 4; lead++) {
            char detail[600] = "aaaa";
            size_t size = strlen(characters[c]), len = lead;
            while (len < 400)
                memcpy(detail + len, characters[c], size + 1), len += size;
            struct fault f;
            fault(&f, NOT_FOUND, "%s", detail);
            size_t text = strlen(f.text) - strlen("..."), start = strlen("NOT_FOUND - ") + lead;
            ck_assert_uint_eq((text - start) % size, 0);
            ck_assert_str_eq(f.text + text, "...");
            ck_assert_uint_le(text, FAULT_TEXT_MAX - 3);
            ck_assert_uint_gt(text + size, FAULT_TEXT_MAX - 3);
        }
}
END_TEST

START_TEST(octets_that_are_no_characters_are_cut_anywhere)
{
    char detail[600];
    struct fault f;
    memset(detail, 0x80, sizeof(detail) - 1);
    detail[sizeof(detail) - 1] = 0;
    fault(&f, NOT_FOUND, "%s", detail);
    ck_assert_uint_eq(strlen(f.text), FAULT_TEXT_MAX);
}
END_TEST

/* What is quoted may be a client's octets, and a reply text is a short string of UTF-8. */
START_TEST(octets_that_are_no_characters_are_replaced)
{
    struct fault f;
    fault(&f, NOT_FOUND, "'%s'", "a\xff\xc3\xbc\xc3 \xed\xa0\x80\xf0\x9f\x90\x87\xf0\x9f\x90");
    ck_assert_str_eq(f.text, "NOT_FOUND - 'a?\xc3\xbc? ???\xf0\x9f\x90\x87???" "'");
}
END_TEST

START_TEST(codes_have_names)
{
    ck_assert_str_eq(reply_code_name(CONTENT_TOO_LARGE), "CONTENT_TOO_LARGE");
    ck_assert_str_eq(reply_code_name(PRECONDITION_FAILED), "PRECONDITION_FAILED");
    ck_assert_str_eq(reply_code_name((enum reply_code)541), "INTERNAL_ERROR");
    ck_assert_str_eq(reply_code_name((enum reply_code)200), "UNKNOWN");
}
END_TEST

START_TEST(a_hard_code_closes_the_connection)
{
    static const int soft[] = {311, 312, 313, 403, 404, 405, 406};
    static const int hard[] = {320, 402, 501, 502, 503, 504, 505, 506, 530, 540, 541};
    for (size_t i = 0; i < sizeof(soft) / sizeof(soft[0]); i++)
        ck_assert(!reply_code_is_hard((enum reply_code)soft[i]));
    for (size_t i = 0; i < sizeof(hard) / sizeof(hard[0]); i++)
        ck_assert(reply_code_is_hard((enum reply_code)hard[i]));
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("fault");
    TCase *t = tcase_create("fault");
    tcase_add_test(t, the_text_begins_with_the_name_of_the_code);
    tcase_add_test(t, a_text_of_255_bytes_stays_whole);
    tcase_add_test(t, a_longer_text_is_cut);
    tcase_add_test(t, octets_that_are_no_characters_are_replaced);
    tcase_add_test(t, a_character_is_not_split);
    tcase_add_test(t, octets_that_are_no_characters_are_cut_anywhere);
    tcase_add_test(t, codes_have_names);
    tcase_add_test(t, a_hard_code_closes_the_connection);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    return suite_run(suite());
}
