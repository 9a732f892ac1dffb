/* test_frame.c - frames: when one is whole, and the faults that end a connection. */
#include <check.h>
#include <stdlib.h>

#include "base/mem.h"
#include "protocol/frame.h"
#include "tests/unit/suite.h"

enum { MAX = 4096 };

static struct frame frame;
static struct fault f;
static size_t used;

static enum frame_status cut(struct slice in)
{
    memset(&f, 0, sizeof(f));
    return frame_cut(in, MAX, &frame, &used, &f);
}

/* A frame of type body on channel 1 with a payload of `size` zero octets; freed by the caller. */
static struct slice body_frame(uint32_t size)
{
    uint8_t *bytes = mem_zalloc(size + FRAME_OVERHEAD);
    frame_write_head(bytes, FRAME_BODY, 1, size)[size] = FRAME_END;
    return slice_of(bytes, size + FRAME_OVERHEAD);
}

START_TEST(a_whole_frame_is_cut_in_place)
{
    struct slice in = SLICE("\x01\x12\x34\0\0\0\x03" "abc\xCE" "next");
    ck_assert_int_eq(cut(in), FRAME_COMPLETE);
    ck_assert_int_eq(frame.type, FRAME_METHOD);
    ck_assert_uint_eq(frame.channel, 0x1234);
    ck_assert_ptr_eq(frame.payload.at, in.at + 7);
    ck_assert_uint_eq(frame.payload.len, 3);
    ck_assert_uint_eq(used, 11);
}
END_TEST

START_TEST(what_is_written_can_be_cut)
{
    uint8_t bytes[16];
    uint8_t *payload = frame_write_head(bytes, FRAME_HEADER, 0xABCD, 2);
    ck_assert_ptr_eq(payload, bytes + FRAME_HEAD_SIZE);
    memcpy(payload, "hi\xCE", 3);
    ck_assert_int_eq(cut(slice_of(bytes, 10)), FRAME_COMPLETE);
    ck_assert_int_eq(frame.type, FRAME_HEADER);
    ck_assert_uint_eq(frame.channel, 0xABCD);
    ck_assert(slice_is(frame.payload, "hi"));
}
END_TEST

START_TEST(an_empty_heartbeat_is_a_frame)
{
    ck_assert_int_eq(cut(SLICE("\x08\0\0\0\0\0\0\xCE")), FRAME_COMPLETE);
    ck_assert_int_eq(frame.type, FRAME_HEARTBEAT);
    ck_assert_uint_eq(frame.payload.len, 0);
    ck_assert_uint_eq(used, FRAME_OVERHEAD);
}
END_TEST

START_TEST(a_part_of_a_frame_needs_more_at_every_length)
{
    struct slice in = SLICE("\x01\0\x01\0\0\0\x03" "abc\xCE");
    for (size_t len = 0; len < in.len; len++)
        ck_assert_int_eq(cut(slice_of(in.at, len)), FRAME_NEEDS_MORE);
    ck_assert_int_eq(cut(in), FRAME_COMPLETE);
}
END_TEST

/* K15: RabbitMQ allows eight octets above what frame_max says. */
START_TEST(a_payload_may_be_as_large_as_frame_max)
{
    struct slice in = body_frame(MAX);
    ck_assert_int_eq(cut(in), FRAME_COMPLETE);
    ck_assert_uint_eq(frame.payload.len, MAX);
    slice_free(&in);
}
END_TEST

START_TEST(one_octet_more_is_refused_when_the_head_is_there)
{
    struct slice in = body_frame(MAX + 1);
    ck_assert_int_eq(cut(slice_of(in.at, FRAME_HEAD_SIZE - 1)), FRAME_NEEDS_MORE);
    ck_assert_int_eq(cut(slice_of(in.at, FRAME_HEAD_SIZE)), FRAME_BAD);
    ck_assert_int_eq(f.code, FRAME_ERROR);
    ck_assert_str_eq(f.text, "FRAME_ERROR - type 3, all octets = <<>>: {frame_too_large,4097,4088}");
    slice_free(&in);
}
END_TEST

START_TEST(the_largest_size_there_is_does_not_wrap_around)
{
    ck_assert_int_eq(cut(SLICE("\x03\0\x01\xFF\xFF\xFF\xFF" "abc")), FRAME_BAD);
    ck_assert_int_eq(f.code, FRAME_ERROR);
    struct frame whole;
    size_t size;
    struct slice in = SLICE("\x03\0\x01\xFF\xFF\xFF\xFF" "abc");
    ck_assert_int_eq(frame_cut(in, UINT32_MAX, &whole, &size, &f), FRAME_NEEDS_MORE);
}
END_TEST

/* K16 */
START_TEST(a_wrong_end_octet_is_refused)
{
    ck_assert_int_eq(cut(SLICE("\x01\0\x01\0\0\0\x03\x01\x02\xFF\x00")), FRAME_BAD);
    ck_assert_int_eq(f.code, FRAME_ERROR);
    ck_assert_str_eq(f.text,
                     "FRAME_ERROR - type 1, all octets = <<1,2,255>>: {invalid_frame_end_marker,0}");
}
END_TEST

START_TEST(only_sixteen_octets_are_shown)
{
    struct slice in = body_frame(17);
    memset((uint8_t *)(uintptr_t)in.at + FRAME_HEAD_SIZE, 255, 18);
    ck_assert_int_eq(cut(in), FRAME_BAD);
    ck_assert_str_eq(f.text, "FRAME_ERROR - type 3, first 16 octets = "
                             "<<255,255,255,255,255,255,255,255,255,255,255,255,255,255,255,255>>: "
                             "{invalid_frame_end_marker,255}");
    slice_free(&in);
}
END_TEST

START_TEST(only_four_types_are_known)
{
    uint8_t head[] = {0, 0, 0, 0, 0, 0, 0, FRAME_END};
    for (int type = 0; type < 256; type++) {
        bool known = type == 1 || type == 2 || type == 3 || type == 8;
        head[0] = (uint8_t)type;
        ck_assert_int_eq(cut(slice_of(head, 8)), known ? FRAME_COMPLETE : FRAME_BAD);
        ck_assert_int_eq(f.code, known ? 0 : FRAME_ERROR);
    }
    head[0] = 9;
    cut(slice_of(head, 8));
    ck_assert_str_eq(f.text, "FRAME_ERROR - type 9, all octets = <<>>: unknown_frame");
    struct slice in = SLICE("\x09\0\0\0\0\0\x05hello\xCE");
    for (size_t len = 0; len < in.len; len++) /* its text is to show the octets */
        ck_assert_int_eq(cut(slice_of(in.at, len)), FRAME_NEEDS_MORE);
    ck_assert_int_eq(cut(in), FRAME_BAD);
    ck_assert_str_eq(f.text, "FRAME_ERROR - type 9, all octets = <<\"hello\">>: unknown_frame");
}
END_TEST

START_TEST(a_heartbeat_carries_nothing)
{
    ck_assert_int_eq(cut(SLICE("\x08\0\0\0\0\0\x01z\xCE")), FRAME_BAD);
    ck_assert_int_eq(f.code, FRAME_ERROR);
}
END_TEST

START_TEST(a_head_alone_can_be_read_for_a_body_in_pieces)
{
    uint32_t size = 0;
    ck_assert(frame_head(SLICE("\x03\0\x07\0\0\x10\0"), MAX, &frame, &size, &f));
    ck_assert_int_eq(frame.type, FRAME_BODY);
    ck_assert_uint_eq(frame.channel, 7);
    ck_assert_uint_eq(frame.payload.len, 0);
    ck_assert_uint_eq(size, MAX);
    ck_assert(!frame_head(SLICE("\x03\0\x07\0\0\x10\x01"), MAX, &frame, &size, &f));
    ck_assert_int_eq(f.code, FRAME_ERROR);
    ck_assert(!frame_head(SLICE("\x04\0\x07\0\0\0\0"), MAX, &frame, &size, &f));
    ck_assert_int_eq(f.code, FRAME_ERROR);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("frame");
    TCase *t = tcase_create("frame");
    tcase_add_test(t, a_whole_frame_is_cut_in_place);
    tcase_add_test(t, what_is_written_can_be_cut);
    tcase_add_test(t, an_empty_heartbeat_is_a_frame);
    tcase_add_test(t, a_part_of_a_frame_needs_more_at_every_length);
    tcase_add_test(t, a_payload_may_be_as_large_as_frame_max);
    tcase_add_test(t, one_octet_more_is_refused_when_the_head_is_there);
    tcase_add_test(t, the_largest_size_there_is_does_not_wrap_around);
    tcase_add_test(t, a_wrong_end_octet_is_refused);
    tcase_add_test(t, only_sixteen_octets_are_shown);
    tcase_add_test(t, only_four_types_are_known);
    tcase_add_test(t, a_heartbeat_carries_nothing);
    tcase_add_test(t, a_head_alone_can_be_read_for_a_body_in_pieces);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    return suite_run(suite());
}
