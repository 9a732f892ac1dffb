/* json_in.c - JSON as Leveret's own types. */
#include "broker/json_in.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/mem.h"
#include "protocol/table.h"

bool json_in_text(const json_t *object, const char *name, struct slice *text)
{
    const json_t *value = json_object_get(object, name);
    if (!json_is_string(value))
        return false;
    *text = slice_of(json_string_value(value), json_string_length(value));
    return true;
}

bool json_in_number(const json_t *object, const char *name, int64_t *number)
{
    const json_t *value = json_object_get(object, name);
    if (!json_is_integer(value))
        return false;
    *number = json_integer_value(value);
    return true;
}

bool json_in_flag(const json_t *object, const char *name, bool *flag)
{
    const json_t *value = json_object_get(object, name);
    if (!json_is_boolean(value))
        return false;
    *flag = json_is_true(value);
    return true;
}

bool json_in_flag_or(const json_t *object, const char *name, bool otherwise)
{
    bool flag;
    return json_in_flag(object, name, &flag) ? flag : otherwise;
}

static void put_u32(struct buf *out, uint32_t number)
{
    uint8_t bytes[4] = {(uint8_t)(number >> 24), (uint8_t)(number >> 16), (uint8_t)(number >> 8),
                        (uint8_t)number};
    buf_append(out, bytes, sizeof(bytes));
}

static void put_u64(struct buf *out, uint64_t number)
{
    put_u32(out, (uint32_t)(number >> 32));
    put_u32(out, (uint32_t)number);
}

static bool put_fields(struct buf *out, const json_t *object, int depth, const char **reason);
static bool put_value(struct buf *out, const json_t *value, int depth, const char **reason);

/* A length that is known only when what it counts is there. */
static void set_length(struct buf *out, size_t start)
{
    size_t len = out->len - start;
    assert(start >= 4 && len <= UINT32_MAX);
    for (int i = 0; i < 4; i++)
        out->at[start - 4 + (size_t)i] = (uint8_t)(len >> (24 - 8 * i));
}

static bool put_nested(struct buf *out, const json_t *value, int depth, const char **reason)
{
    if (depth >= TABLE_DEPTH_MAX) {
        *reason = "arguments are nested too deeply";
        return false;
    }
    put_u32(out, 0);
    size_t start = out->len;
    bool good = true;
    if (json_is_object(value))
        good = put_fields(out, value, depth + 1, reason);
    for (size_t i = 0; json_is_array(value) && good && i < json_array_size(value); i++)
        good = put_value(out, json_array_get(value, i), depth + 1, reason);
    set_length(out, start);
    return good;
}

static bool put_value(struct buf *out, const json_t *value, int depth, const char **reason)
{
    double real;
    uint64_t bits;
    static const char types[] = {
        [JSON_OBJECT] = 'F', [JSON_ARRAY] = 'A', [JSON_STRING] = 'S', [JSON_INTEGER] = 'l',
        [JSON_REAL] = 'd',   [JSON_TRUE] = 't',  [JSON_FALSE] = 't',  [JSON_NULL] = 'V'};
    buf_append(out, &types[json_typeof(value)], 1);
    switch (json_typeof(value)) {
    case JSON_STRING:
        put_u32(out, (uint32_t)json_string_length(value));
        buf_append(out, json_string_value(value), json_string_length(value));
        return true;
    case JSON_INTEGER:
        put_u64(out, (uint64_t)json_integer_value(value));
        return true;
    case JSON_REAL:
        real = json_real_value(value);
        memcpy(&bits, &real, sizeof(bits));
        put_u64(out, bits);
        return true;
    case JSON_TRUE:
    case JSON_FALSE:
        buf_append(out, json_is_true(value) ? "\1" : "\0", 1);
        return true;
    case JSON_NULL:
        return true;
    case JSON_OBJECT:
    case JSON_ARRAY:
        break;
    }
    return put_nested(out, value, depth, reason);
}

static bool put_fields(struct buf *out, const json_t *object, int depth, const char **reason)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)object, name, value)
    {
        size_t len = strlen(name);
        if (len > UINT8_MAX) {
            *reason = "an argument's name is longer than 255 bytes";
            return false;
        }
        uint8_t short_len = (uint8_t)len;
        buf_append(out, &short_len, 1);
        buf_append(out, name, len);
        if (!put_value(out, value, depth, reason))
            return false;
    }
    return true;
}

bool json_in_table(const json_t *object, struct buf *table, const char **reason)
{
    size_t start = table->len;
    if (!object || json_is_null(object) || (json_is_array(object) && json_array_size(object) == 0))
        return true; /* an empty table comes as [] from Erlang programs, too */
    if (!json_is_object(object)) {
        *reason = "arguments are no object";
        return false;
    }
    if (!put_fields(table, object, 1, reason))
        return false;
    bool good = table_check(slice_of(table->at + start, table->len - start));
    assert(good);
    return true;
}

struct slice json_in_dump(const json_t *value)
{
    size_t flags = JSON_COMPACT | JSON_ENCODE_ANY;
    size_t len = json_dumpb(value, NULL, 0, flags);
    char *text = mem_alloc(len + 1);
    size_t again = json_dumpb(value, text, len, flags);
    assert(again == len);
    text[len] = 0;
    return slice_of(text, len);
}

json_t *json_in_parse(struct slice text, char *error, size_t error_size)
{
    json_error_t where;
    json_t *value =
        json_loadb((const char *)text.at, text.len, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL,
                   &where);
    if (!value)
        snprintf(error, error_size, "no JSON: %s at line %d column %d", where.text, where.line,
                 where.column);
    return value;
}
