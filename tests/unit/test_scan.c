/* test_scan.c - the load tool's frame scanner: every way of cutting the input gives the same events. */
#include <check.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/mem.h"
#include "protocol/frame.h"
#include "protocol/method.h"
#include "tests/unit/suite.h"
#include "tools/perf/scan.h"

enum { FRAME_MAX = 4096 };

static struct buf in;

static void teardown(void)
{
    buf_free(&in);
}

static void put_frame(enum frame_type type, struct slice payload)
{
    uint8_t *at = buf_reserve(&in, payload.len + FRAME_OVERHEAD);
    at = frame_write_head(at, type, 1, (uint32_t)payload.len);
    memcpy(at, payload.at, payload.len);
    at[payload.len] = FRAME_END;
    in.len += payload.len + FRAME_OVERHEAD;
}

static void put_method(const struct method *m)
{
    uint8_t bytes[512];
    struct writer w = writer_of(bytes, sizeof(bytes));
    method_encode(&w, m);
    ck_assert(!w.bad);
    put_frame(FRAME_METHOD, slice_of(bytes, (size_t)(w.at - bytes)));
}

/* Header and body, the body in frames of at most `part` bytes. */
static void put_content(size_t size, size_t part)
{
    uint8_t header[14] = {0, 60}, body[2000];
    header[10] = (uint8_t)(size >> 8), header[11] = (uint8_t)size;
    for (size_t i = 0; i < sizeof(body); i++)
        body[i] = (uint8_t)i;
    put_frame(FRAME_HEADER, slice_of(header, sizeof(header)));
    for (size_t done = 0; done < size; done += part)
        put_frame(FRAME_BODY, slice_of(body + done, size - done < part ? size - done : part));
}

static void put_deliver(uint64_t tag, bool redelivered, size_t size, size_t part)
{
    struct method m = {.id = METHOD_basic_deliver,
                       .basic_deliver = {.consumer_tag = SLICE("q12"), .delivery_tag = tag,
                                         .redelivered = redelivered, .exchange = SLICE("amq.topic"),
                                         .routing_key = SLICE("a.b")}};
    put_method(&m);
    put_content(size, part);
}

static void check_delivery(const struct scan_event *e, uint64_t tag, bool redelivered, size_t size)
{
    ck_assert_uint_eq(e->tag, tag);
    ck_assert_uint_eq(e->queue, 12);
    ck_assert_int_eq(e->redelivered, redelivered);
    ck_assert_uint_eq(e->body_size, size);
    ck_assert_uint_eq(e->prefix_len, size < SCAN_PREFIX_MAX ? size : SCAN_PREFIX_MAX);
    for (uint8_t i = 0; i < e->prefix_len; i++)
        ck_assert_uint_eq(e->prefix[i], i);
}

static void put_everything(void)
{
    struct method ack = {.id = METHOD_basic_ack, .basic_ack = {.delivery_tag = 77, .multiple = true}};
    struct method nack = {.id = METHOD_basic_nack, .basic_nack = {.delivery_tag = 78, .requeue = true}};
    struct method returned = {.id = METHOD_basic_return, .basic_return = {.reply_code = 312}};
    struct method ok = {.id = METHOD_basic_qos_ok};
    put_deliver(1, false, 16, 4000);
    put_frame(FRAME_HEARTBEAT, slice_of("", 0));
    put_method(&ack);
    put_deliver(2, true, 0, 1);
    put_deliver(UINT64_C(1) << 40, false, 1000, 7);
    put_method(&nack);
    put_method(&returned);
    put_content(5, 5);
    put_method(&ok);
    put_deliver(4, false, 17, 16);
}

static void check_event(int number, enum scan_status status, const struct scan_event *e)
{
    static const enum scan_status expected[] = {SCAN_DELIVER, SCAN_CONFIRM, SCAN_DELIVER, SCAN_DELIVER,
                                                SCAN_CONFIRM, SCAN_RETURN, SCAN_METHOD, SCAN_DELIVER};
    ck_assert_int_lt(number, (int)array_size(expected));
    ck_assert_int_eq(status, expected[number]);
    if (number == 0)
        check_delivery(e, 1, false, 16);
    else if (number == 1)
        ck_assert(e->tag == 77 && e->multiple && !e->nack);
    else if (number == 2)
        check_delivery(e, 2, true, 0);
    else if (number == 3)
        check_delivery(e, UINT64_C(1) << 40, false, 1000);
    else if (number == 4)
        ck_assert(e->tag == 78 && !e->multiple && e->nack);
    else if (number == 5)
        ck_assert_uint_eq(e->body_size, 5);
    else if (number == 6)
        ck_assert_uint_eq(e->payload.len, 4);
    else
        check_delivery(e, 4, false, 17);
}

/* Gives the input in steps of `step` bytes, in memory that ends where the step ends. */
static void scan_in_steps(size_t step)
{
    struct scan scan = {.frame_max = FRAME_MAX};
    struct scan_event e;
    struct buf kept = {0};
    int events = 0;
    for (size_t at = 0; at < in.len; at += step) {
        size_t part = in.len - at < step ? in.len - at : step;
        buf_append(&kept, in.at + at, part);
        uint8_t *exact = mem_copy(kept.at, kept.len);
        scan.at = exact;
        scan.end = exact + kept.len;
        enum scan_status status;
        while ((status = scan_next(&scan, &e)) != SCAN_MORE)
            check_event(events++, status, &e);
        buf_consume(&kept, (size_t)(scan.at - exact));
        mem_free(exact);
    }
    ck_assert_int_eq(events, 8);
    ck_assert_uint_eq(kept.len, 0);
    buf_free(&kept);
}

START_TEST(test_every_cut_gives_the_same_events)
{
    put_everything();
    for (size_t step = 1; step < 300; step++)
        scan_in_steps(step);
    scan_in_steps(in.len);
}
END_TEST

static enum scan_status scan_all(void)
{
    struct scan scan = {.at = in.at, .end = in.at + in.len, .frame_max = FRAME_MAX};
    struct scan_event e;
    enum scan_status status;
    do
        status = scan_next(&scan, &e);
    while (status != SCAN_MORE && status != SCAN_BAD);
    return status;
}

START_TEST(test_wrong_end_octets_are_bad)
{
    put_deliver(1, false, 16, 16);
    ck_assert_int_eq(scan_all(), SCAN_MORE);
    for (size_t i = 0; i < in.len; i++) {
        if (in.at[i] != FRAME_END)
            continue;
        in.at[i] = 0;
        ck_assert_int_eq(scan_all(), SCAN_BAD);
        in.at[i] = FRAME_END;
    }
}
END_TEST

START_TEST(test_content_out_of_place_is_bad)
{
    put_content(5, 5);
    ck_assert_int_eq(scan_all(), SCAN_BAD);
    in.len = 0;
    put_deliver(1, false, 0, 1);
    put_frame(FRAME_BODY, SLICE("more"));
    ck_assert_int_eq(scan_all(), SCAN_BAD);
    in.len = 0;
    put_deliver(1, false, 10, 3);
    in.at[in.len - FRAME_OVERHEAD - 1 + 6]++; /* the last body frame's size */
    ck_assert_int_eq(scan_all(), SCAN_BAD);
}
END_TEST

START_TEST(test_too_large_frame_is_bad_at_once)
{
    uint8_t head[8] = {FRAME_METHOD, 0, 1, 0, 1, 0, 0, 0};
    buf_append(&in, head, sizeof(head));
    ck_assert_int_eq(scan_all(), SCAN_BAD);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("scan");
    TCase *tests = tcase_create("scan");
    tcase_add_checked_fixture(tests, NULL, teardown);
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, test_every_cut_gives_the_same_events);
    tcase_add_test(tests, test_wrong_end_octets_are_bad);
    tcase_add_test(tests, test_content_out_of_place_is_bad);
    tcase_add_test(tests, test_too_large_frame_is_bad_at_once);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
