/* test_wire.c - AMQP's data types on the wire, octet by octet. */
#include <check.h>
#include <signal.h>
#include <stdlib.h>

#include "protocol/wire.h"
#include "tests/unit/suite.h"

#define ASSERT_SLICE(got, want)                       \
    do {                                              \
        struct slice got_ = (got), want_ = (want);    \
        ck_assert_uint_eq(got_.len, want_.len);       \
        ck_assert_mem_eq(got_.at, want_.at, got_.len); \
    } while (0)

static struct slice written(const uint8_t *bytes, const struct writer *w)
{
    return slice_of(bytes, (size_t)(w->at - bytes));
}

START_TEST(integers_are_read_big_endian)
{
    struct reader r = reader_of(SLICE("\xFE\x01\x02\x01\x02\x03\x84\x81\x02\x03\x04\x05\x06\x07\x08"));
    ck_assert_uint_eq(read_u8(&r), 0xFE);
    ck_assert_uint_eq(read_u16(&r), 0x0102);
    ck_assert_uint_eq(read_u32(&r), 0x01020384);
    ck_assert_uint_eq(read_u64(&r), 0x8102030405060708);
    ck_assert(!r.bad && r.at == r.end);
}
END_TEST

START_TEST(integers_are_written_big_endian)
{
    uint8_t bytes[15];
    struct writer w = writer_of(bytes, sizeof(bytes));
    write_u8(&w, 0xFE);
    write_u16(&w, 0x0102);
    write_u32(&w, 0x01020384);
    write_u64(&w, 0x8102030405060708);
    ck_assert(!w.bad);
    ASSERT_SLICE(written(bytes, &w), SLICE("\xFE\x01\x02\x01\x02\x03\x84\x81\x02\x03\x04\x05\x06\x07\x08"));
}
END_TEST

START_TEST(bits_share_an_octet_from_the_lowest_up)
{
    uint8_t bytes[4];
    struct writer w = writer_of(bytes, sizeof(bytes));
    write_bit(&w, true), write_bit(&w, false), write_bit(&w, true);
    ASSERT_SLICE(written(bytes, &w), SLICE("\x05"));
    struct reader r = reader_of(written(bytes, &w));
    ck_assert(read_bit(&r) && !read_bit(&r) && read_bit(&r));
    ck_assert(!r.bad && r.at == r.end);
}
END_TEST

START_TEST(the_ninth_bit_opens_a_second_octet)
{
    uint8_t bytes[4];
    struct writer w = writer_of(bytes, sizeof(bytes));
    for (int i = 0; i < 9; i++)
        write_bit(&w, i >= 7);
    ASSERT_SLICE(written(bytes, &w), SLICE("\x80\x01"));
    struct reader r = reader_of(written(bytes, &w));
    for (int i = 0; i < 9; i++)
        ck_assert_int_eq(read_bit(&r), i >= 7);
    ck_assert(!r.bad && r.at == r.end);
}
END_TEST

START_TEST(another_type_ends_a_run_of_bits)
{
    uint8_t bytes[8];
    struct writer w = writer_of(bytes, sizeof(bytes));
    write_bit(&w, true), write_u8(&w, 7), write_bit(&w, true), write_sstr(&w, SLICE("")), write_bit(&w, true);
    ASSERT_SLICE(written(bytes, &w), SLICE("\x01\x07\x01\x00\x01"));
    struct reader r = reader_of(written(bytes, &w));
    ck_assert(read_bit(&r));
    ck_assert_uint_eq(read_u8(&r), 7);
    ck_assert(read_bit(&r));
    ck_assert_uint_eq(read_sstr(&r).len, 0);
    ck_assert(read_bit(&r));
    ck_assert(!r.bad && r.at == r.end);
}
END_TEST

START_TEST(strings_carry_their_length)
{
    uint8_t bytes[64];
    struct writer w = writer_of(bytes, sizeof(bytes));
    write_sstr(&w, SLICE("ab"));
    write_lstr(&w, SLICE("cde"));
    write_table(&w, SLICE("\x01kt\x01"));
    write_bytes(&w, SLICE("z"));
    struct slice out = written(bytes, &w);
    ASSERT_SLICE(out, SLICE("\x02" "ab\0\0\0\x03" "cde\0\0\0\x04\x01kt\x01z"));
    struct reader r = reader_of(out);
    struct slice ab = read_sstr(&r);
    ASSERT_SLICE(ab, SLICE("ab"));
    ck_assert_ptr_eq(ab.at, out.at + 1); /* it points into the input */
    ASSERT_SLICE(read_lstr(&r), SLICE("cde"));
    ASSERT_SLICE(read_table(&r), SLICE("\x01kt\x01"));
    ASSERT_SLICE(read_bytes(&r, 1), SLICE("z"));
    ck_assert(!r.bad && r.at == r.end);
}
END_TEST

START_TEST(a_short_string_has_up_to_255_bytes)
{
    uint8_t text[255], bytes[256];
    memset(text, 'x', sizeof(text));
    struct writer w = writer_of(bytes, sizeof(bytes));
    write_sstr(&w, slice_of(text, 255));
    ck_assert(!w.bad);
    struct reader r = reader_of(slice_of(bytes, 256));
    ASSERT_SLICE(read_sstr(&r), slice_of(text, 255));
}
END_TEST

START_TEST(a_short_string_of_256_bytes_is_our_own_mistake)
{
    static uint8_t text[256], bytes[300];
    struct writer w = writer_of(bytes, sizeof(bytes));
    write_sstr(&w, slice_of(text, 256));
}
END_TEST

START_TEST(a_reader_that_runs_out_stays_bad)
{
    struct reader r = reader_of(SLICE("\x01\x02\x03"));
    ck_assert_uint_eq(read_u32(&r), 0);
    ck_assert(r.bad);
    ck_assert_uint_eq(read_u8(&r), 0); /* one octet would have been there */
    ck_assert_uint_eq(read_sstr(&r).len, 0);
    ck_assert(!read_bit(&r));
    ck_assert(r.bad && r.at == r.end);
}
END_TEST

START_TEST(a_string_longer_than_the_input_is_refused)
{
    struct reader r = reader_of(SLICE("\x03" "ab"));
    ck_assert_uint_eq(read_sstr(&r).len, 0);
    ck_assert(r.bad);
    r = reader_of(SLICE("\xFF\xFF\xFF\xFF" "ab"));
    ck_assert_uint_eq(read_lstr(&r).len, 0);
    ck_assert(r.bad);
    r = reader_of(SLICE("ab"));
    ck_assert_uint_eq(read_bytes(&r, SIZE_MAX).len, 0);
    ck_assert(r.bad);
}
END_TEST

START_TEST(nothing_can_be_read_from_nothing)
{
    struct reader r = reader_of((struct slice){0});
    ck_assert_uint_eq(read_bytes(&r, 0).len, 0);
    ck_assert(!r.bad && r.at == r.end);
    read_u8(&r);
    ck_assert(r.bad);
}
END_TEST

START_TEST(a_value_that_does_not_fit_is_not_begun)
{
    uint8_t bytes[4] = {9, 9, 9, 9};
    struct writer w = writer_of(bytes, 3);
    write_u8(&w, 1);
    write_lstr(&w, SLICE(""));
    ck_assert(w.bad);
    ck_assert_ptr_eq(w.at, bytes + 1);
    ck_assert_mem_eq(bytes, "\x01\x09\x09\x09", 4);
}
END_TEST

START_TEST(a_full_writer_stays_bad)
{
    uint8_t bytes[4] = {9, 9, 9, 9};
    struct writer w = writer_of(bytes, 3);
    write_u32(&w, 1);
    write_u8(&w, 1), write_bit(&w, true), write_u16(&w, 1), write_u64(&w, 1); /* the first would fit */
    write_sstr(&w, SLICE("")), write_bytes(&w, SLICE("a"));
    ck_assert(w.bad);
    ck_assert_mem_eq(bytes, "\x09\x09\x09\x09", 4);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("wire");
    TCase *t = tcase_create("wire");
    tcase_add_test(t, integers_are_read_big_endian);
    tcase_add_test(t, integers_are_written_big_endian);
    tcase_add_test(t, bits_share_an_octet_from_the_lowest_up);
    tcase_add_test(t, the_ninth_bit_opens_a_second_octet);
    tcase_add_test(t, another_type_ends_a_run_of_bits);
    tcase_add_test(t, strings_carry_their_length);
    tcase_add_test(t, a_short_string_has_up_to_255_bytes);
    tcase_add_test_raise_signal(t, a_short_string_of_256_bytes_is_our_own_mistake, SIGABRT);
    tcase_add_test(t, a_reader_that_runs_out_stays_bad);
    tcase_add_test(t, a_string_longer_than_the_input_is_refused);
    tcase_add_test(t, nothing_can_be_read_from_nothing);
    tcase_add_test(t, a_value_that_does_not_fit_is_not_begun);
    tcase_add_test(t, a_full_writer_stays_bad);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    return suite_run(suite());
}
