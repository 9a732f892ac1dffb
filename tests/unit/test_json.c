/* test_json.c - tables to JSON and back. */
#include <check.h>
#include <stdlib.h>

#include "broker/json_in.h"
#include "broker/json_out.h"
#include "protocol/table.h"
#include "tests/unit/suite.h"

static void expect_text(const char *bytes, size_t len, const char *expected)
{
    struct buf out = {0};
    json_out_text(&out, slice_of(bytes, len));
    buf_append(&out, "", 1);
    ck_assert_str_eq((const char *)out.at, expected);
    buf_free(&out);
}

START_TEST(texts_are_escaped)
{
    expect_text("", 0, "\"\"");
    expect_text("a\"b\\c\n\t\r\b\f", 10, "\"a\\\"b\\\\c\\n\\t\\r\\b\\f\"");
    expect_text("\0\x01\x1f\x7f", 4, "\"\\u0000\\u0001\\u001f\\u007f\"");
    expect_text("\xed\x95\x9c!", 4, "\"\xed\x95\x9c!\"");
    expect_text("\xff\xc3", 2, "\"\xef\xbf\xbd\xef\xbf\xbd\"");
    expect_text("\xed\xa0\x80", 3, "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""); /* a surrogate */
}
END_TEST

/* JSON -> table -> JSON is the same, and a JSON parser agrees. */
static void expect_same(const char *text)
{
    char error[256];
    const char *reason = "";
    struct buf table = {0}, out = {0};
    json_t *value = json_in_parse(slice_of_string(text), error, sizeof(error));
    ck_assert_msg(value, "%s", error);
    ck_assert_msg(json_in_table(value, &table, &reason), "%s", reason);
    ck_assert(table_check(buf_slice(&table)));
    json_out_table(&out, buf_slice(&table));
    json_t *again = json_in_parse(buf_slice(&out), error, sizeof(error));
    ck_assert_msg(again && json_equal(value, again), "%s became %.*s", text, SLICE_ARG(buf_slice(&out)));
    json_decref(value);
    json_decref(again);
    buf_free(&table);
    buf_free(&out);
}

START_TEST(tables_come_back)
{
    expect_same("{}");
    expect_same(
        "{\"a\":1,\"b\":-9223372036854775808,\"c\":9223372036854775807,\"d\":1.5,\"e\":true,\"f\":false}");
    expect_same(
        "{\"n\":null,\"s\":\"text\",\"l\":[1,\"a\",[],{},{\"x\":[null]}],\"t\":{\"t\":{\"t\":1e300}}}");
    expect_same("{\"\":\"\",\"\\u00e9\":\"\\ud83d\\ude00\"}");
}
END_TEST

static void put_field(struct buf *table, const char *name, size_t len, int64_t value)
{
    uint8_t head[] = {(uint8_t)len}, field[9] = {'l', [8] = (uint8_t)value};
    buf_append(table, head, 1);
    buf_append(table, name, len);
    buf_append(table, field, sizeof(field));
}

static void expect_json(struct buf *table, const char *json)
{
    struct buf out = {0};
    ck_assert(table_check(buf_slice(table)));
    json_out_table(&out, buf_slice(table));
    buf_append(&out, "", 1);
    ck_assert_str_eq((const char *)out.at, json);
    buf_free(&out);
    buf_free(table);
}

/* Tables may be what no JSON can be: it is read by programs that do not forgive. */
START_TEST(every_name_stands_once)
{
    struct buf table = {0};
    put_field(&table, "a", 1, 1);
    put_field(&table, "b", 1, 2);
    put_field(&table, "a", 1, 3);
    put_field(&table, "", 0, 4);
    put_field(&table, "b", 1, 5);
    put_field(&table, "", 0, 6);
    expect_json(&table, "{\"a\":1,\"b\":2,\"\":4}");
    put_field(&table, "x\0y", 3, 1);
    expect_json(&table, "{\"x\xef\xbf\xbdy\":1}");
    put_field(&table, "\xc3\xbc\xff\xc3", 4, 1);
    expect_json(&table, "{\"\xc3\xbc\xef\xbf\xbd\xef\xbf\xbd\":1}");
    char name[255], json[300] = "{\"";
    memset(name, 0xff, sizeof(name));
    put_field(&table, name, sizeof(name), 1);
    for (int i = 0; i < 85; i++) /* of three bytes each */
        strcat(json, "\xef\xbf\xbd");
    expect_json(&table, strcat(json, "\":1}"));
}
END_TEST

START_TEST(what_is_no_table_is_refused)
{
    char text[1024] = "", error[256];
    const char *reason = NULL;
    struct buf table = {0};
    for (int i = 0; i < 70; i++)
        strcat(text, "{\"a\":");
    strcat(text, "1");
    for (int i = 0; i < 70; i++)
        strcat(text, "}");
    json_t *deep = json_in_parse(slice_of_string(text), error, sizeof(error));
    ck_assert(deep && !json_in_table(deep, &table, &reason));
    ck_assert_ptr_nonnull(reason);
    json_decref(deep);
    json_t *number = json_integer(5);
    ck_assert(!json_in_table(number, &table, &reason));
    json_decref(number);
    char name[300];
    memset(name, 'x', sizeof(name) - 1);
    name[sizeof(name) - 1] = 0;
    json_t *wide = json_object();
    json_object_set_new(wide, name, json_true());
    ck_assert(!json_in_table(wide, &table, &reason));
    json_decref(wide);
    table.len = 0;
    ck_assert(json_in_table(NULL, &table, &reason));
    ck_assert_uint_eq(table.len, 0);
    buf_free(&table);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("json");
    TCase *all = tcase_create("json");
    tcase_add_test(all, texts_are_escaped);
    tcase_add_test(all, tables_come_back);
    tcase_add_test(all, every_name_stands_once);
    tcase_add_test(all, what_is_no_table_is_refused);
    suite_add_tcase(suite, all);
    return suite_run(suite);
}
