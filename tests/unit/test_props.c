/* test_props.c - the properties of a message and the content header around them. */
#include <check.h>
#include <stdlib.h>

#include "protocol/props.h"
#include "tests/unit/suite.h"

static struct props props;
static struct fault f;

static bool decode(struct slice bytes)
{
    memset(&f, 0, sizeof(f));
    memset(&props, 0xAA, sizeof(props));
    return props_decode(bytes, &props, &f);
}

static void assert_encodes(const struct props *p, struct slice want)
{
    struct buf out = {0};
    buf_append(&out, "before", 6);
    props_encode(&out, p);
    ck_assert_uint_eq(out.len, 6 + want.len);
    ck_assert_mem_eq(out.at, "before", 6);
    ck_assert_mem_eq(out.at + 6, want.at, want.len);
    buf_free(&out);
}

START_TEST(no_property_is_two_octets)
{
    ck_assert(decode(SLICE("\0\0")));
    ck_assert_uint_eq(props.flags, 0);
    ck_assert_uint_eq(props.content_type.len, 0);
    ck_assert_uint_eq(props.headers.len, 0);
    ck_assert_uint_eq(props.delivery_mode, 0);
    ck_assert_uint_eq(props.timestamp, 0);
    assert_encodes(&props, SLICE("\0\0"));
}
END_TEST

START_TEST(a_few_properties_both_ways)
{
    struct slice bytes = SLICE("\x90\x40" "\x0A" "text/plain" "\x02" "\0\0\0\0\x5F\0\0\x01");
    ck_assert(decode(bytes));
    ck_assert_uint_eq(props.flags, PROP_content_type | PROP_delivery_mode | PROP_timestamp);
    ck_assert(slice_is(props.content_type, "text/plain"));
    ck_assert_uint_eq(props.delivery_mode, 2);
    ck_assert_uint_eq(props.timestamp, 0x5F000001);
    ck_assert_uint_eq(props.message_id.len, 0);
    assert_encodes(&props, bytes);
}
END_TEST

START_TEST(all_fourteen_both_ways)
{
    struct slice bytes = SLICE("\xFF\xFC" "\x01" "a" "\x01" "b" "\0\0\0\x03" "\x01hV" "\x02" "\x09" "\x01" "c"
                               "\x01" "d" "\x01" "e" "\x01" "f" "\0\0\0\0\0\0\0\x07" "\x01" "g" "\x01" "h"
                               "\x01" "i" "\x01" "j");
    ck_assert(decode(bytes));
    ck_assert(slice_is(props.content_type, "a") && slice_is(props.content_encoding, "b"));
    ck_assert(slice_is(props.headers, "\x01hV"));
    ck_assert(props.delivery_mode == 2 && props.priority == 9 && props.timestamp == 7);
    ck_assert(slice_is(props.correlation_id, "c") && slice_is(props.reply_to, "d"));
    ck_assert(slice_is(props.expiration, "e") && slice_is(props.message_id, "f"));
    ck_assert(slice_is(props.type, "g") && slice_is(props.user_id, "h"));
    ck_assert(slice_is(props.app_id, "i") && slice_is(props.cluster_id, "j"));
    assert_encodes(&props, bytes);
    for (size_t len = 0; len < bytes.len; len++) {
        ck_assert_msg(!decode(slice_of(bytes.at, len)), "cut at %zu", len);
        ck_assert_int_eq(f.code, SYNTAX_ERROR);
    }
}
END_TEST

START_TEST(an_absent_value_is_not_written)
{
    struct props p = {.flags = PROP_priority, .priority = 3, .message_id = SLICE("not flagged")};
    assert_encodes(&p, SLICE("\x08\0\x03"));
}
END_TEST

START_TEST(a_present_empty_value_stays_present)
{
    ck_assert(decode(SLICE("\xA0\0" "\0" "\0\0\0\0")));
    ck_assert_uint_eq(props.flags, PROP_content_type | PROP_headers);
    assert_encodes(&props, SLICE("\xA0\0" "\0" "\0\0\0\0"));
}
END_TEST

START_TEST(strings_may_hold_any_octets)
{
    ck_assert(decode(SLICE("\x80\0" "\x02" "\xFF\xC3")));
    ck_assert_uint_eq(props.content_type.len, 2);
}
END_TEST

START_TEST(flags_of_no_property_are_refused)
{
    ck_assert(!decode(SLICE("\0\x01" "\0\0")));
    ck_assert_int_eq(f.code, SYNTAX_ERROR);
    ck_assert_str_eq(f.text, "SYNTAX_ERROR - property flags 0x0001 name no property");
    ck_assert_uint_eq(f.class_id, 60);
    ck_assert(!decode(SLICE("\0\x02")));
    ck_assert_int_eq(f.code, SYNTAX_ERROR);
}
END_TEST

START_TEST(octets_after_the_values_are_refused)
{
    ck_assert(!decode(SLICE("\x08\0\x03z")));
    ck_assert_str_eq(f.text, "SYNTAX_ERROR - octets after the last property in a content header");
}
END_TEST

/* K28, K29 */
START_TEST(malformed_headers_are_refused)
{
    ck_assert(!decode(SLICE("\x20\0" "\0\0\0\x03" "\x01hz")));
    ck_assert_str_eq(f.text, "SYNTAX_ERROR - malformed or too deeply nested table 'headers' "
                             "in a content header");
    ck_assert(!decode(SLICE("\x20\0" "\0\0\0\x04" "\x01hV")));
    ck_assert_str_eq(f.text, "SYNTAX_ERROR - properties are cut short in a content header");
}
END_TEST

START_TEST(a_content_header_is_read)
{
    struct content_header h;
    struct slice payload = SLICE("\0\x3C" "\0\x05" "\0\0\0\x01\0\0\0\x02" "\x08\0\x03");
    ck_assert(content_header_decode(payload, &h));
    ck_assert_uint_eq(h.class_id, 60);
    ck_assert_uint_eq(h.weight, 5);
    ck_assert_uint_eq(h.body_size, 0x100000002);
    ck_assert_ptr_eq(h.props.at, payload.at + 12);
    ck_assert_uint_eq(h.props.len, 3);
}
END_TEST

START_TEST(a_content_header_has_fourteen_octets)
{
    struct content_header h;
    struct slice payload = SLICE("\0\x3C\0\0\0\0\0\0\0\0\0\0\0\0");
    ck_assert_uint_eq(payload.len, 14);
    for (size_t len = 0; len < 14; len++)
        ck_assert(!content_header_decode(slice_of(payload.at, len), &h));
    ck_assert(content_header_decode(payload, &h));
    ck_assert(decode(h.props));
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("props");
    TCase *t = tcase_create("props");
    tcase_add_test(t, no_property_is_two_octets);
    tcase_add_test(t, a_few_properties_both_ways);
    tcase_add_test(t, all_fourteen_both_ways);
    tcase_add_test(t, an_absent_value_is_not_written);
    tcase_add_test(t, a_present_empty_value_stays_present);
    tcase_add_test(t, strings_may_hold_any_octets);
    tcase_add_test(t, flags_of_no_property_are_refused);
    tcase_add_test(t, octets_after_the_values_are_refused);
    tcase_add_test(t, malformed_headers_are_refused);
    tcase_add_test(t, a_content_header_is_read);
    tcase_add_test(t, a_content_header_has_fourteen_octets);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    return suite_run(suite());
}
