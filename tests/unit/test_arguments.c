/* test_arguments.c - the arguments of declarations: checked, compared by value, and those without effect. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "broker/arguments.h"
#include "protocol/table.h"
#include "tests/unit/suite.h"

static const struct resource what = {"queue", {(const uint8_t *)"q", 1}, {(const uint8_t *)"/", 1}};
static struct buf args, other;
static struct fault f;

static void setup(void)
{
    args = other = (struct buf){0};
    f = (struct fault){0};
}

static void teardown(void)
{
    buf_free(&args);
    buf_free(&other);
}

/* One field with any type: the raw value as on the wire. */
static void put_raw(struct buf *table, const char *name, char type, const char *bytes, size_t size)
{
    uint8_t head[1] = {(uint8_t)strlen(name)};
    buf_append(table, head, 1);
    buf_append_slice(table, slice_of_string(name));
    buf_append(table, &type, 1);
    buf_append(table, bytes, size);
    ck_assert(table_check(buf_slice(table)));
}

static void expect_good(void)
{
    ck_assert_msg(arguments_check_queue(buf_slice(&args), &what, &f), "%s", f.text);
    args.len = 0;
}

static void expect_bad(const char *name, const char *reason)
{
    char text[200];
    ck_assert(!arguments_check_queue(buf_slice(&args), &what, &f));
    snprintf(text, sizeof(text),
             "PRECONDITION_FAILED - invalid arg '%s' for queue 'q' in vhost '/': %s", name, reason);
    ck_assert_int_eq((int)f.code, PRECONDITION_FAILED);
    ck_assert_str_eq(f.text, text);
    args.len = 0;
}

static void check_int(const char *name, int64_t value, const char *wrong)
{
    table_put_int(&args, name, value);
    if (wrong)
        expect_bad(name, wrong);
    else
        expect_good();
}

static void check_text(const char *name, const char *value, const char *wrong)
{
    table_put_string(&args, name, slice_of_string(value));
    if (wrong)
        expect_bad(name, wrong);
    else
        expect_good();
}

START_TEST(test_numbers)
{
    static const struct {
        const char *name;
        int64_t min, max;
    } ranges[] = {
        {"x-message-ttl", 0, 315360000000},    {"x-expires", 1, 315360000000},
        {"x-max-length", 0, INT64_MAX},        {"x-max-length-bytes", 0, INT64_MAX},
        {"x-max-priority", 0, 255},
    };
    for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
        const char *name = ranges[i].name;
        check_int(name, ranges[i].min, NULL);
        check_int(name, ranges[i].max, NULL);
        check_int(name, ranges[i].min - 1, ranges[i].min ? "{value_zero,0}" : "{value_negative,-1}");
        if (ranges[i].max == 255)
            check_int(name, 256, "{max_value_exceeded,256}");
        else if (ranges[i].max < INT64_MAX)
            check_int(name, ranges[i].max + 1, "{value_too_large,315360000001}");
        check_text(name, "5", "\"expected integer, got longstr\"");
        put_raw(&args, name, 'T', "\0\0\0\0\0\0\0\5", 8); /* a time is no number */
        expect_bad(name, "\"expected integer, got timestamp\"");
        put_raw(&args, name, 'b', "\5", 1); /* any width is */
        expect_good();
    }
}
END_TEST

START_TEST(test_texts)
{
    static const char overflows[] = "invalid_overflow";
    check_text("x-overflow", "drop-head", NULL);
    check_text("x-overflow", "reject-publish", NULL);
    check_text("x-overflow", "reject-publish-dlx", NULL);
    check_text("x-overflow", "reject-publish-", overflows);
    check_text("x-overflow", "", overflows);
    check_int("x-overflow", 1, "{unacceptable_type,long}");
    check_text("x-queue-type", "classic", NULL);
    check_text("x-queue-type", "quorum", NULL);
    check_text("x-queue-type", "stream",
               "unsupported queue type 'stream': this version has queues of type 'classic' and 'quorum'");
    check_text("x-queue-type", "zork", "\"unsupported queue type 'zork'\"");
    check_text("x-queue-mode", "lazy", NULL);
    check_text("x-queue-mode", "eager", "\"unsupported queue mode 'eager'\"");
    check_text("x-dead-letter-exchange", "", NULL);
    check_text("x-dead-letter-routing-key", "k", "routing_key_but_no_dlx_defined");
    table_put_string(&args, "x-dead-letter-exchange", SLICE("x"));
    check_text("x-dead-letter-routing-key", "k", NULL);
    table_put_bool(&args, "x-single-active-consumer", true);
    expect_good();
    check_int("x-single-active-consumer", 1, "{unacceptable_type,long}");
    check_int("x-queue-version", 2, NULL);
    check_int("x-queue-version", 0, "\"unsupported queue version '0'\"");
    check_int("x-queue-version", 3, "\"unsupported queue version '3'\"");
    check_text("x-unknown", "anything", NULL);
}
END_TEST

START_TEST(test_compare)
{
    table_put_int(&args, "x-max-length", 1000);
    put_raw(&other, "x-max-length", 'I', "\0\0\3\350", 4);
    ck_assert(arguments_compare_queue(buf_slice(&args), buf_slice(&other), &what, &f));
    table_put_string(&args, "x-unknown", SLICE("not compared"));
    ck_assert(arguments_compare_queue(buf_slice(&args), buf_slice(&other), &what, &f));
    table_put_string(&args, "x-overflow", SLICE("reject-publish"));
    ck_assert(!arguments_compare_queue(buf_slice(&args), buf_slice(&other), &what, &f));
    ck_assert_str_eq(f.text, "PRECONDITION_FAILED - inequivalent arg 'x-overflow' for queue 'q' "
                             "in vhost '/': "
                             "received the value 'reject-publish' of type 'longstr' but current is none");
    ck_assert(!arguments_compare_queue(buf_slice(&other), buf_slice(&args), &what, &f));
    ck_assert_str_eq(f.text, "PRECONDITION_FAILED - inequivalent arg 'x-overflow' for queue 'q' "
                             "in vhost '/': "
                             "received none but current is the value 'reject-publish' of type 'longstr'");
    table_put_string(&other, "x-overflow", SLICE("drop-head"));
    ck_assert(!arguments_compare_queue(buf_slice(&args), buf_slice(&other), &what, &f));
    ck_assert_str_eq(f.text, "PRECONDITION_FAILED - inequivalent arg 'x-overflow' for queue 'q' "
                             "in vhost '/': "
                             "received 'reject-publish' but current is 'drop-head'");
}
END_TEST

START_TEST(test_compare_flag)
{
    ck_assert(arguments_compare_flag("durable", true, true, &what, &f));
    ck_assert(!arguments_compare_flag("durable", true, false, &what, &f));
    ck_assert_str_eq(f.text, "PRECONDITION_FAILED - inequivalent arg 'durable' for queue 'q' in vhost '/': "
                             "received 'true' but current is 'false'");
}
END_TEST

static void expect_without_effect(const char *name)
{
    const char *found = arguments_without_effect(buf_slice(&args));
    if (name)
        ck_assert_pstr_eq(found, name);
    else
        ck_assert_ptr_null(found);
}

START_TEST(test_without_effect)
{
    expect_without_effect(NULL);
    table_put_int(&args, "x-max-length", 5);
    table_put_int(&args, "x-max-length-bytes", 5);
    table_put_string(&args, "x-queue-type", SLICE("classic"));
    table_put_string(&args, "x-unknown", SLICE("not ours"));
    expect_without_effect(NULL);
    size_t before = args.len;
    table_put_string(&args, "x-overflow", SLICE("reject-publish"));
    expect_without_effect(NULL);
    args.len = before;
    table_put_string(&args, "x-overflow", SLICE("drop-head"));
    expect_without_effect(NULL);
    args.len = before;
    table_put_string(&args, "x-overflow", SLICE("reject-publish-dlx"));
    table_put_string(&args, "x-dead-letter-exchange", SLICE("x"));
    expect_without_effect(NULL);
    table_put_string(&args, "x-queue-mode", SLICE("lazy"));
    expect_without_effect("x-queue-mode");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("arguments");
    TCase *tcase = tcase_create("arguments");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, test_numbers);
    tcase_add_test(tcase, test_texts);
    tcase_add_test(tcase, test_compare);
    tcase_add_test(tcase, test_compare_flag);
    tcase_add_test(tcase, test_without_effect);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
