/* term.c - field tables written as Erlang terms, as io_lib:format("~p") writes them on one line: a binary
 * whose octets are all printable Latin-1 is text, any other is a list of numbers.
 *
 * Nesting is bounded by table_check, size by that of the table. */
#include "broker/term.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "protocol/table.h"
#include "protocol/wire.h"

static void put_fields(struct buf *out, struct slice table);

static bool is_printable(uint8_t c)
{
    return (c >= ' ' && c < 127) || c >= 160 || (c >= 8 && c <= 13) || c == 27;
}

static void put_character(struct buf *out, uint8_t c)
{
    static const char escapes[] = {[8] = 'b', [9] = 't', [10] = 'n', [11] = 'v', [12] = 'f', [13] = 'r',
                                   [27] = 'e', ['"'] = '"', ['\\'] = '\\'};
    if (c < sizeof(escapes) && escapes[c])
        buf_append(out, (uint8_t[]){'\\', (uint8_t)escapes[c]}, 2);
    else
        buf_append(out, &c, 1);
}

static void put_binary(struct buf *out, struct slice bytes)
{
    bool text = true;
    for (size_t i = 0; i < bytes.len; i++)
        text = text && is_printable(bytes.at[i]);
    buf_printf(out, text && bytes.len ? "<<\"" : "<<");
    for (size_t i = 0; i < bytes.len; i++)
        if (text)
            put_character(out, bytes.at[i]);
        else
            buf_printf(out, i ? ",%u" : "%u", bytes.at[i]);
    buf_printf(out, text && bytes.len ? "\">>" : ">>");
}

/* The fewest digits that are this number again; a term of a float has a point. */
static void put_float(struct buf *out, double value)
{
    char text[40];
    int digits = 1;
    do
        snprintf(text, sizeof(text), "%.*g", digits, value);
    while (digits++ < 17 && strtod(text, NULL) != value);
    const char *exponent = strchr(text, 'e');
    size_t mantissa = exponent ? (size_t)(exponent - text) : strlen(text);
    buf_append(out, text, mantissa);
    if (!memchr(text, '.', mantissa))
        buf_printf(out, ".0");
    if (exponent)
        buf_printf(out, "e%d", atoi(exponent + 1));
}

static void put_items(struct buf *out, struct slice rest);

static void put_value(struct buf *out, const struct field *field)
{
    const uint8_t *at = field->bytes.at;
    union {
        uint32_t bits;
        float value;
    } single;
    union {
        uint64_t bits;
        double value;
    } twice;
    int64_t integer;
    if (field_integer(field, &integer)) {
        buf_printf(out, "%lld", (long long)integer);
        return;
    }
    switch (field->type) {
    case 't': buf_printf(out, at[0] ? "true" : "false"); break;
    case 'T': buf_printf(out, "%llu", (unsigned long long)load_u64(at)); break;
    case 'D': buf_printf(out, "{%u,%u}", at[0], load_u32(at + 1)); break;
    case 'f': single.bits = load_u32(at), put_float(out, (double)single.value); break;
    case 'd': twice.bits = load_u64(at), put_float(out, twice.value); break;
    case 'V': buf_printf(out, "undefined"); break;
    case 'F': put_fields(out, field->bytes); break;
    case 'A': put_items(out, field->bytes); break;
    default: put_binary(out, field->bytes); break; /* S, x */
    }
}

static void put_items(struct buf *out, struct slice rest)
{
    struct field item;
    buf_printf(out, "[");
    for (bool first = true; array_next(&rest, &item); first = false) {
        buf_printf(out, "%s{%s,", first ? "" : ",", field_type_name(item.type));
        put_value(out, &item);
        buf_printf(out, "}");
    }
    buf_printf(out, "]");
}

static void put_field(struct buf *out, struct slice name, const struct field *field)
{
    buf_printf(out, "{");
    put_binary(out, name);
    buf_printf(out, ",%s,", field_type_name(field->type));
    put_value(out, field);
    buf_printf(out, "}");
}

static void put_fields(struct buf *out, struct slice table)
{
    struct slice name;
    struct field field;
    buf_printf(out, "[");
    for (bool first = true; table_next(&table, &name, &field); first = false) {
        if (!first)
            buf_printf(out, ",");
        put_field(out, name, &field);
    }
    buf_printf(out, "]");
}

void term_put_fields(struct buf *array, struct slice table)
{
    struct buf term = {0};
    struct slice name;
    struct field field;
    while (table_next(&table, &name, &field)) {
        term.len = 0;
        put_field(&term, name, &field);
        array_put_string(array, buf_slice(&term));
    }
    buf_free(&term);
}
