/* test_headers.c - the rules of the headers exchange (semantics 1.3, K55-K58). */
#include "tests/unit/world.h"

static struct world world;
static struct exchange *x;
static struct dest *q;
static struct buf want, have; /* a binding's arguments, a message's headers */

static void setup(void)
{
    world_init(&world);
    x = world_exchange(&world, "x", "headers");
    q = world_queue(&world, "q");
    want = have = (struct buf){0};
}

static void teardown(void)
{
    world_free(&world);
    buf_free(&want);
    buf_free(&have);
}

/* Whether a binding with the arguments in `want` lets a message with the headers in `have` through.
 * Both are empty afterwards. */
static bool passes(void)
{
    struct binding *b = world_bind_with(&world, x, q, "", buf_slice(&want));
    bool passed = strcmp(world_route_headers(&world, x, buf_slice(&have)), "q") == 0;
    world_unbind(&world, b);
    want.len = have.len = 0;
    return passed;
}

START_TEST(all_is_the_default)
{
    put_text(&want, "a", "1"), put_text(&want, "b", "2");
    put_text(&have, "a", "1");
    ck_assert(!passes());
    put_text(&want, "a", "1"), put_text(&want, "b", "2");
    put_text(&have, "b", "2"), put_text(&have, "c", "3"), put_text(&have, "a", "1");
    ck_assert(passes());
}
END_TEST

START_TEST(all_wants_every_pair)
{
    put_text(&want, "x-match", "all"), put_text(&want, "a", "1"), put_text(&want, "b", "2");
    put_text(&have, "a", "1"), put_text(&have, "b", "2");
    ck_assert(passes());
    put_text(&want, "a", "1"), put_text(&want, "b", "2"), put_text(&want, "x-match", "all");
    put_text(&have, "a", "1"), put_text(&have, "b", "3");
    ck_assert(!passes());
}
END_TEST

START_TEST(any_wants_one_pair)
{
    put_text(&want, "x-match", "any"), put_text(&want, "a", "1"), put_text(&want, "b", "2");
    put_text(&have, "b", "2"), put_text(&have, "a", "wrong");
    ck_assert(passes());
    put_text(&want, "x-match", "any"), put_text(&want, "a", "1"), put_text(&want, "b", "2");
    put_text(&have, "a", "2"), put_text(&have, "b", "1"), put_text(&have, "c", "1");
    ck_assert(!passes());
}
END_TEST

START_TEST(without_pairs) /* K55 */
{
    static const char *const all[] = {"all", "all-with-x"}, *const any[] = {"any", "any-with-x"};
    ck_assert(passes()); /* no arguments, no headers */
    for (int i = 0; i < 2; i++) {
        put_text(&want, "x-match", all[i]);
        ck_assert(passes());
        put_text(&want, "x-match", all[i]);
        put_text(&have, "a", "1");
        ck_assert(passes());
        put_text(&want, "x-match", any[i]);
        ck_assert(!passes());
        put_text(&want, "x-match", any[i]);
        put_text(&have, "a", "1"), put_text(&have, "x-match", any[i]);
        ck_assert(!passes());
    }
}
END_TEST

START_TEST(no_headers_meet_no_pair)
{
    put_text(&want, "a", "1");
    ck_assert(!passes());
    put_text(&want, "a", "1"), put_text(&want, "x-match", "any");
    ck_assert(!passes());
    put_void(&want, "a");
    ck_assert(!passes());
}
END_TEST

START_TEST(void_asks_for_presence) /* K56 */
{
    put_void(&want, "a");
    put_text(&have, "a", "anything");
    ck_assert(passes());
    put_void(&want, "a");
    put_void(&have, "a");
    ck_assert(passes());
    put_void(&want, "a");
    put_text(&have, "b", "anything");
    ck_assert(!passes());
    put_void(&want, "a"), put_text(&want, "b", "1"), put_text(&want, "x-match", "any");
    put_raw(&have, "a", 'I', 5, 4);
    ck_assert(passes());
    put_text(&want, "a", "1"); /* void in the message is a value like others */
    put_void(&have, "a");
    ck_assert(!passes());
}
END_TEST

START_TEST(numbers_compare_by_value) /* K57 */
{
    put_raw(&want, "n", 'I', 1, 4);
    put_raw(&have, "n", 'l', 1, 8);
    ck_assert(passes());
    put_raw(&want, "n", 'I', 1, 4);
    put_double(&have, "n", 1.0);
    ck_assert(passes());
    put_double(&want, "n", -3.0);
    put_raw(&have, "n", 'b', 0xFD, 1);
    ck_assert(passes());
    put_decimal(&want, "n", 1, 25);
    put_float(&have, "n", 2.5F);
    ck_assert(passes());
    put_raw(&want, "n", 'I', 1, 4);
    put_text(&have, "n", "1");
    ck_assert(!passes());
    put_raw(&want, "n", 'I', 1, 4);
    put_raw(&have, "n", 't', 1, 1);
    ck_assert(!passes());
    put_raw(&want, "n", 'l', (UINT64_C(1) << 53) + 1, 8); /* not by rounding */
    put_double(&have, "n", 9007199254740992.0);
    ck_assert(!passes());
}
END_TEST

START_TEST(other_types_compare_too)
{
    struct buf a = {0}, b = {0};
    put_raw(&want, "t", 't', 1, 1);
    put_raw(&have, "t", 't', 1, 1);
    ck_assert(passes());
    put_raw(&want, "t", 't', 1, 1);
    put_raw(&have, "t", 't', 0, 1);
    ck_assert(!passes());
    put_raw(&a, "i", 'I', 1, 4), put_text(&a, "s", "x");
    put_text(&b, "s", "x"), put_raw(&b, "i", 'l', 1, 8);
    table_put_table(&want, "f", buf_slice(&a));
    table_put_table(&have, "f", buf_slice(&b));
    ck_assert(passes());
    put_text(&want, "s", "text");
    put_text(&have, "s", "Text");
    ck_assert(!passes());
    buf_free(&a);
    buf_free(&b);
}
END_TEST

START_TEST(names_with_x_are_ignored)
{
    put_text(&want, "x-death", "1"), put_text(&want, "a", "1");
    put_text(&have, "a", "1");
    ck_assert(passes());
    put_text(&want, "x-match", "any"), put_text(&want, "x-death", "1"), put_text(&want, "a", "1");
    put_text(&have, "x-death", "1");
    ck_assert(!passes());
    put_text(&want, "x-only", "1"); /* no pair is left: everything passes */
    ck_assert(passes());
    put_text(&want, "x", "1"), put_text(&want, "X-a", "2"); /* these do not start with "x-" */
    put_text(&have, "x", "1");
    ck_assert(!passes());
}
END_TEST

START_TEST(names_with_x_count_when_asked)
{
    put_text(&want, "x-match", "all-with-x"), put_text(&want, "x-a", "1"), put_text(&want, "b", "2");
    put_text(&have, "b", "2");
    ck_assert(!passes());
    put_text(&want, "x-match", "all-with-x"), put_text(&want, "x-a", "1"), put_text(&want, "b", "2");
    put_text(&have, "b", "2"), put_text(&have, "x-a", "1");
    ck_assert(passes());
    put_text(&want, "x-match", "any-with-x"), put_text(&want, "x-a", "1"), put_text(&want, "b", "2");
    put_text(&have, "x-a", "1");
    ck_assert(passes());
    put_text(&want, "x-match", "any-with-x"), put_text(&want, "b", "2"); /* x-match itself never counts */
    put_text(&have, "x-match", "any-with-x");
    ck_assert(!passes());
}
END_TEST

START_TEST(the_first_of_equal_names_counts)
{
    put_text(&want, "a", "1");
    put_text(&have, "a", "1"), put_text(&have, "a", "2");
    ck_assert(passes());
    put_text(&want, "a", "2");
    put_text(&have, "a", "1"), put_text(&have, "a", "2");
    ck_assert(!passes());
}
END_TEST

static const char *refusal(void)
{
    static struct fault f;
    ck_assert_ptr_null(exchange_bind(x, q, SLICE(""), buf_slice(&want), &f));
    ck_assert_int_eq(f.code, PRECONDITION_FAILED);
    want.len = 0;
    return f.text;
}

START_TEST(other_values_of_x_match_are_refused)
{
    put_text(&want, "x-match", "some");
    ck_assert_str_eq(refusal(), "PRECONDITION_FAILED - Invalid x-match field value <<\"some\">>; "
                                "expected all, any, all-with-x, or any-with-x");
    put_text(&want, "x-match", "");
    refusal();
    put_text(&want, "x-match", "ALL");
    refusal();
    put_text(&want, "x-match", "\xFF\xFE");
    ck_assert(slice_is_utf8(slice_of_string(refusal())));
    put_raw(&want, "x-match", 'I', 1, 4);
    ck_assert_str_eq(refusal(),
                     "PRECONDITION_FAILED - Invalid x-match field type signedint (value 1); "
                     "expected longstr");
    put_void(&want, "x-match");
    refusal();
}
END_TEST

START_TEST(the_key_does_not_matter)
{
    put_text(&want, "a", "1");
    put_text(&have, "a", "1");
    world_bind_with(&world, x, q, "some.key", buf_slice(&want));
    struct slice keys[] = {SLICE("other"), SLICE("more")};
    struct route_input input = {.keys = keys, .key_count = 2, .headers = buf_slice(&have)};
    ck_assert_str_eq(world_route_input(&world, x, &input), "q");
}
END_TEST

/* 'all' hangs on one of its pairs: whichever that is, removing others changes nothing. */
START_TEST(many_bindings_that_share_a_pair)
{
    enum { COUNT = 50 };
    struct binding *bindings[COUNT];
    char names[COUNT][16], user[16];
    for (int i = 0; i < COUNT; i++) {
        want.len = 0;
        snprintf(user, sizeof(user), "u%d", i);
        put_text(&want, "kind", "report"), put_text(&want, "user", user);
        if (i % 3 == 0)
            put_text(&want, "x-match", "any");
        snprintf(names[i], sizeof(names[i]), "q%02d", i);
        bindings[i] = world_bind_with(&world, x, world_queue(&world, names[i]), "", buf_slice(&want));
    }
    put_text(&have, "user", "u7");
    ck_assert_str_eq(world_route_headers(&world, x, buf_slice(&have)), "");
    put_text(&have, "kind", "report");
    for (int i = 0; i < COUNT; i++)
        if (i % 3 == 0 && i != 9)
            world_unbind(&world, bindings[i]);
    ck_assert_str_eq(world_route_headers(&world, x, buf_slice(&have)), "q07 q09");
    world_unbind(&world, bindings[7]);
    ck_assert_str_eq(world_route_headers(&world, x, buf_slice(&have)), "q09");
}
END_TEST

/* 100,000 bindings by value, of which a message looks at one: a walk over all would take minutes. */
START_TEST(a_message_looks_only_at_bindings_that_can_match)
{
    enum { COUNT = 100000 };
    char user[16];
    for (int i = 0; i < COUNT; i++) {
        want.len = 0;
        snprintf(user, sizeof(user), "u%d", i);
        put_text(&want, "kind", "report"), put_text(&want, "user", user);
        if (i % 2)
            put_text(&want, "x-match", "any"), want.len = 0, put_text(&want, "user", user);
        world_bind_with(&world, x, q, "", buf_slice(&want));
    }
    for (int i = 0; i < COUNT; i++) {
        have.len = 0;
        snprintf(user, sizeof(user), "u%d", i);
        put_text(&have, "kind", "report"), put_text(&have, "user", user);
        struct slice keys[] = {SLICE("")};
        struct route_input input = {.keys = keys, .key_count = 1, .headers = buf_slice(&have)};
        expect(route(&world.router, x, &input)->size == 1, "user %d", i);
    }
}
END_TEST

/* A header frame full of names, against a binding that has them all. */
START_TEST(thousands_of_headers)
{
    enum { COUNT = 8000 };
    char name[16];
    for (int i = 0; i < COUNT; i++) {
        snprintf(name, sizeof(name), "h%d", i);
        put_void(&want, name);
        if (i != COUNT / 2)
            put_raw(&have, name, 'B', 1, 1);
    }
    world_bind_with(&world, x, q, "", buf_slice(&want));
    put_text(&want, "x-match", "any");
    world_bind_with(&world, x, world_queue(&world, "any"), "", buf_slice(&want));
    for (int i = 0; i < 10; i++)
        ck_assert_str_eq(world_route_headers(&world, x, buf_slice(&have)), "any");
    snprintf(name, sizeof(name), "h%d", COUNT / 2);
    put_void(&have, name);
    ck_assert_str_eq(world_route_headers(&world, x, buf_slice(&have)), "any q");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("headers");
    TCase *rules = tcase_create("rules");
    tcase_add_checked_fixture(rules, setup, teardown);
    tcase_set_timeout(rules, 60);
    tcase_add_test(rules, all_is_the_default);
    tcase_add_test(rules, all_wants_every_pair);
    tcase_add_test(rules, any_wants_one_pair);
    tcase_add_test(rules, without_pairs);
    tcase_add_test(rules, no_headers_meet_no_pair);
    tcase_add_test(rules, void_asks_for_presence);
    tcase_add_test(rules, numbers_compare_by_value);
    tcase_add_test(rules, other_types_compare_too);
    tcase_add_test(rules, names_with_x_are_ignored);
    tcase_add_test(rules, names_with_x_count_when_asked);
    tcase_add_test(rules, the_first_of_equal_names_counts);
    tcase_add_test(rules, other_values_of_x_match_are_refused);
    tcase_add_test(rules, the_key_does_not_matter);
    tcase_add_test(rules, many_bindings_that_share_a_pair);
    tcase_add_test(rules, a_message_looks_only_at_bindings_that_can_match);
    tcase_add_test(rules, thousands_of_headers);
    suite_add_tcase(suite, rules);
    return suite_run(suite);
}
