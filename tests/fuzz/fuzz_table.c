/* fuzz_table.c - field tables: walking what table_check accepted stays inside it and ends; equality is
 * reflexive, symmetric and blind to the order of the names. The first octet says where the input is cut into
 * two tables. */
#include "base/assert.h"
#include "base/mem.h"
#include "protocol/table.h"
#include "tests/fuzz/fuzz.h"

const struct slice fuzz_seeds[] = {
    FUZZ_SEED("\x07\x01" "aI\0\0\0\x01" "\x01" "al\0\0\0\0\0\0\0\x01"),
    FUZZ_SEED("\x10\x01" "at\x01\x01" "bS\0\0\0\x02xy\x01" "cV\x01" "cV\x01" "bS\0\0\0\x02xy\x01" "at\x02"),
    FUZZ_SEED("\x0E\x01" "aF\0\0\0\x07\x01" "bI\0\0\0\x02\x01" "aF\0\0\0\x04\x01" "bb\x02"),
    FUZZ_SEED("\x0C\x01" "aA\0\0\0\x05t\x01VB\x07\x01" "aA\0\0\0\x06t\x01Vu\0\x07"),
    FUZZ_SEED("\x0B\x01" "ad\x3F\xF0\0\0\0\0\0\0\x01" "af\x3F\x80\0\0"),
    FUZZ_SEED("\x08\x01" "aD\x01\0\0\0\x0A\x01" "aT\0\0\0\0\0\0\0\x01"),
    FUZZ_SEED("\x09\x01" "ax\0\0\0\x02xy\x01" "as\xFF\xFF"
              "\x01" "ai\xFF\xFF\xFF\xFF\x01" "aL\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF"),
};
const size_t fuzz_seeds_count = array_size(fuzz_seeds);

static void check_inside(struct slice inner, struct slice outer)
{
    assert(inner.at >= outer.at && inner.at + inner.len <= outer.at + outer.len);
}

static void walk(struct slice fields, bool named, int depth);

static void check_field(const struct field *field, int depth)
{
    int64_t integer;
    bool truth;
    struct slice text;
    int kinds = field_integer(field, &integer) + field_bool(field, &truth) + field_string(field, &text);
    assertf(kinds <= 1, "type %c is %d things", field->type, kinds);
    assert(strcmp(field_type_name(field->type), "unknown") != 0);
    assert(field_equal(field, field));
    if (field->type == 'F' || field->type == 'A')
        walk(field->bytes, field->type == 'F', depth + 1);
}

static void walk(struct slice fields, bool named, int depth)
{
    struct slice rest = fields, name;
    struct field field;
    assertf(depth <= TABLE_DEPTH_MAX, "depth %d", depth);
    for (size_t left = rest.len; rest.len; left = rest.len) {
        bool more = named ? table_next(&rest, &name, &field) : array_next(&rest, &field);
        assert(more && rest.len < left);
        check_inside(field.bytes, fields);
        if (named)
            check_inside(name, fields);
        check_field(&field, depth);
    }
}

/* Moves the first field to the end: the same table, unless its name comes again. */
static void check_rotation(struct slice table)
{
    struct slice rest = table, name, other;
    struct field field;
    if (!table_next(&rest, &name, &field))
        return;
    bool twice = false;
    for (struct slice r = rest; table_next(&r, &other, &field);)
        twice |= slice_equal(name, other);
    struct buf rotated = {0};
    buf_append_slice(&rotated, rest);
    buf_append(&rotated, table.at, table.len - rest.len);
    assert(table_check(buf_slice(&rotated)));
    assert(twice || table_equal(table, buf_slice(&rotated)));
    assert(twice || table_equal(buf_slice(&rotated), table));
    buf_free(&rotated);
}

static void check_find(struct slice table)
{
    struct slice rest = table, name;
    struct field field, found;
    char text[256];
    if (!table_next(&rest, &name, &field) || memchr(name.at, 0, name.len))
        return;
    memcpy(text, name.at, name.len);
    text[name.len] = 0;
    bool there = table_find(table, text, &found);
    assert(there && found.bytes.at == field.bytes.at && found.type == field.type);
}

/* Fields of two tables, compared both ways: equality is symmetric. */
static void check_pair(struct slice a, struct slice b)
{
    struct slice name;
    struct field x, y;
    assert(table_equal(a, b) == table_equal(b, a));
    while (table_next(&a, &name, &x))
        if (table_next(&b, &name, &y))
            assertf(field_equal(&x, &y) == field_equal(&y, &x), "types %c and %c", x.type, y.type);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    size_t cut = data[0] <= size - 1 ? data[0] : size - 1;
    struct slice tables[] = {slice_of(data + 1, cut), slice_of(data + 1 + cut, size - 1 - cut)};
    bool good[2];
    for (int i = 0; i < 2; i++) {
        good[i] = table_check(tables[i]);
        if (!good[i])
            continue;
        walk(tables[i], true, 1);
        check_rotation(tables[i]);
        check_find(tables[i]);
    }
    if (good[0] && good[1])
        check_pair(tables[0], tables[1]);
    return 0;
}
