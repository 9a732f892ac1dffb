/* topology.c - declares what a run needs and removes it again. */
#include "tools/perf/topology.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "protocol/table.h"

/* Appends the pattern with %d replaced by `number` and %r by a word that depends on `word`. */
static void put_pattern(struct buf *out, const char *pattern, uint64_t number, uint64_t word)
{
    for (const char *at = pattern; *at; at++) {
        if (at[0] == '%' && at[1] == 'd')
            buf_printf(out, "%" PRIu64, number), at++;
        else if (at[0] == '%' && at[1] == 'r')
            buf_printf(out, "w%" PRIx64, word * UINT64_C(0x9E3779B1) & 0xFFFFFFFF), at++;
        else
            buf_append(out, at, 1);
    }
}

static bool has_number(const char *pattern)
{
    return strstr(pattern, "%d") != NULL;
}

static void name_queues(struct topology *t)
{
    const char *pattern = t->options->topology.queue;
    struct buf name = {0};
    if (!pattern)
        pattern = t->options->mode == MODE_QUEUES ? "leveret-perf-queue-%d" : "leveret-perf-%d";
    t->names = mem_zalloc(t->queues * sizeof(*t->names));
    for (uint64_t i = 0; i < t->queues; i++) {
        name.len = 0;
        put_pattern(&name, pattern, i, 0);
        if (t->queues > 1 && !has_number(pattern))
            buf_printf(&name, "-%" PRIu64, i);
        t->names[i] = slice_copy(buf_slice(&name));
    }
    buf_free(&name);
}

/* "x-max-length=1000,x-queue-type=quorum": numbers, true and false, else strings. */
static bool parse_arguments(struct topology *t, const char *text)
{
    char name[256];
    while (text && *text) {
        const char *equals = strchr(text, '='), *end = strchrnul(text, ',');
        if (!equals || equals > end || equals - text > 255 || equals == text)
            return false;
        memcpy(name, text, (size_t)(equals - text));
        name[equals - text] = 0;
        struct slice value = slice_of(equals + 1, (size_t)(end - equals - 1));
        char *rest = NULL;
        long long number = strtoll(equals + 1, &rest, 10);
        if (rest == end && value.len)
            table_put_int(&t->arguments, name, number);
        else if (slice_is(value, "true") || slice_is(value, "false"))
            table_put_bool(&t->arguments, name, slice_is(value, "true"));
        else
            table_put_string(&t->arguments, name, value);
        text = *end ? end + 1 : end;
    }
    return true;
}

static bool choose_exchange(struct topology *t)
{
    static const char *const types[] = {
        [EXCHANGE_DIRECT] = "direct", [EXCHANGE_FANOUT] = "fanout", [EXCHANGE_TOPIC] = "topic",
        [EXCHANGE_HEADERS] = "headers",
    };
    const struct topology_options *o = &t->options->topology;
    const char *type = o->type ? o->type : o->exchange && *o->exchange ? "direct" : NULL;
    if (!type)
        return true;
    for (size_t i = EXCHANGE_DIRECT; i < array_size(types); i++)
        if (strcmp(type, types[i]) == 0)
            t->kind = (enum exchange_kind)i;
    t->type = slice_of_string(type);
    if (t->kind == EXCHANGE_DEFAULT)
        return false;
    struct buf name = {0};
    if (o->exchange)
        buf_append(&name, o->exchange, strlen(o->exchange));
    else
        buf_printf(&name, "leveret-perf-%s", type);
    t->exchange = slice_copy(buf_slice(&name));
    buf_free(&name);
    t->declares_exchange = !o->predeclared && !slice_starts_with(t->exchange, "amq.");
    return true;
}

/* A key that the user gave without a number goes to all queues, unless the bindings are given too. */
static void choose_keys(struct topology *t)
{
    static const char *const keys[] = {"", "perf.%d", "", "perf.%d.%r.order", ""};
    static const char *const binding_keys[] = {"", "perf.%d", "", "perf.%d.*.#", ""};
    const struct topology_options *o = &t->options->topology;
    t->key = o->key ? o->key : keys[t->kind];
    t->binding_key = o->binding_key ? o->binding_key : binding_keys[t->kind];
    bool by_key = t->kind == EXCHANGE_DIRECT || t->kind == EXCHANGE_TOPIC;
    t->broadcast = t->kind == EXCHANGE_FANOUT;
    if (by_key && o->key && !has_number(o->key) && !o->binding_key) {
        t->binding_key = NULL; /* the key itself */
        t->broadcast = true;
    } else if (by_key && !has_number(t->binding_key)) {
        t->broadcast = true;
    }
    if (t->kind == EXCHANGE_DEFAULT)
        t->bindings = t->queues;
    if (t->kind == EXCHANGE_DEFAULT || t->kind == EXCHANGE_FANOUT)
        t->keys = t->bindings;
    if (t->broadcast && !has_number(t->key) && !strstr(t->key, "%r"))
        t->keys = 1;
    if (t->keys < t->queues && !t->broadcast)
        t->keys = t->queues;
}

bool topology_init(struct topology *t, const struct options *options)
{
    const struct topology_options *o = &options->topology;
    *t = (struct topology){.options = options, .queues = o->queues, .bindings = o->bindings,
                           .keys = o->keys};
    if (!choose_exchange(t)) {
        fprintf(stderr, "leveret-perf: --type must be direct, fanout, topic or headers\n");
        return false;
    }
    if (!parse_arguments(t, o->queue_args)) {
        fprintf(stderr, "leveret-perf: --queue-args must be of the form name=value,name=value\n");
        return false;
    }
    choose_keys(t);
    name_queues(t);
    return true;
}

void topology_free(struct topology *t)
{
    for (uint64_t i = 0; t->names && i < t->queues; i++)
        slice_free(&t->names[i]);
    mem_free(t->names);
    slice_free(&t->exchange);
    buf_free(&t->arguments);
    buf_free(&t->scratch);
    t->names = NULL;
}

void topology_put_key(const struct topology *t, uint64_t v, struct buf *out)
{
    assert(v < t->keys);
    if (t->kind == EXCHANGE_DEFAULT)
        buf_append_slice(out, t->names[v % t->queues]);
    else
        put_pattern(out, t->key, v % t->bindings, v / t->bindings);
}

void topology_put_headers(const struct topology *t, uint64_t v, struct buf *out)
{
    assert(t->kind == EXCHANGE_HEADERS);
    table_put_int(out, "perf", (int64_t)(v % t->bindings));
}

static void make_queue(struct method *m, uint64_t i, void *arg)
{
    struct topology *t = arg;
    const struct topology_options *o = &t->options->topology;
    *m = (struct method){.id = METHOD_queue_declare,
                         .queue_declare = {.queue = t->names[i], .durable = o->durable,
                                           .auto_delete = o->auto_delete,
                                           .arguments = buf_slice(&t->arguments)}};
}

static void make_queue_purge(struct method *m, uint64_t i, void *arg)
{
    struct topology *t = arg;
    *m = (struct method){.id = METHOD_queue_purge, .queue_purge = {.queue = t->names[i]}};
}

static void make_queue_delete(struct method *m, uint64_t i, void *arg)
{
    struct topology *t = arg;
    *m = (struct method){.id = METHOD_queue_delete, .queue_delete = {.queue = t->names[i]}};
}

static void put_binding_key(struct topology *t, uint64_t b)
{
    if (t->kind == EXCHANGE_FANOUT || t->kind == EXCHANGE_HEADERS)
        return;
    if (t->binding_key)
        put_pattern(&t->scratch, t->binding_key, b, 0);
    else if (b < t->queues)
        put_pattern(&t->scratch, t->key, 0, 0);
    else
        put_pattern(&t->scratch, "leveret-perf-other.%d.*.#", b, 0);
}

static void make_binding(struct method *m, uint64_t b, void *arg)
{
    struct topology *t = arg;
    struct slice arguments = {0};
    t->scratch.len = 0;
    put_binding_key(t, b);
    size_t key_len = t->scratch.len;
    if (t->kind == EXCHANGE_HEADERS) {
        struct buf *out = &t->scratch;
        table_put_string(out, "x-match", SLICE("all"));
        table_put_int(out, "perf", (int64_t)b);
    }
    if (t->scratch.len)
        arguments = slice_of(t->scratch.at + key_len, t->scratch.len - key_len);
    *m = (struct method){.id = METHOD_queue_bind,
                         .queue_bind = {.queue = t->names[b % t->queues], .exchange = t->exchange,
                                        .routing_key = slice_of(t->scratch.at, key_len),
                                        .arguments = arguments}};
}

bool topology_declare_queues(struct topology *t, struct client *c)
{
    return client_pipeline(c, t->queues, make_queue, t, METHOD_queue_declare_ok);
}

bool topology_declare(struct topology *t, struct client *c)
{
    const struct options *o = t->options;
    if (o->topology.predeclared)
        return true;
    struct method m = {.id = METHOD_exchange_declare,
                       .exchange_declare = {.exchange = t->exchange, .type = t->type,
                                            .durable = o->topology.durable}};
    if (t->declares_exchange && !client_call(c, &m, METHOD_exchange_declare_ok, NULL))
        return false;
    if (!topology_declare_queues(t, c))
        return false;
    if (t->kind != EXCHANGE_DEFAULT &&
        !client_pipeline(c, t->bindings, make_binding, t, METHOD_queue_bind_ok))
        return false;
    bool purges = o->mode == MODE_THROUGHPUT || o->mode == MODE_LATENCY;
    return !purges || o->publish.producers == 0 ||
           client_pipeline(c, t->queues, make_queue_purge, t, METHOD_queue_purge_ok);
}

bool topology_depth(struct topology *t, struct client *c, uint64_t *messages)
{
    *messages = 0;
    for (uint64_t i = 0; i < t->queues; i++) {
        struct method m = {.id = METHOD_queue_declare,
                           .queue_declare = {.queue = t->names[i], .passive = true}};
        struct method reply;
        if (!client_call(c, &m, METHOD_queue_declare_ok, &reply))
            return false;
        *messages += reply.queue_declare_ok.message_count;
    }
    return true;
}

bool topology_delete_queues(struct topology *t, struct client *c)
{
    return client_pipeline(c, t->queues, make_queue_delete, t, METHOD_queue_delete_ok);
}

bool topology_delete(struct topology *t, struct client *c)
{
    struct method m = {.id = METHOD_exchange_delete, .exchange_delete = {.exchange = t->exchange}};
    if (t->declares_exchange && !client_call(c, &m, METHOD_exchange_delete_ok, NULL))
        return false;
    return topology_delete_queues(t, c);
}
