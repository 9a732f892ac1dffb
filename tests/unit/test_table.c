/* test_table.c - field tables: what is well-formed, how values read, and which are equal. */
#include <check.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "protocol/table.h"
#include "tests/unit/suite.h"

static struct field field_of(char type, struct slice bytes)
{
    return (struct field){type, bytes};
}

/* A field of the type named by the first character of a literal, its value in the others. */
#define FIELD_OF(literal) field_of((literal)[0], slice_of((literal) + 1, sizeof(literal) - 2))

static bool equal(struct field a, struct field b)
{
    bool forth = field_equal(&a, &b);
    ck_assert_int_eq(field_equal(&b, &a), forth);
    return forth;
}

static int64_t integer(struct field field)
{
    int64_t value = 0;
    ck_assert(field_integer(&field, &value));
    return value;
}

static struct field real(double v)
{
    static uint8_t bytes[8][8]; /* a few at a time */
    static unsigned turn;
    uint8_t *at = bytes[turn++ % 8];
    uint64_t bits;
    memcpy(&bits, &v, sizeof(bits));
    for (int i = 0; i < 8; i++)
        at[i] = (uint8_t)(bits >> (56 - 8 * i));
    return field_of('d', slice_of(at, 8));
}

/* One field of each type, in the order of the comment in table.h. */
static const struct {
    char type;
    int size;
    const char *name;
} types[] = {
    {'t', 1, "bool"},           {'b', 1, "byte"},      {'B', 1, "unsignedbyte"}, {'s', 2, "short"},
    {'u', 2, "unsignedshort"},  {'I', 4, "signedint"}, {'i', 4, "unsignedint"},  {'l', 8, "long"},
    {'L', 8, "long"},           {'f', 4, "float"},     {'d', 8, "double"},       {'D', 5, "decimal"},
    {'T', 8, "timestamp"},      {'S', -1, "longstr"},  {'A', -1, "array"},       {'F', -1, "table"},
    {'V', 0, "void"},           {'x', -1, "binary"},
};

START_TEST(every_type_has_its_size)
{
    for (size_t i = 0; i < array_size(types); i++) {
        uint8_t bytes[16] = {1, 'k', (uint8_t)types[i].type};
        size_t size = 3 + (types[i].size < 0 ? 4 : (size_t)types[i].size);
        ck_assert_msg(table_check(slice_of(bytes, size)), "type %c", types[i].type);
        ck_assert_msg(!table_check(slice_of(bytes, size - 1)), "type %c", types[i].type);
        ck_assert_msg(!table_check(slice_of(bytes, size + 1)), "type %c", types[i].type);
        ck_assert_str_eq(field_type_name(types[i].type), types[i].name);
    }
}
END_TEST

/* K29 */
START_TEST(no_other_type_is_known)
{
    for (int c = 0; c < 256; c++) {
        uint8_t bytes[16] = {1, 'k', (uint8_t)c};
        bool known = false, accepted = false;
        for (size_t i = 0; i < array_size(types); i++)
            known |= (char)c == types[i].type;
        for (size_t size = 3; size <= sizeof(bytes); size++)
            accepted |= table_check(slice_of(bytes, size));
        ck_assert_int_eq(accepted, known);
        if (!known)
            ck_assert_str_eq(field_type_name((char)c), "unknown");
    }
}
END_TEST

START_TEST(an_empty_table_is_a_table)
{
    ck_assert(table_check((struct slice){0}));
    ck_assert(table_check(SLICE("")));
}
END_TEST

START_TEST(a_name_has_up_to_255_bytes)
{
    uint8_t bytes[257] = {255};
    bytes[256] = 'V';
    ck_assert(table_check(slice_of(bytes, 257)));
    ck_assert(!table_check(slice_of(bytes, 256)));
    ck_assert(table_check(SLICE("\0V")));
}
END_TEST

START_TEST(a_table_cut_anywhere_is_refused)
{
    struct slice table = SLICE("\x01" "aI\0\0\0\x01" "\x01" "bS\0\0\0\x02xy" "\x01" "cF\0\0\0\x04\x01kt\x01"
                               "\x01" "dA\0\0\0\x03t\x01V");
    ck_assert(table_check(table));
    for (size_t len = 1; len < table.len; len++) {
        bool between_fields = len == 7 || len == 16 || len == 27;
        ck_assert_msg(table_check(slice_of(table.at, len)) == between_fields, "cut at %zu", len);
    }
}
END_TEST

START_TEST(a_nested_length_may_not_leave_its_table)
{
    ck_assert(table_check(SLICE("\x01" "aF\0\0\0\x03\x01kV")));
    ck_assert(!table_check(SLICE("\x01" "aF\0\0\0\x02\x01kV")));
    ck_assert(!table_check(SLICE("\x01" "aF\0\0\0\x04\x01kV")));
    ck_assert(!table_check(SLICE("\x01" "aF\xFF\xFF\xFF\xFF\x01kV")));
    /* A string inside a nested table that would end outside it, but inside the whole. */
    ck_assert(!table_check(SLICE("\x01" "aA\0\0\0\x05S\0\0\0\x04zzzz")));
}
END_TEST

/* A table of `depth` levels (itself counted); even levels are tables, odd ones arrays when `mixed`. */
static void nest(struct buf *out, int depth, bool mixed)
{
    struct buf inner = {0};
    for (int level = depth; level > 1; level--) {
        bool in_array = mixed && level % 2 == 1;    /* what holds this level */
        bool is_array = mixed && level % 2 == 0;    /* what this level is */
        struct buf outer = {0};
        uint32_t n = (uint32_t)inner.len;
        if (!in_array)
            buf_append(&outer, "\x01k", 2);
        uint8_t head[5] = {is_array ? 'A' : 'F', (uint8_t)(n >> 24), (uint8_t)(n >> 16), (uint8_t)(n >> 8),
                           (uint8_t)n};
        buf_append(&outer, head, sizeof(head));
        buf_append_slice(&outer, buf_slice(&inner));
        buf_free(&inner);
        inner = outer;
    }
    *out = inner;
}

/* K28 */
START_TEST(tables_nest_to_a_depth_of_64)
{
    for (int mixed = 0; mixed < 2; mixed++) {
        struct buf table;
        nest(&table, TABLE_DEPTH_MAX, mixed);
        ck_assert(table_check(buf_slice(&table)));
        buf_free(&table);
        nest(&table, TABLE_DEPTH_MAX + 1, mixed);
        ck_assert(!table_check(buf_slice(&table)));
        buf_free(&table);
        nest(&table, 5000, mixed);
        ck_assert(!table_check(buf_slice(&table)));
        buf_free(&table);
    }
}
END_TEST

START_TEST(a_table_is_walked_in_order)
{
    struct slice rest = SLICE("\x01" "aI\0\0\0\x07" "\x02" "bbS\0\0\0\x02xy" "\0V"), name;
    struct field field;
    ck_assert(table_next(&rest, &name, &field));
    ck_assert(slice_is(name, "a"));
    ck_assert_int_eq(field.type, 'I');
    ck_assert_int_eq(integer(field), 7);
    ck_assert(table_next(&rest, &name, &field));
    ck_assert(slice_is(name, "bb") && slice_is(field.bytes, "xy") && field.type == 'S');
    ck_assert(table_next(&rest, &name, &field));
    ck_assert(name.len == 0 && field.type == 'V' && field.bytes.len == 0);
    ck_assert(!table_next(&rest, &name, &field));
}
END_TEST

START_TEST(an_array_is_walked_in_order)
{
    struct slice rest = SLICE("t\x01S\0\0\0\x01zV");
    struct field field;
    ck_assert(array_next(&rest, &field) && field.type == 't');
    ck_assert(array_next(&rest, &field) && slice_is(field.bytes, "z"));
    ck_assert(array_next(&rest, &field) && field.type == 'V');
    ck_assert(!array_next(&rest, &field));
}
END_TEST

START_TEST(walking_what_was_not_checked_is_our_own_mistake)
{
    struct slice rest = SLICE("\x01" "aI\0\0"), name;
    struct field field;
    table_next(&rest, &name, &field);
}
END_TEST

START_TEST(the_first_of_a_name_is_found)
{
    struct slice table = SLICE("\x02" "aaV" "\x01" "at\x01" "\x01" "at\x00");
    struct field field;
    bool value = false;
    ck_assert(table_find(table, "a", &field) && field_bool(&field, &value) && value);
    ck_assert(table_find(table, "aa", &field) && field.type == 'V');
    ck_assert(!table_find(table, "aaa", &field));
    ck_assert(!table_find(table, "", &field));
    ck_assert(!table_find((struct slice){0}, "a", &field));
}
END_TEST

START_TEST(integers_keep_their_sign)
{
    ck_assert_int_eq(integer(FIELD_OF("b\xFF")), -1);
    ck_assert_int_eq(integer(FIELD_OF("B\xFF")), 255);
    ck_assert_int_eq(integer(FIELD_OF("s\xFF\xFE")), -2);
    ck_assert_int_eq(integer(FIELD_OF("u\xFF\xFE")), 65534);
    ck_assert_int_eq(integer(FIELD_OF("I\xFF\xFF\xFF\xFF")), -1);
    ck_assert_int_eq(integer(FIELD_OF("i\xFF\xFF\xFF\xFF")), 4294967295);
    ck_assert_int_eq(integer(FIELD_OF("l\x80\0\0\0\0\0\0\0")), INT64_MIN);
    ck_assert_int_eq(integer(FIELD_OF("l\x7F\xFF\xFF\xFF\xFF\xFF\xFF\xFF")), INT64_MAX);
    ck_assert_int_eq(integer(FIELD_OF("L\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF")), -1); /* as RabbitMQ */
}
END_TEST

START_TEST(each_reader_takes_its_own_types_only)
{
    for (size_t i = 0; i < array_size(types); i++) {
        static const uint8_t zeros[8];
        size_t size = types[i].size < 0 ? 0 : (size_t)types[i].size;
        struct field field = field_of(types[i].type, slice_of(zeros, size));
        int64_t number;
        bool truth;
        struct slice text;
        ck_assert_int_eq(field_integer(&field, &number), strchr("bBsuIilL", types[i].type) != NULL);
        ck_assert_int_eq(field_bool(&field, &truth), types[i].type == 't');
        ck_assert_int_eq(field_string(&field, &text), types[i].type == 'S');
    }
}
END_TEST

START_TEST(numbers_are_equal_across_widths)
{
    static const char types_of_one[] = "bBsuIilLfdDT";
    struct field one[] = {FIELD_OF("b\x01"), FIELD_OF("B\x01"), FIELD_OF("s\0\x01"), FIELD_OF("u\0\x01"),
                          FIELD_OF("I\0\0\0\x01"), FIELD_OF("i\0\0\0\x01"),
                          FIELD_OF("l\0\0\0\0\0\0\0\x01"), FIELD_OF("L\0\0\0\0\0\0\0\x01"),
                          FIELD_OF("f\x3F\x80\0\0"), real(1.0), FIELD_OF("D\x02\0\0\0\x64"),
                          FIELD_OF("T\0\0\0\0\0\0\0\x01")};
    struct field two = FIELD_OF("b\x02");
    ck_assert_uint_eq(array_size(one), sizeof(types_of_one) - 1);
    for (size_t i = 0; i < array_size(one); i++) {
        ck_assert_int_eq(one[i].type, types_of_one[i]);
        ck_assert(!equal(one[i], two));
        for (size_t k = 0; k < array_size(one); k++)
            ck_assert_msg(equal(one[i], one[k]), "%c and %c", one[i].type, one[k].type);
    }
}
END_TEST

START_TEST(a_number_is_no_text_and_no_truth)
{
    struct field one = FIELD_OF("b\x01");
    ck_assert(!equal(one, FIELD_OF("S1")));
    ck_assert(!equal(one, FIELD_OF("S\x01")));
    ck_assert(!equal(one, FIELD_OF("t\x01")));
    ck_assert(!equal(one, FIELD_OF("V")));
    ck_assert(!equal(one, FIELD_OF("xb\x01")));
}
END_TEST

START_TEST(signs_are_part_of_the_value)
{
    ck_assert(equal(FIELD_OF("b\xFF"), FIELD_OF("l\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF")));
    ck_assert(equal(FIELD_OF("b\xFF"), real(-1.0)));
    ck_assert(!equal(FIELD_OF("b\xFF"), FIELD_OF("B\xFF")));
    ck_assert(!equal(FIELD_OF("b\xFF"), FIELD_OF("b\x01")));
    ck_assert(!equal(FIELD_OF("l\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF"),
                     FIELD_OF("T\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF")));
    ck_assert(equal(real(0.0), real(-0.0)));
    ck_assert(equal(FIELD_OF("b\0"), real(-0.0)));
}
END_TEST

/* 2^53 + 1 has no double: a cast would make it equal to 2^53. */
START_TEST(large_integers_are_not_rounded)
{
    ck_assert(equal(FIELD_OF("l\0\x20\0\0\0\0\0\0"), real(9007199254740992.0)));
    ck_assert(!equal(FIELD_OF("l\0\x20\0\0\0\0\0\x01"), real(9007199254740992.0)));
    ck_assert(!equal(FIELD_OF("l\x7F\xFF\xFF\xFF\xFF\xFF\xFF\xFF"), real(9223372036854775808.0)));
    ck_assert(equal(FIELD_OF("l\x80\0\0\0\0\0\0\0"), real(-9223372036854775808.0)));
    ck_assert(equal(FIELD_OF("T\x80\0\0\0\0\0\0\0"), real(9223372036854775808.0)));
    ck_assert(!equal(FIELD_OF("T\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF"), real(18446744073709551616.0)));
    ck_assert(equal(real(1e300), real(1e300)));
    ck_assert(!equal(real(1e300), real(1.0000000000000002e300)));
}
END_TEST

START_TEST(fractions_are_equal_when_exact)
{
    ck_assert(equal(FIELD_OF("f\x3F\0\0\0"), real(0.5)));
    ck_assert(!equal(FIELD_OF("f\x3D\xCC\xCC\xCD"), real(0.1))); /* 0.1 as a float is another number */
    ck_assert(equal(FIELD_OF("D\x01\0\0\0\x05"), real(0.5)));
    ck_assert(equal(FIELD_OF("D\x02\0\0\0\x7D"), real(1.25)));
    ck_assert(!equal(FIELD_OF("D\x01\0\0\0\x01"), real(0.1))); /* 0.1 has no double */
    ck_assert(!equal(FIELD_OF("D\x01\0\0\0\x01"), real(0.5)));
    ck_assert(!equal(FIELD_OF("D\x02\0\0\0\x05"), real(0.25)));
    ck_assert(!equal(real(0.5), FIELD_OF("b\0")));
    ck_assert(!equal(real(1.5), FIELD_OF("b\x01")));
}
END_TEST

START_TEST(decimals_are_equal_by_value)
{
    ck_assert(equal(FIELD_OF("D\x01\0\0\0\x01"), FIELD_OF("D\x02\0\0\0\x0A")));
    ck_assert(!equal(FIELD_OF("D\x01\0\0\0\x01"), FIELD_OF("D\x02\0\0\0\x01")));
    ck_assert(!equal(FIELD_OF("D\x01\0\0\0\x01"), FIELD_OF("D\x01\0\0\0\x02")));
    ck_assert(equal(FIELD_OF("D\xFF\0\0\0\0"), FIELD_OF("b\0")));
    ck_assert(!equal(FIELD_OF("D\xFF\0\0\0\x01"), FIELD_OF("b\0")));
    /* 5^13 is the highest power of five in 32 bits: 5^13 / 10^13 = 2^-13. */
    ck_assert(equal(FIELD_OF("D\x0D\x48\xC2\x73\x95"), real(0.0001220703125)));
}
END_TEST

START_TEST(infinities_and_nan_equal_themselves)
{
    ck_assert(equal(real(INFINITY), FIELD_OF("f\x7F\x80\0\0")));
    ck_assert(!equal(real(INFINITY), real(-INFINITY)));
    ck_assert(equal(real((double)NAN), real((double)NAN)));
    ck_assert(!equal(real((double)NAN), FIELD_OF("b\0")));
}
END_TEST

START_TEST(other_types_equal_their_own_only)
{
    ck_assert(equal(FIELD_OF("Sab"), FIELD_OF("Sab")));
    ck_assert(!equal(FIELD_OF("Sab"), FIELD_OF("Sac")));
    ck_assert(equal(FIELD_OF("Sab"), FIELD_OF("xab")));
    ck_assert(!equal(FIELD_OF("Sab"), FIELD_OF("xac")));
    ck_assert(equal(FIELD_OF("xab"), FIELD_OF("xab")));
    ck_assert(equal(FIELD_OF("t\x01"), FIELD_OF("t\x02")));
    ck_assert(!equal(FIELD_OF("t\x01"), FIELD_OF("t\0")));
    ck_assert(equal(FIELD_OF("V"), FIELD_OF("V")));
    ck_assert(!equal(FIELD_OF("V"), FIELD_OF("S")));
    ck_assert(!equal(FIELD_OF("A"), FIELD_OF("F")));
    ck_assert(!equal(FIELD_OF("t\x01"), FIELD_OF("V")));
}
END_TEST

START_TEST(arrays_are_equal_element_by_element)
{
    ck_assert(equal(FIELD_OF("Ab\x01t\x01"), FIELD_OF("AI\0\0\0\x01t\x02")));
    ck_assert(!equal(FIELD_OF("Ab\x01t\x01"), FIELD_OF("At\x01" "b\x01")));
    ck_assert(!equal(FIELD_OF("Ab\x01"), FIELD_OF("Ab\x01" "b\x01")));
    ck_assert(!equal(FIELD_OF("A"), FIELD_OF("AV")));
}
END_TEST

START_TEST(tables_are_equal_in_any_order)
{
    struct slice ab = SLICE("\x01" "ab\x01" "\x01" "bS\0\0\0\x01z");
    struct slice ba = SLICE("\x01" "bS\0\0\0\x01z" "\x01" "as\0\x01");
    ck_assert(table_equal(ab, ba) && table_equal(ba, ab));
    ck_assert(table_equal((struct slice){0}, SLICE("")));
    ck_assert(!table_equal(ab, SLICE("")));
    ck_assert(!table_equal(ab, SLICE("\x01" "ab\x01")));
    ck_assert(!table_equal(ab, SLICE("\x01" "ab\x01" "\x01" "cS\0\0\0\x01z")));
    ck_assert(!table_equal(ab, SLICE("\x01" "ab\x02" "\x01" "bS\0\0\0\x01z")));
    ck_assert(equal(field_of('F', ab), field_of('F', ba)));
}
END_TEST

START_TEST(a_name_that_comes_twice_keeps_its_order)
{
    struct slice twice = SLICE("\x01" "ab\x01" "\x01" "ab\x02" "\x01" "bV");
    ck_assert(table_equal(twice, SLICE("\x01" "bV" "\x01" "ab\x01" "\x01" "ab\x02")));
    ck_assert(!table_equal(twice, SLICE("\x01" "bV" "\x01" "ab\x02" "\x01" "ab\x01")));
    ck_assert(!table_equal(twice, SLICE("\x01" "ab\x01" "\x01" "bV" "\x01" "bV")));
}
END_TEST

/* What that costs is in test_names_cost. */
START_TEST(many_names_are_compared)
{
    enum { NAMES = 60000 };
    struct buf up = {0}, down = {0};
    for (int i = 0; i < NAMES; i++) {
        char name[16];
        snprintf(name, sizeof(name), "n%d", i);
        table_put_bool(&up, name, i % 2);
        snprintf(name, sizeof(name), "n%d", NAMES - 1 - i);
        table_put_bool(&down, name, (NAMES - 1 - i) % 2);
    }
    ck_assert(table_equal(buf_slice(&up), buf_slice(&down)));
    down.at[down.len - 1] ^= 1;
    ck_assert(!table_equal(buf_slice(&up), buf_slice(&down)));
    buf_free(&up);
    buf_free(&down);
}
END_TEST

START_TEST(built_tables_are_well_formed)
{
    struct buf inner = {0}, table = {0};
    table_put_bool(&inner, "yes", true);
    table_put_bool(&table, "no", false);
    table_put_string(&table, "s", SLICE("xy"));
    table_put_string(&table, "", SLICE(""));
    table_put_int(&table, "n", -2);
    table_put_table(&table, "t", buf_slice(&inner));
    struct slice want = SLICE("\x02not\0" "\x01sS\0\0\0\x02xy" "\0S\0\0\0\0"
                              "\x01nl\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFE" "\x01tF\0\0\0\x06\x03yest\x01");
    ck_assert_uint_eq(table.len, want.len);
    ck_assert_mem_eq(table.at, want.at, want.len);
    ck_assert(table_check(buf_slice(&table)));
    buf_free(&inner);
    buf_free(&table);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("table");
    TCase *t = tcase_create("form");
    tcase_add_test(t, every_type_has_its_size);
    tcase_add_test(t, no_other_type_is_known);
    tcase_add_test(t, an_empty_table_is_a_table);
    tcase_add_test(t, a_name_has_up_to_255_bytes);
    tcase_add_test(t, a_table_cut_anywhere_is_refused);
    tcase_add_test(t, a_nested_length_may_not_leave_its_table);
    tcase_add_test(t, tables_nest_to_a_depth_of_64);
    tcase_add_test(t, built_tables_are_well_formed);
    suite_add_tcase(s, t);
    t = tcase_create("values");
    tcase_add_test(t, a_table_is_walked_in_order);
    tcase_add_test(t, an_array_is_walked_in_order);
    tcase_add_test_raise_signal(t, walking_what_was_not_checked_is_our_own_mistake, SIGABRT);
    tcase_add_test(t, the_first_of_a_name_is_found);
    tcase_add_test(t, integers_keep_their_sign);
    tcase_add_test(t, each_reader_takes_its_own_types_only);
    suite_add_tcase(s, t);
    t = tcase_create("equality");
    tcase_add_test(t, numbers_are_equal_across_widths);
    tcase_add_test(t, a_number_is_no_text_and_no_truth);
    tcase_add_test(t, signs_are_part_of_the_value);
    tcase_add_test(t, large_integers_are_not_rounded);
    tcase_add_test(t, fractions_are_equal_when_exact);
    tcase_add_test(t, decimals_are_equal_by_value);
    tcase_add_test(t, infinities_and_nan_equal_themselves);
    tcase_add_test(t, other_types_equal_their_own_only);
    tcase_add_test(t, arrays_are_equal_element_by_element);
    tcase_add_test(t, tables_are_equal_in_any_order);
    tcase_add_test(t, a_name_that_comes_twice_keeps_its_order);
    tcase_add_test(t, many_names_are_compared);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    return suite_run(suite());
}
