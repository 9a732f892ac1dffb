/* test_group.c - what of a message names its group. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/table.h"
#include "queue/group.h"
#include "queue/kind.h"
#include "tests/unit/suite.h"

static struct slab_pool pool;
static uint8_t room[GROUP_NAME_MAX];

static struct group_by by_of(const char *text)
{
    struct group_by by;
    ck_assert_msg(group_by_parse(slice_of_string(text), &by), "%s", text);
    return by;
}

START_TEST(test_arguments)
{
    static const char *const wrong[] = {"",       "header",            "header:",      "property:",
                                        "tenant", "property:priority", "routing-keys", "property:type "};
    struct group_by by;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++)
        ck_assert_msg(!group_by_parse(slice_of_string(wrong[i]), &by), "%s", wrong[i]);
    ck_assert(!group_by_parse(SLICE("header:a\0b"), &by));
    ck_assert_int_eq(by_of("routing-key").source, GROUP_BY_KEY);
    ck_assert_int_eq(by_of("property:user-id").property, PROP_user_id);
    by = by_of("header:x:y");
    ck_assert(slice_is(by.header, "x:y"));
}
END_TEST

START_TEST(test_kind)
{
    struct buf args = {0};
    table_put_string(&args, "x-group-by", SLICE("routing-key"));
    struct kind kind = kind_of_args(buf_slice(&args));
    ck_assert(kind.ordering == KIND_GROUPS && kind.group_max == GROUP_MAX_DEFAULT);
    table_put_string(&args, "x-queue-type", SLICE("quorum"));
    table_put_int(&args, "x-group-max", 7);
    kind = kind_of_args(buf_slice(&args));
    ck_assert(kind.ordering == KIND_GROUPS && kind.group_max == 7 && kind.type == KIND_QUORUM);
    ck_assert_int_eq(kind_of_args(SLICE("")).ordering, KIND_FIFO);
    buf_free(&args);
}
END_TEST

/* The name that a message with these properties has. */
static void expect_name(const char *text, const struct props *props, struct slice name)
{
    struct group_by by = by_of(text);
    struct buf bytes = {0};
    slab_pool_init(&pool);
    props_encode(&bytes, props);
    struct message *m = message_new(&pool, SLICE("x"), SLICE("the.key"), buf_slice(&bytes), 0);
    struct slice found = group_of(&by, m, room);
    ck_assert_msg(slice_equal(found, name), "%s: '%.*s'", text, SLICE_ARG(found));
    message_unref(&pool, &m);
    slab_pool_free(&pool);
    buf_free(&bytes);
}

START_TEST(test_names)
{
    struct buf headers = {0};
    table_put_string(&headers, "tenant", SLICE("a"));
    table_put_int(&headers, "number", -5);
    table_put_bool(&headers, "flag", true);
    table_put_string(&headers, "empty", SLICE(""));
    struct props props = {.flags = PROP_headers | PROP_app_id | PROP_message_id,
                          .headers = buf_slice(&headers),
                          .app_id = SLICE("app"),
                          .message_id = SLICE("id")};
    expect_name("routing-key", &props, SLICE("the.key"));
    expect_name("header:tenant", &props, SLICE("a"));
    expect_name("header:number", &props, SLICE("-5"));
    expect_name("header:flag", &props, SLICE(""));
    expect_name("header:empty", &props, SLICE(""));
    expect_name("header:other", &props, SLICE(""));
    expect_name("property:app-id", &props, SLICE("app"));
    expect_name("property:message-id", &props, SLICE("id"));
    expect_name("property:type", &props, SLICE(""));
    expect_name("header:tenant", &(struct props){0}, SLICE(""));
    buf_free(&headers);
}
END_TEST

/* Long names differ by what is cut off, too. */
START_TEST(test_long_names)
{
    char text[600];
    uint8_t names[2][GROUP_NAME_MAX];
    slab_pool_init(&pool);
    memset(text, 'a', sizeof(text));
    for (int i = 0; i < 2; i++) {
        struct group_by by = by_of("header:k");
        struct buf headers = {0}, bytes = {0};
        text[sizeof(text) - 1] = (char)('a' + i);
        table_put_string(&headers, "k", slice_of(text, sizeof(text)));
        props_encode(&bytes, &(struct props){.flags = PROP_headers, .headers = buf_slice(&headers)});
        struct message *m = message_new(&pool, SLICE(""), SLICE(""), buf_slice(&bytes), 0);
        struct slice name = group_of(&by, m, room);
        ck_assert_uint_eq(name.len, GROUP_NAME_MAX);
        memcpy(names[i], name.at, name.len);
        message_unref(&pool, &m);
        buf_free(&headers);
        buf_free(&bytes);
    }
    ck_assert(memcmp(names[0], names[1], GROUP_NAME_MAX) != 0);
    slab_pool_free(&pool);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("group");
    TCase *tests = tcase_create("group");
    tcase_add_test(tests, test_arguments);
    tcase_add_test(tests, test_kind);
    tcase_add_test(tests, test_names);
    tcase_add_test(tests, test_long_names);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
