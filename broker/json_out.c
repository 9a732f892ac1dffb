/* json_out.c - JSON as text. */
#include "broker/json_out.h"

#include <inttypes.h>
#include <math.h>

#include "base/assert.h"
#include "base/map.h"
#include "protocol/table.h"

/* Bytes of the UTF-8 sequence that `rest` begins with, 0 when it is none. */
static size_t sequence_length(struct slice rest)
{
    assert(rest.len > 0);
    uint8_t first = rest.at[0];
    size_t len = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    return len <= rest.len && slice_is_utf8(slice_of(rest.at, len)) ? len : 0;
}

static void escape(struct buf *out, uint8_t byte)
{
    static const char letters[] = "\"\\\b\f\n\r\t", names[] = "\"\\bfnrt";
    const char *letter = byte ? strchr(letters, byte) : NULL;
    if (letter)
        buf_printf(out, "\\%c", names[letter - letters]);
    else
        buf_printf(out, "\\u%04x", byte);
}

static bool is_plain(uint8_t byte)
{
    return byte >= 0x20 && byte < 0x7f && byte != '"' && byte != '\\';
}

void json_out_text(struct buf *out, struct slice text)
{
    buf_append(out, "\"", 1);
    while (text.len) {
        size_t len = 0;
        while (len < text.len && is_plain(text.at[len]))
            len++;
        if (len == 0) {
            len = sequence_length(text);
            if (len > 1)
                buf_append(out, text.at, len);
            else if (len == 1)
                escape(out, text.at[0]);
            else
                buf_append(out, "\xef\xbf\xbd", 3);
            len = len ? len : 1;
        } else {
            buf_append(out, text.at, len);
        }
        text = slice_of(text.at + len, text.len - len);
    }
    buf_append(out, "\"", 1);
}

void json_out_string(struct buf *out, const char *string)
{
    json_out_text(out, slice_of_string(string));
}

void json_out_number(struct buf *out, int64_t number)
{
    buf_printf(out, "%" PRId64, number);
}

void json_out_flag(struct buf *out, bool flag)
{
    buf_append_slice(out, flag ? SLICE("true") : SLICE("false"));
}

void json_out_raw(struct buf *out, struct slice json)
{
    buf_append_slice(out, json.len ? json : SLICE("{}"));
}

void json_out_next(struct buf *out)
{
    assert(out->len > 0);
    uint8_t last = out->at[out->len - 1];
    if (last != '{' && last != '[')
        buf_append(out, ",", 1);
}

void json_out_key(struct buf *out, const char *name)
{
    json_out_next(out);
    json_out_string(out, name);
    buf_append(out, ":", 1);
}

void json_out_open(struct buf *out, char bracket)
{
    assert(bracket == '{' || bracket == '[');
    buf_append(out, &bracket, 1);
}

void json_out_close(struct buf *out, char bracket)
{
    assert(bracket == '}' || bracket == ']');
    buf_append(out, &bracket, 1);
}

static uint64_t bits_of(struct slice bytes)
{
    uint64_t bits = 0;
    assert(bytes.len <= 8);
    for (size_t i = 0; i < bytes.len; i++)
        bits = bits << 8 | bytes.at[i];
    return bits;
}

static void put_real(struct buf *out, double real)
{
    size_t start = out->len;
    if (!isfinite(real)) {
        buf_append_slice(out, SLICE("null"));
        return;
    }
    buf_printf(out, "%.17g", real);
    if (!memchr(out->at + start, '.', out->len - start) && !memchr(out->at + start, 'e', out->len - start))
        buf_append_slice(out, SLICE(".0"));
}

static void put_float(struct buf *out, const struct field *field)
{
    uint64_t bits = bits_of(field->bytes);
    uint32_t short_bits = (uint32_t)bits;
    float single;
    double real;
    memcpy(&single, &short_bits, sizeof(single));
    memcpy(&real, &bits, sizeof(real));
    put_real(out, field->type == 'f' ? (double)single : real);
}

static void put_decimal(struct buf *out, const struct field *field)
{
    assert(field->bytes.len == 5);
    int32_t value = (int32_t)(uint32_t)bits_of(slice_of(field->bytes.at + 1, 4));
    put_real(out, value / pow(10, field->bytes.at[0]));
}

/* As deep as table_check lets tables be. */
static void put_field(struct buf *out, const struct field *field)
{
    int64_t number;
    bool flag;
    struct slice rest = field->bytes;
    struct field element;
    if (field_integer(field, &number))
        json_out_number(out, number);
    else if (field_bool(field, &flag))
        json_out_flag(out, flag);
    else if (field->type == 'F')
        json_out_table(out, field->bytes);
    else if (field->type == 'f' || field->type == 'd')
        put_float(out, field);
    else if (field->type == 'D')
        put_decimal(out, field);
    else if (field->type == 'T')
        json_out_number(out, (int64_t)bits_of(field->bytes));
    else if (field->type == 'V')
        buf_append_slice(out, SLICE("null"));
    else if (field->type != 'A')
        json_out_text(out, field->bytes);
    else {
        json_out_open(out, '[');
        while (array_next(&rest, &element)) {
            json_out_next(out);
            put_field(out, &element);
        }
        json_out_close(out, ']');
    }
}

/* A zero byte would be JSON, but hardly any program reads it in the name of a member. What is no text gets
 * longer, and is cut to what a name can be: else nobody could take it in again. */
static void put_name(struct buf *out, struct slice name)
{
    char whole[UINT8_MAX];
    size_t used = 0;
    if (slice_is_utf8(name) && !(name.len && memchr(name.at, 0, name.len))) {
        json_out_text(out, name);
        return;
    }
    while (name.len) {
        size_t len = name.at[0] ? sequence_length(name) : 0, size = len ? len : 3;
        if (used + size > sizeof(whole))
            break;
        memcpy(whole + used, len ? (const char *)name.at : "\xef\xbf\xbd", size);
        used += size;
        name = slice_of(name.at + (len ? len : 1), name.len - (len ? len : 1));
    }
    json_out_text(out, slice_of(whole, used));
}

/* Where a name stands twice, the first one counts, as for whoever looks for it in the table; most programs
 * would take the last. */
void json_out_table(struct buf *out, struct slice table)
{
    struct slice name;
    struct field field;
    struct map seen;
    map_init(&seen, (uintptr_t)table.at); /* nobody else knows that */
    json_out_open(out, '{');
    while (table_next(&table, &name, &field)) {
        if (map_get(&seen, name))
            continue;
        if (table.len > 0) /* else nothing comes that could be the same */
            map_put(&seen, name, out);
        json_out_next(out);
        put_name(out, name);
        buf_append(out, ":", 1);
        put_field(out, &field);
    }
    map_free(&seen);
    json_out_close(out, '}');
}
