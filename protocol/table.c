/* table.c - field tables, checked once and then read in place (specification, section 4.2.5.5, with the
 * types that RabbitMQ knows).
 * table_check is the gate: all other functions trust what passed it, and assert. Each level of nesting costs
 * one frame of the stack, and there are at most TABLE_DEPTH_MAX of them. */
#include "protocol/table.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "protocol/wire.h"

enum { SIZE_PREFIXED = -1, SIZE_UNKNOWN = -2 };

/* Octets of a value of that type. */
static int value_size(char type)
{
    switch (type) {
    case 'V':
        return 0;
    case 't':
    case 'b':
    case 'B':
        return 1;
    case 's':
    case 'u':
        return 2;
    case 'I':
    case 'i':
    case 'f':
        return 4;
    case 'D':
        return 5;
    case 'l':
    case 'L':
    case 'd':
    case 'T':
        return 8;
    case 'S':
    case 'x':
    case 'A':
    case 'F':
        return SIZE_PREFIXED;
    default:
        return SIZE_UNKNOWN;
    }
}

/* Reads type and value; a type that nobody knows makes the reader bad, as its size is not known. */
static struct field read_field(struct reader *r)
{
    char type = (char)read_u8(r);
    int size = value_size(type);
    if (size == SIZE_UNKNOWN) {
        r->bad = true;
        r->at = r->end;
        size = 0;
    }
    struct slice bytes = size == SIZE_PREFIXED ? read_lstr(r) : read_bytes(r, (size_t)size);
    return (struct field){type, bytes};
}

static bool check(struct slice fields, bool named, int depth)
{
    struct reader r = reader_of(fields);
    if (depth > TABLE_DEPTH_MAX)
        return false;
    while (r.at < r.end) {
        if (named)
            read_sstr(&r);
        struct field field = read_field(&r);
        if (r.bad)
            return false;
        bool nested = field.type == 'F' || field.type == 'A';
        if (nested && !check(field.bytes, field.type == 'F', depth + 1))
            return false;
    }
    return true;
}

bool table_check(struct slice table)
{
    return check(table, true, 1);
}

bool table_fits_below(struct slice table, int levels)
{
    assert(levels >= 0);
    return check(table, true, 1 + levels);
}

bool table_next(struct slice *rest, struct slice *name, struct field *field)
{
    if (rest->len == 0)
        return false;
    struct reader r = reader_of(*rest);
    *name = read_sstr(&r);
    *field = read_field(&r);
    assertf(!r.bad, "a table that was not checked, %zu octets before its end", rest->len);
    *rest = slice_of(r.at, (size_t)(r.end - r.at));
    return true;
}

bool array_next(struct slice *rest, struct field *field)
{
    if (rest->len == 0)
        return false;
    struct reader r = reader_of(*rest);
    *field = read_field(&r);
    assertf(!r.bad, "an array that was not checked, %zu octets before its end", rest->len);
    *rest = slice_of(r.at, (size_t)(r.end - r.at));
    return true;
}

bool table_find(struct slice table, const char *name, struct field *field)
{
    struct slice found, wanted = slice_of_string(name);
    while (table_next(&table, &found, field))
        if (slice_equal(found, wanted))
            return true;
    return false;
}

bool field_integer(const struct field *field, int64_t *value)
{
    const uint8_t *at = field->bytes.at;
    int size = value_size(field->type);
    assertf(size < 0 || (size_t)size == field->bytes.len, "%zu octets of type %c", field->bytes.len,
            field->type);
    switch (field->type) {
    case 'b':
        *value = (int8_t)at[0];
        return true;
    case 'B':
        *value = at[0];
        return true;
    case 's':
        *value = (int16_t)load_u16(at);
        return true;
    case 'u':
        *value = load_u16(at);
        return true;
    case 'I':
        *value = (int32_t)load_u32(at);
        return true;
    case 'i':
        *value = load_u32(at);
        return true;
    case 'l':
    case 'L':
        *value = (int64_t)load_u64(at);
        return true;
    default:
        return false;
    }
}

bool field_integer_or_text(const struct field *field, int64_t *value)
{
    enum { DIGITS_MAX = 18 }; /* what an int64_t holds for certain */
    struct slice text;
    if (field_integer(field, value))
        return true;
    if (!field_string(field, &text) || text.len == 0 || text.len > DIGITS_MAX)
        return false;
    *value = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.at[i] < '0' || text.at[i] > '9')
            return false;
        *value = *value * 10 + (text.at[i] - '0');
    }
    return true;
}

bool field_bool(const struct field *field, bool *value)
{
    if (field->type != 't')
        return false;
    assert(field->bytes.len == 1);
    *value = field->bytes.at[0] != 0;
    return true;
}

bool field_string(const struct field *field, struct slice *value)
{
    if (field->type != 'S')
        return false;
    *value = field->bytes;
    return true;
}

const char *field_type_name(char type)
{
    static const struct {
        char type;
        const char *name;
    } names[] = {
        {'t', "bool"},     {'b', "byte"},          {'B', "unsignedbyte"}, {'s', "short"},
        {'u', "unsignedshort"}, {'I', "signedint"}, {'i', "unsignedint"}, {'l', "long"},
        {'L', "long"},     {'f', "float"},         {'d', "double"},       {'D', "decimal"},
        {'T', "timestamp"}, {'S', "longstr"},      {'A', "array"},        {'F', "table"},
        {'V', "void"},     {'x', "binary"},
    };
    for (size_t i = 0; i < array_size(names); i++)
        if (names[i].type == type)
            return names[i].name;
    return "unknown";
}

/* A number in its one simplest form: an integer where it is whole, else a double where that is exact, else a
 * decimal fraction. Equal numbers have equal forms, whatever they came as. */
struct number {
    enum { WHOLE, REAL, DECIMAL } kind;
    bool negative;      /* WHOLE; zero is not negative */
    uint64_t magnitude; /* WHOLE, and DECIMAL without its point */
    unsigned scale;     /* DECIMAL: digits after the point */
    double real;        /* REAL */
};

static struct number of_integer(int64_t v)
{
    uint64_t magnitude = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
    return (struct number){.kind = WHOLE, .negative = v < 0, .magnitude = magnitude};
}

static struct number of_double(double v)
{
    static const double two_to_64 = 18446744073709551616.0;
    double magnitude = v < 0 ? -v : v;
    if (magnitude < two_to_64 && (double)(uint64_t)magnitude == magnitude)
        return (struct number){.kind = WHOLE, .negative = v < 0, .magnitude = (uint64_t)magnitude};
    return (struct number){.kind = REAL, .real = v};
}

/* mantissa / 10^scale is a binary fraction exactly when 5^scale divides the mantissa. */
static struct number of_decimal(unsigned scale, uint64_t mantissa)
{
    while (scale > 0 && mantissa % 10 == 0)
        mantissa /= 10, scale--;
    uint64_t fives = mantissa;
    unsigned left = scale;
    while (left > 0 && fives % 5 == 0)
        fives /= 5, left--;
    if (left > 0)
        return (struct number){.kind = DECIMAL, .magnitude = mantissa, .scale = scale};
    assert(scale < 64); /* 5^scale divides what was 32 bits */
    return of_double((double)fives / (double)(UINT64_C(1) << scale));
}

static double double_of_bits(uint64_t bits)
{
    double v;
    memcpy(&v, &bits, sizeof(v));
    return v;
}

static double float_of_bits(uint32_t bits)
{
    float v;
    memcpy(&v, &bits, sizeof(v));
    return (double)v;
}

/* False for what is not a number. */
static bool to_number(const struct field *field, struct number *number)
{
    int64_t integer;
    if (field_integer(field, &integer)) {
        *number = of_integer(integer);
        return true;
    }
    const uint8_t *at = field->bytes.at;
    switch (field->type) {
    case 'f':
        *number = of_double(float_of_bits(load_u32(at)));
        return true;
    case 'd':
        *number = of_double(double_of_bits(load_u64(at)));
        return true;
    case 'D':
        *number = of_decimal(at[0], load_u32(at + 1));
        return true;
    case 'T':
        *number = (struct number){.kind = WHOLE, .magnitude = load_u64(at)};
        return true;
    default:
        return false;
    }
}

static bool number_equal(const struct number *a, const struct number *b)
{
    if (a->kind != b->kind)
        return false;
    if (a->kind == REAL)
        return a->real == b->real;
    return a->magnitude == b->magnitude && a->negative == b->negative && a->scale == b->scale;
}

static bool array_equal(struct slice a, struct slice b)
{
    struct field x, y;
    while (array_next(&a, &x)) {
        if (!array_next(&b, &y) || !field_equal(&x, &y))
            return false;
    }
    return b.len == 0;
}

static bool is_octets(const struct field *field)
{
    return field->type == 'S' || field->type == 'x';
}

bool field_equal(const struct field *a, const struct field *b)
{
    struct number x, y;
    if (a->type == b->type && slice_equal(a->bytes, b->bytes))
        return true; /* also a NaN and itself: a binding that holds one can be found again */
    if (to_number(a, &x))
        return to_number(b, &y) && number_equal(&x, &y);
    if (is_octets(a) && is_octets(b))
        return slice_equal(a->bytes, b->bytes);
    if (a->type != b->type)
        return false;
    switch (a->type) {
    case 't':
        return !a->bytes.at[0] == !b->bytes.at[0];
    case 'A':
        return array_equal(a->bytes, b->bytes);
    case 'F':
        return table_equal(a->bytes, b->bytes);
    default:
        return false;
    }
}

struct entry {
    struct slice name;
    struct field field;
};

static size_t count(struct slice table)
{
    struct entry e;
    size_t n = 0;
    while (table_next(&table, &e.name, &e.field))
        n++;
    return n;
}

/* By name, and fields of one name in the order they came (a later value lies at a higher address). */
static int compare(const void *left, const void *right)
{
    const struct entry *a = left, *b = right;
    int order = slice_compare(a->name, b->name);
    return order ? order : (a->name.at > b->name.at) - (a->name.at < b->name.at);
}

static void sort(struct slice table, struct entry *entries, size_t n)
{
    size_t i = 0;
    while (i < n && table_next(&table, &entries[i].name, &entries[i].field))
        i++;
    assert(i == n && table.len == 0);
    qsort(entries, n, sizeof(*entries), compare);
}

bool table_equal(struct slice a, struct slice b)
{
    if (slice_equal(a, b))
        return true;
    size_t n = count(a);
    if (n != count(b))
        return false;
    /* Sorted, not searched for one by one: a client may send tens of thousands of names. */
    struct entry *entries = mem_alloc(2 * n * sizeof(*entries));
    sort(a, entries, n);
    sort(b, entries + n, n);
    bool equal = true;
    for (size_t i = 0; i < n && equal; i++) {
        const struct entry *x = &entries[i], *y = &entries[n + i];
        equal = slice_equal(x->name, y->name) && field_equal(&x->field, &y->field);
    }
    mem_free(entries);
    return equal;
}

/* Appends name and type and makes room for `size` octets of value, which the caller fills. */
static struct writer put(struct buf *table, const char *name, char type, size_t size)
{
    struct slice text = slice_of_string(name);
    size_t total = 1 + text.len + 1 + size;
    struct writer w = writer_of(buf_reserve(table, total), total);
    write_sstr(&w, text);
    write_u8(&w, (uint8_t)type);
    table->len += total;
    return w;
}

void table_put_bool(struct buf *table, const char *name, bool value)
{
    struct writer w = put(table, name, 't', 1);
    write_u8(&w, value);
    assert(!w.bad && w.at == w.end);
}

void table_put_string(struct buf *table, const char *name, struct slice value)
{
    struct writer w = put(table, name, 'S', 4 + value.len);
    write_lstr(&w, value);
    assert(!w.bad && w.at == w.end);
}

void table_put_int(struct buf *table, const char *name, int64_t value)
{
    struct writer w = put(table, name, 'l', 8);
    write_u64(&w, (uint64_t)value);
    assert(!w.bad && w.at == w.end);
}

void table_put_array(struct buf *table, const char *name, struct slice items)
{
    struct writer w = put(table, name, 'A', 4 + items.len);
    write_lstr(&w, items);
    assert(!w.bad && w.at == w.end);
}

void table_put_table(struct buf *table, const char *name, struct slice fields)
{
    struct writer w = put(table, name, 'F', 4 + fields.len);
    write_table(&w, fields);
    assert(!w.bad && w.at == w.end);
}

void table_put_time(struct buf *table, const char *name, uint64_t seconds)
{
    struct writer w = put(table, name, 'T', 8);
    write_u64(&w, seconds);
    assert(!w.bad && w.at == w.end);
}

static void append(struct buf *array, char type, struct slice value)
{
    size_t total = 1 + 4 + value.len;
    struct writer w = writer_of(buf_reserve(array, total), total);
    write_u8(&w, (uint8_t)type);
    write_lstr(&w, value);
    array->len += total;
    assert(!w.bad && w.at == w.end);
}

void array_put_string(struct buf *array, struct slice value)
{
    append(array, 'S', value);
}

void array_put_table(struct buf *array, struct slice fields)
{
    append(array, 'F', fields);
}
