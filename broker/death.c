/* death.c - the x-death header.
 *
 * An entry a (queue, reason), the most recent first; a death that happened before is counted in its entry and
 * moves to the front. Fields in RabbitMQ's order: count, reason, queue, time, exchange, routing-keys,
 * original-expiration. */
#include "broker/death.h"

#include <stdio.h>
#include <stdlib.h>

#include "protocol/table.h"

/* A field of a table as it lies there: name, type and value. */
struct piece {
    struct slice name, bytes;
};

struct pieces {
    struct piece *at;
    size_t count, capacity;
};

static void add_piece(struct pieces *pieces, struct slice name, struct slice bytes)
{
    if (pieces->count == pieces->capacity) {
        pieces->capacity = pieces->capacity ? pieces->capacity * 2 : 16;
        pieces->at = mem_realloc(pieces->at, pieces->capacity * sizeof(*pieces->at));
    }
    pieces->at[pieces->count++] = (struct piece){name, bytes};
}

static bool field_is(struct slice table, const char *name, struct slice value)
{
    struct field field;
    struct slice text;
    return table_find(table, name, &field) && field_string(&field, &text) && slice_equal(text, value);
}

static bool is_same(struct slice table, const struct death *death)
{
    return field_is(table, "queue", death->queue) &&
           field_is(table, "reason", slice_of_string(death->reason));
}

/* The keys that it was published with, but those of the BCC header, which is gone already. */
static void put_keys(struct buf *table, const struct message *m, struct slice headers)
{
    struct buf keys = {0};
    struct field cc, item;
    struct slice text;
    array_put_string(&keys, message_key(m));
    if (table_find(headers, "CC", &cc) && cc.type == 'A')
        for (struct slice rest = cc.bytes; array_next(&rest, &item);)
            if (field_string(&item, &text))
                array_put_string(&keys, text);
    table_put_array(table, "routing-keys", buf_slice(&keys));
    buf_free(&keys);
}

/* An entry for a first death. */
static void put_new(struct buf *array, const struct message *m, const struct props *props,
                    const struct death *death)
{
    struct buf table = {0};
    table_put_int(&table, "count", 1);
    table_put_string(&table, "reason", slice_of_string(death->reason));
    table_put_string(&table, "queue", death->queue);
    table_put_time(&table, "time", death->time_s);
    table_put_string(&table, "exchange", message_exchange(m));
    put_keys(&table, m, props->headers);
    if (props->flags & PROP_expiration)
        table_put_string(&table, "original-expiration", props->expiration);
    array_put_table(array, buf_slice(&table));
    buf_free(&table);
}

/* The entry of an earlier death, with one more. */
static void put_again(struct buf *array, struct slice old)
{
    struct buf table = {0};
    struct slice rest = old, name;
    struct field field;
    const uint8_t *from = rest.at;
    int64_t count = 0;
    while (table_next(&rest, &name, &field)) {
        if (slice_is(name, "count") && field_integer(&field, &count))
            table_put_int(&table, "count", count < INT64_MAX ? count + 1 : count);
        else
            buf_append(&table, from, (size_t)(rest.at - from));
        from = rest.at;
    }
    array_put_table(array, buf_slice(&table));
    buf_free(&table);
}

/* The whole array: this death, then the others as they were. */
static void put_deaths(struct buf *array, struct slice old, const struct message *m,
                       const struct props *props, const struct death *death)
{
    struct field item;
    bool again = false;
    for (struct slice rest = old; !again && array_next(&rest, &item);)
        if (item.type == 'F' && is_same(item.bytes, death)) {
            put_again(array, item.bytes);
            again = true;
        }
    if (!again)
        put_new(array, m, props, death);
    for (struct slice rest = old; array_next(&rest, &item);)
        if (item.type == 'F' && !is_same(item.bytes, death))
            array_put_table(array, item.bytes);
}

/* Headers that are made anew. */
static bool is_replaced(const struct message *m, const struct death *death, struct slice name)
{
    if (slice_is(name, "CC"))
        return !death->keep_cc;
    if (slice_starts_with(name, "x-first-death-"))
        return !m->dead_letter;
    return slice_is(name, "x-death") || slice_is(name, "BCC") || slice_starts_with(name, "x-last-death-");
}

static void add_pieces(struct pieces *pieces, struct slice table, const struct message *m,
                       const struct death *death)
{
    struct slice rest = table, name;
    struct field field;
    const uint8_t *from = rest.at;
    while (table_next(&rest, &name, &field)) {
        if (!death || !is_replaced(m, death, name))
            add_piece(pieces, name, slice_of(from, (size_t)(rest.at - from)));
        from = rest.at;
    }
}

static int by_name(const void *a, const void *b)
{
    const struct piece *one = a, *other = b;
    int order = slice_compare(one->name, other->name);
    return order ? order : (one->name.at > other->name.at) - (one->name.at < other->name.at);
}

static void put_summary(struct buf *table, const char *which, const struct message *m,
                        const struct death *death)
{
    static const char *const names[] = {"exchange", "queue", "reason"};
    const struct slice values[] = {message_exchange(m), death->queue, slice_of_string(death->reason)};
    for (size_t i = 0; i < array_size(names); i++) {
        char name[32];
        snprintf(name, sizeof(name), "x-%s-death-%s", which, names[i]);
        table_put_string(table, name, values[i]);
    }
}

void death_record(struct buf *headers, const struct message *m, const struct props *props,
                  const struct death *death)
{
    struct buf deaths = {0}, made = {0};
    struct pieces pieces = {0};
    struct field old;
    bool has_old = m->dead_letter && table_find(props->headers, "x-death", &old) && old.type == 'A';
    put_deaths(&deaths, has_old ? old.bytes : slice_of(NULL, 0), m, props, death);
    table_put_array(&made, "x-death", buf_slice(&deaths));
    if (!m->dead_letter)
        put_summary(&made, "first", m, death);
    put_summary(&made, "last", m, death);
    add_pieces(&pieces, props->headers, m, death);
    add_pieces(&pieces, buf_slice(&made), m, NULL);
    qsort(pieces.at, pieces.count, sizeof(*pieces.at), by_name);
    assert(pieces.count >= 4);
    for (size_t i = 0; i < pieces.count; i++)
        buf_append_slice(headers, pieces.at[i].bytes);
    mem_free(pieces.at);
    buf_free(&deaths);
    buf_free(&made);
}

bool death_is_cycle(struct slice headers, struct slice queue)
{
    struct field deaths, item;
    if (!table_find(headers, "x-death", &deaths) || deaths.type != 'A')
        return false;
    for (struct slice rest = deaths.bytes; array_next(&rest, &item);) {
        assert(item.type == 'F');
        if (field_is(item.bytes, "reason", SLICE("rejected")))
            return false;
        if (field_is(item.bytes, "queue", queue))
            return true;
    }
    return false;
}
