/* test_method.c - methods: known bytes both ways, and each way to be wrong with its fault. */
#include <check.h>
#include <signal.h>
#include <stdlib.h>

#include "protocol/method.h"
#include "tests/unit/suite.h"

#define PUBLISH "\0\x3C\0\x28"
#define DECLARE "\0\x32\0\x0A"

static struct method m;
static struct fault f;

static bool decode(struct slice payload)
{
    memset(&f, 0, sizeof(f));
    return method_decode(payload, &m, &f);
}

static void assert_encodes(const struct method *method, struct slice want)
{
    uint8_t bytes[256];
    struct writer w = writer_of(bytes, sizeof(bytes));
    method_encode(&w, method);
    ck_assert(!w.bad);
    ck_assert_uint_eq((size_t)(w.at - bytes), want.len);
    ck_assert_mem_eq(bytes, want.at, want.len);
}

static void assert_fault(enum reply_code code, unsigned class_id, unsigned method_id, const char *text)
{
    ck_assert_int_eq(f.code, code);
    ck_assert_uint_eq(f.class_id, class_id);
    ck_assert_uint_eq(f.method_id, method_id);
    ck_assert_str_eq(f.text, text);
}

START_TEST(basic_publish_both_ways)
{
    struct slice bytes = SLICE(PUBLISH "\0\x01" "\x03" "exc" "\x02" "rk" "\x02");
    ck_assert(decode(bytes));
    ck_assert_uint_eq(m.id, METHOD_basic_publish);
    ck_assert_uint_eq(m.basic_publish.ticket, 1);
    ck_assert(slice_is(m.basic_publish.exchange, "exc"));
    ck_assert_ptr_eq(m.basic_publish.exchange.at, bytes.at + 7);
    ck_assert(slice_is(m.basic_publish.routing_key, "rk"));
    ck_assert(!m.basic_publish.mandatory);
    ck_assert(m.basic_publish.immediate);
    assert_encodes(&m, bytes);
}
END_TEST

START_TEST(basic_ack_both_ways)
{
    struct slice bytes = SLICE("\0\x3C\0\x50" "\x01\x02\x03\x04\x05\x06\x07\x08" "\x01");
    ck_assert(decode(bytes));
    ck_assert_uint_eq(m.id, METHOD_basic_ack);
    ck_assert_uint_eq(m.basic_ack.delivery_tag, 0x0102030405060708);
    ck_assert(m.basic_ack.multiple);
    assert_encodes(&m, bytes);
}
END_TEST

START_TEST(queue_declare_both_ways)
{
    struct slice bytes = SLICE(DECLARE "\0\0" "\x01q" "\x1A" "\0\0\0\x07" "\x01" "aI\0\0\0\x01");
    ck_assert(decode(bytes));
    ck_assert(slice_is(m.queue_declare.queue, "q"));
    ck_assert(!m.queue_declare.passive && m.queue_declare.durable && !m.queue_declare.exclusive);
    ck_assert(m.queue_declare.auto_delete && m.queue_declare.no_wait);
    ck_assert_uint_eq(m.queue_declare.arguments.len, 7);
    assert_encodes(&m, bytes);
}
END_TEST

START_TEST(a_method_without_fields_is_its_id)
{
    struct slice bytes = SLICE("\0\x5A\0\x0A");
    ck_assert(decode(bytes));
    ck_assert_uint_eq(m.id, METHOD_tx_select);
    assert_encodes(&m, bytes);
}
END_TEST

START_TEST(connection_tune_both_ways)
{
    struct slice bytes = SLICE("\0\x0A\0\x1E" "\x07\xFF" "\0\x02\0\0" "\0\x3C");
    ck_assert(decode(bytes));
    ck_assert_uint_eq(m.connection_tune.channel_max, 2047);
    ck_assert_uint_eq(m.connection_tune.frame_max, 131072);
    ck_assert_uint_eq(m.connection_tune.heartbeat, 60);
    assert_encodes(&m, bytes);
}
END_TEST

/* K30 */
START_TEST(an_unknown_method_is_not_implemented)
{
    ck_assert(!decode(SLICE("\0\x3C\0\x29")));
    assert_fault(NOT_IMPLEMENTED, 60, 41, "NOT_IMPLEMENTED - unknown method: class 60, method 41");
    ck_assert(!decode(SLICE("\x12\x34\xFF\xFF")));
    assert_fault(NOT_IMPLEMENTED, 0x1234, 0xFFFF,
                 "NOT_IMPLEMENTED - unknown method: class 4660, method 65535");
}
END_TEST

START_TEST(a_payload_without_ids_is_a_syntax_error)
{
    for (size_t len = 0; len < 4; len++) {
        ck_assert(!decode(slice_of(PUBLISH, len)));
        ck_assert_int_eq(f.code, SYNTAX_ERROR);
        ck_assert_uint_eq(f.class_id, 0);
    }
    ck_assert(!decode((struct slice){0}));
}
END_TEST

START_TEST(arguments_cut_short_are_a_syntax_error)
{
    struct slice bytes = SLICE(PUBLISH "\0\0" "\x03" "exc" "\x02" "rk" "\0");
    for (size_t len = 4; len < bytes.len; len++) {
        ck_assert(!decode(slice_of(bytes.at, len)));
        assert_fault(SYNTAX_ERROR, 60, 40, "SYNTAX_ERROR - arguments of basic.publish are cut short");
    }
}
END_TEST

START_TEST(octets_after_the_arguments_are_a_syntax_error)
{
    ck_assert(!decode(SLICE(PUBLISH "\0\0\0\0\0" "zz")));
    assert_fault(SYNTAX_ERROR, 60, 40,
                 "SYNTAX_ERROR - 2 octets too many after the arguments of basic.publish");
    ck_assert(!decode(SLICE("\0\x5A\0\x0A\0")));
    assert_fault(SYNTAX_ERROR, 90, 10, "SYNTAX_ERROR - 1 octets too many after the arguments of tx.select");
}
END_TEST

/* K29, K28 */
START_TEST(a_malformed_table_is_a_syntax_error)
{
    ck_assert(!decode(SLICE(DECLARE "\0\0" "\x01q" "\0" "\0\0\0\x03" "\x01" "az")));
    assert_fault(SYNTAX_ERROR, 50, 10,
                 "SYNTAX_ERROR - malformed or too deeply nested table 'arguments' in queue.declare");
}
END_TEST

/* K31 */
START_TEST(a_shortstr_must_be_utf8)
{
    ck_assert(!decode(SLICE(PUBLISH "\0\0" "\0" "\x02" "\xC3(" "\0")));
    assert_fault(FRAME_ERROR, 60, 40, "FRAME_ERROR - Malformed UTF-8 in shortstr");
    ck_assert(decode(SLICE(PUBLISH "\0\0" "\0" "\x03" "\xED\x95\x9C" "\0"))); /* K33 */
}
END_TEST

START_TEST(a_longstr_may_hold_any_octets)
{
    ck_assert(decode(SLICE("\0\x0A\0\x15" "\0\0\0\x03" "\0\xFF\xC3")));
    ck_assert_uint_eq(m.connection_secure_ok.response.len, 3);
}
END_TEST

/* Short strings of all lengths around the words that the check reads, one wrong octet at every place. */
START_TEST(a_wrong_octet_is_seen_at_any_place)
{
    uint8_t text[80];
    for (size_t len = 1; len <= sizeof(text); len++) {
        memset(text, 'x', sizeof(text));
        ck_assert(slice_is_utf8(slice_of(text, len)));
        for (size_t i = 0; i < len; i++) {
            text[i] = 0xFF;
            ck_assert(!slice_is_utf8(slice_of(text, len)));
            text[i] = 'x';
        }
        text[len - 1] = 0xC3; /* its second octet lies outside */
        ck_assert(!slice_is_utf8(slice_of(text, len)));
    }
}
END_TEST

START_TEST(utf8_is_that_of_rfc_3629)
{
    static const char *const good[] = {
        "\xC2\x80", "\xDF\xBF", "\xE0\xA0\x80", "\xED\x9F\xBF", "\xEE\x80\x80", "\xEF\xBF\xBF",
        "\xF0\x90\x80\x80", "\xF4\x8F\xBF\xBF", "abcdefgh\xC3\xA9",
    };
    static const char *const bad[] = {
        "\x80", "\xC0\x80", "\xC1\xBF", "\xE0\x9F\xBF", "\xED\xA0\x80", "\xED\xBF\xBF",
        "\xF0\x8F\xBF\xBF", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xE2\x82", "\xE2\x28\xA1",
        "\xF0\x9F\x90", "abcdefgh\xA9",
    };
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        ck_assert_msg(slice_is_utf8(slice_of_string(good[i])), "good %zu", i);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        ck_assert_msg(!slice_is_utf8(slice_of_string(bad[i])), "bad %zu", i);
}
END_TEST

START_TEST(methods_have_names)
{
    ck_assert_str_eq(method_name(METHOD_basic_publish), "basic.publish");
    ck_assert_str_eq(method_name(METHOD_basic_return), "basic.return");
    ck_assert_str_eq(method_name(METHOD_ID(10, 71)), "connection.update_secret_ok");
    ck_assert_str_eq(method_name(METHOD_ID(40, 51)), "exchange.unbind_ok");
    ck_assert_str_eq(method_name(METHOD_ID(60, 41)), "unknown");
}
END_TEST

START_TEST(four_methods_carry_content)
{
    int with_content = 0;
#define METHOD(class, name, class_id, method_id, content, fields) \
    with_content += method_has_content(METHOD_##class##_##name);
#include "protocol/methods.def"
#undef METHOD
    ck_assert_int_eq(with_content, 4);
    ck_assert(method_has_content(METHOD_basic_publish) && method_has_content(METHOD_basic_return));
    ck_assert(method_has_content(METHOD_basic_deliver) && method_has_content(METHOD_basic_get_ok));
    ck_assert(!method_has_content(METHOD_ID(60, 41)));
}
END_TEST

START_TEST(a_method_that_does_not_fit_makes_the_writer_bad)
{
    uint8_t bytes[12];
    struct method ack = {.id = METHOD_basic_ack};
    struct writer w = writer_of(bytes, sizeof(bytes));
    method_encode(&w, &ack);
    ck_assert(w.bad);
}
END_TEST

START_TEST(to_encode_no_method_is_our_own_mistake)
{
    uint8_t bytes[12];
    struct method none = {.id = METHOD_ID(60, 41)};
    struct writer w = writer_of(bytes, sizeof(bytes));
    method_encode(&w, &none);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("method");
    TCase *t = tcase_create("method");
    tcase_add_test(t, basic_publish_both_ways);
    tcase_add_test(t, basic_ack_both_ways);
    tcase_add_test(t, queue_declare_both_ways);
    tcase_add_test(t, a_method_without_fields_is_its_id);
    tcase_add_test(t, connection_tune_both_ways);
    tcase_add_test(t, an_unknown_method_is_not_implemented);
    tcase_add_test(t, a_payload_without_ids_is_a_syntax_error);
    tcase_add_test(t, arguments_cut_short_are_a_syntax_error);
    tcase_add_test(t, octets_after_the_arguments_are_a_syntax_error);
    tcase_add_test(t, a_malformed_table_is_a_syntax_error);
    tcase_add_test(t, a_shortstr_must_be_utf8);
    tcase_add_test(t, a_longstr_may_hold_any_octets);
    tcase_add_test(t, a_wrong_octet_is_seen_at_any_place);
    tcase_add_test(t, utf8_is_that_of_rfc_3629);
    tcase_add_test(t, methods_have_names);
    tcase_add_test(t, four_methods_carry_content);
    tcase_add_test(t, a_method_that_does_not_fit_makes_the_writer_bad);
    tcase_add_test_raise_signal(t, to_encode_no_method_is_our_own_mistake, SIGABRT);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    return suite_run(suite());
}
