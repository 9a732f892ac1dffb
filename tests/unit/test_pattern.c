/* test_pattern.c - patterns of permissions and policies: what they match, and that no pattern can make the
 * match of a name long: the steps are counted, whatever the clock says. */
#include <check.h>
#include <stdlib.h>
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "auth/pattern.h"
#include "base/buf.h"
#include "base/mem.h"
#include "tests/unit/suite.h"

static bool matches(const char *source, struct slice name)
{
    char error[300];
    struct pattern *pattern = pattern_compile(slice_of_string(source), error, sizeof(error));
    ck_assert_msg(pattern != NULL, "%s", error);
    bool matched = pattern_matches(pattern, name);
    pattern_free(&pattern);
    ck_assert_ptr_null(pattern);
    return matched;
}

static bool matches_text(const char *source, const char *name)
{
    return matches(source, slice_of_string(name));
}

START_TEST(what_matches)
{
    ck_assert(matches_text(".*", "") && matches_text(".*", "a\nb"));
    ck_assert(matches_text("^a", "abc") && !matches_text("^a", "cba") && matches_text("b", "abc"));
    ck_assert(!matches_text("", "a") && matches_text("", ""));
    ck_assert(matches_text("^(gen|amq\\.gen)-.*$", "amq.gen-1") && !matches_text("^A$", "a"));
    ck_assert(matches("^\\x{ff}$", slice_of("\xff", 1))); /* names are bytes */
}
END_TEST

START_TEST(what_is_none)
{
    static const char *const wrong[] = {"(", "[a", "a{2,1}", "(?P<n>a)(?P<n>b)", "\\C", "(*UTF)a", "*"};
    char error[300];
    for (size_t i = 0; i < array_size(wrong); i++)
        ck_assert_msg(!pattern_compile(slice_of_string(wrong[i]), error, sizeof(error)), "%s", wrong[i]);
    struct slice longest = {mem_zalloc(PATTERN_LENGTH_MAX + 1), PATTERN_LENGTH_MAX + 1};
    ck_assert_ptr_null(pattern_compile(longest, error, sizeof(error)));
    ck_assert_ptr_nonnull(strstr(error, "longer than the 4096 allowed"));
    slice_free(&longest);
}
END_TEST

/* Each backtracks without end on a name of 255 bytes. */
static const char *const catastrophic[] = {
    "^(a+)+$",
    "^(a|aa)+$",
    "^(a|a?)+$",
    "^(.*a){25}$",
    "^(([a-z])+.)+[A-Z]([a-z])+$",
    "^(?:a?){255}a{255}b$",
    "(?=(a+)+$)b|^(a+)*b",
    "^((a*)*)*$b",
    "^(a?a?a?a?a?a?a?a?)*c",
};

static uint8_t name_bytes[255];

static struct slice long_name(void)
{
    memset(name_bytes, 'a', sizeof(name_bytes));
    name_bytes[254] = '!';
    return slice_of(name_bytes, sizeof(name_bytes));
}

/* What PCRE2 says of it with these limits. */
static int verdict(const char *source, struct slice name, uint32_t steps, uint32_t heap_kb)
{
    int number;
    PCRE2_SIZE offset;
    pcre2_code *code = pcre2_compile((PCRE2_SPTR)source, PCRE2_ZERO_TERMINATED, 0, &number, &offset, NULL);
    ck_assert_ptr_nonnull(code);
    pcre2_match_context *limits = pcre2_match_context_create(NULL);
    pcre2_match_data *data = pcre2_match_data_create(1, NULL);
    pcre2_set_match_limit(limits, steps);
    pcre2_set_depth_limit(limits, steps);
    pcre2_set_heap_limit(limits, heap_kb);
    int found = pcre2_match(code, name.at, name.len, 0, 0, data, limits);
    pcre2_match_data_free(data);
    pcre2_match_context_free(limits);
    pcre2_code_free(code);
    return found;
}

/* With pattern.c's limits the match is cut off, and a hundred times as many steps would not have been
 * enough; for the user that is: no. */
START_TEST(catastrophic_ones_end)
{
    struct slice name = long_name();
    int cut_off = 0;
    for (size_t i = 0; i < array_size(catastrophic); i++) {
        int found = verdict(catastrophic[i], name, PATTERN_STEPS_MAX, PATTERN_HEAP_KB_MAX);
        ck_assert_msg(found < 0, "%s matches", catastrophic[i]);
        ck_assert(!matches(catastrophic[i], name));
        if (found == PCRE2_ERROR_MATCHLIMIT || found == PCRE2_ERROR_HEAPLIMIT) {
            int more = verdict(catastrophic[i], name, 100 * PATTERN_STEPS_MAX, 100 * PATTERN_HEAP_KB_MAX);
            ck_assert_int_eq(more, PCRE2_ERROR_MATCHLIMIT);
            cut_off++;
        }
    }
    ck_assert_int_ge(cut_off, 5);
}
END_TEST

/* The match is left to pattern.c: whether it was given up. */
static bool given_up(const char *source, struct slice name, bool *matched)
{
    char error[300];
    struct pattern *pattern = pattern_compile(slice_of_string(source), error, sizeof(error));
    ck_assert_msg(pattern != NULL, "%s", error);
    *matched = pattern_matches(pattern, name);
    bool gave_up = pattern_gave_up(pattern);
    pattern_free(&pattern);
    return gave_up;
}

/* Just as many steps as PATTERN_STEPS_MAX, where PCRE2 itself would take a hundred times as many. */
START_TEST(steps_are_counted)
{
    static const char source[] = "^(a+)+$";
    int within = 0, beyond = 0;
    bool matched;
    for (size_t length = 5; length < 25; length++) {
        struct slice name = slice_of(long_name().at + 255 - length, length);
        int found = verdict(source, name, PATTERN_STEPS_MAX, PATTERN_HEAP_KB_MAX);
        bool gave_up = given_up(source, name, &matched);
        ck_assert(!matched);
        ck_assert_int_eq(gave_up, found == PCRE2_ERROR_MATCHLIMIT);
        within += found == PCRE2_ERROR_NOMATCH;
        beyond += gave_up && verdict(source, name, 100 * PATTERN_STEPS_MAX, 100 * PATTERN_HEAP_KB_MAX) ==
                                 PCRE2_ERROR_NOMATCH;
    }
    ck_assert_int_ge(within, 5);
    ck_assert_int_ge(beyond, 3);
}
END_TEST

/* Few steps, but each keeps 500 groups: it would match, with more memory. */
START_TEST(memory_is_counted)
{
    struct buf source = {0};
    bool matched;
    buf_printf(&source, "^");
    for (int i = 0; i < 500; i++)
        buf_printf(&source, "()");
    buf_printf(&source, "(a|b)*!");
    buf_append(&source, "", 1);
    const char *text = (const char *)source.at;
    ck_assert_int_eq(verdict(text, long_name(), PATTERN_STEPS_MAX, PATTERN_HEAP_KB_MAX),
                     PCRE2_ERROR_HEAPLIMIT);
    ck_assert_int_ge(verdict(text, long_name(), PATTERN_STEPS_MAX, 20 * PATTERN_HEAP_KB_MAX), 0);
    ck_assert(given_up(text, long_name(), &matched));
    ck_assert(!matched);
    buf_free(&source);
}
END_TEST

/* A limit within the pattern can only lower them. */
START_TEST(patterns_do_not_raise_the_limits)
{
    ck_assert(!matches("(*LIMIT_MATCH=4000000000)(*LIMIT_HEAP=4000000)^(a+)+$", long_name()));
    ck_assert(matches("^a+!$", long_name()) && !matches("(*LIMIT_MATCH=1)^(a|b)+!$", long_name()));
}
END_TEST

START_TEST(recursion_ends)
{
    char nested[600];
    size_t at = 0;
    for (int i = 0; i < 250; i++)
        nested[at++] = '(';
    nested[at++] = 'a';
    for (int i = 0; i < 250; i++)
        nested[at++] = ')';
    nested[at] = 0;
    char error[300];
    struct pattern *pattern = pattern_compile(slice_of_string(nested), error, sizeof(error));
    if (pattern) { /* PCRE2's own limit of nesting is 250 */
        ck_assert(pattern_matches(pattern, SLICE("a")));
        pattern_free(&pattern);
    }
    ck_assert(!matches("^(a(?1)?b|c)$", long_name()));
    ck_assert(!matches("^(?R)?a", SLICE("b")));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("pattern");
    TCase *tcase = tcase_create("pattern");
    tcase_add_test(tcase, what_matches);
    tcase_add_test(tcase, what_is_none);
    tcase_add_test(tcase, catastrophic_ones_end);
    tcase_add_test(tcase, steps_are_counted);
    tcase_add_test(tcase, memory_is_counted);
    tcase_add_test(tcase, patterns_do_not_raise_the_limits);
    tcase_add_test(tcase, recursion_ends);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
