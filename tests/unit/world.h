/* world.h - for tests of exchange/: a router with its exchanges, queues that are mere destinations,
 * and routes written as text, so that a test reads like the rule it checks. */
#ifndef TESTS_UNIT_WORLD_H
#define TESTS_UNIT_WORLD_H

#include <check.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "exchange/route.h"
#include "protocol/table.h"
#include "tests/unit/suite.h"

enum { WORLD_QUEUES_MAX = 512, WORLD_SEED = 42 };

/* An assertion for inner loops: check's own ones write to a pipe even when they hold. */
#define expect(expr, ...) ((expr) ? (void)0 : expect_failed(__FILE__, __LINE__, #expr, __VA_ARGS__))

__attribute__((format(printf, 4, 5))) static inline void expect_failed(const char *file, int line,
                                                                       const char *expr,
                                                                       const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    ck_abort_msg("%s:%d: %s: %s", file, line, expr, text);
}

struct world {
    struct map exchanges;
    struct router router;
    struct dest queues[WORLD_QUEUES_MAX];
    size_t queue_count;
    uint64_t next_id;
    char routed[4096];
};

static inline void world_init(struct world *w)
{
    *w = (struct world){0};
    map_init(&w->exchanges, WORLD_SEED);
    router_init(&w->router, &w->exchanges);
}

/* The exchange of that type; with the arguments that `args` holds, if any. */
static inline struct exchange *world_exchange_with(struct world *w, const char *name, const char *type,
                                                   struct slice args)
{
    const struct exchange_type *t = exchange_type_find(slice_of_string(type));
    ck_assert_ptr_nonnull(t);
    ck_assert(table_check(args));
    struct exchange *x = exchange_new(slice_of_string(name), t, args, ++w->next_id, WORLD_SEED);
    map_put(&w->exchanges, x->name, x);
    router_changed(&w->router);
    return x;
}

static inline struct exchange *world_exchange(struct world *w, const char *name, const char *type)
{
    return world_exchange_with(w, name, type, (struct slice){0});
}

/* An exchange with an alternate one. */
static inline struct exchange *world_exchange_alt(struct world *w, const char *name, const char *type,
                                                  const char *alternate)
{
    struct buf args = {0};
    table_put_string(&args, "alternate-exchange", slice_of_string(alternate));
    struct exchange *x = world_exchange_with(w, name, type, buf_slice(&args));
    buf_free(&args);
    return x;
}

static inline struct dest *world_queue(struct world *w, const char *name)
{
    ck_assert(w->queue_count < WORLD_QUEUES_MAX);
    struct dest *queue = &w->queues[w->queue_count++];
    dest_init(queue, DEST_QUEUE, slice_of_string(name));
    return queue;
}

static inline void world_unbind(struct world *w, struct binding *binding)
{
    expect(binding, "no binding");
    exchange_unbind(&binding);
    expect(!binding, "not NULLed");
    router_changed(&w->router);
}

/* Removes what is bound from and to it, then the exchange. */
static inline void world_delete(struct world *w, struct exchange *x)
{
    while (!list_empty(&x->dest.bindings))
        world_unbind(w, list_first(&x->dest.bindings, struct binding, by_dest));
    map_remove(&w->exchanges, x->name);
    exchange_free(&x);
    ck_assert_ptr_null(x);
    router_changed(&w->router);
}

static inline void world_free(struct world *w)
{
    while (w->exchanges.size > 0) {
        struct exchange *any = NULL;
        map_each(&w->exchanges, i) any = w->exchanges.slots[i].value;
        world_delete(w, any);
    }
    for (size_t i = 0; i < w->queue_count; i++)
        ck_assert(list_empty(&w->queues[i].bindings));
    map_free(&w->exchanges);
    router_free(&w->router);
}

static inline struct binding *world_bind_with(struct world *w, struct exchange *x, struct dest *dest,
                                              const char *key, struct slice args)
{
    struct fault f;
    expect(table_check(args), "bad table");
    struct binding *binding = exchange_bind(x, dest, slice_of_string(key), args, &f);
    expect(binding, "%s", f.text);
    router_changed(&w->router);
    return binding;
}

static inline struct binding *world_bind(struct world *w, struct exchange *x, struct dest *dest,
                                         const char *key)
{
    return world_bind_with(w, x, dest, key, (struct slice){0});
}

static int world_compare(const void *a, const void *b)
{
    const struct dest *const *x = a, *const *y = b;
    return slice_compare((*x)->name, (*y)->name);
}

/* The names of the queues that the message reaches, sorted, with spaces between; "" = unroutable. */
static inline const char *world_route_input(struct world *w, struct exchange *x,
                                            const struct route_input *input)
{
    const struct route_set *set = route(&w->router, x, input);
    struct dest *sorted[WORLD_QUEUES_MAX];
    ck_assert(set->size <= WORLD_QUEUES_MAX);
    if (set->size)
        memcpy(sorted, set->queues, set->size * sizeof(sorted[0]));
    qsort(sorted, set->size, sizeof(sorted[0]), world_compare);
    size_t len = 0;
    w->routed[0] = 0;
    for (size_t i = 0; i < set->size; i++) {
        ck_assert_int_eq(sorted[i]->kind, DEST_QUEUE);
        len += (size_t)snprintf(w->routed + len, sizeof(w->routed) - len, "%s%.*s", i ? " " : "",
                                SLICE_ARG(sorted[i]->name));
        ck_assert(len < sizeof(w->routed));
    }
    return w->routed;
}

static inline const char *world_route(struct world *w, struct exchange *x, const char *key)
{
    struct slice keys[] = {slice_of_string(key)};
    return world_route_input(w, x, &(struct route_input){.keys = keys, .key_count = 1});
}

static inline const char *world_route_headers(struct world *w, struct exchange *x,
                                              struct slice headers)
{
    struct slice keys[] = {SLICE("")};
    ck_assert(table_check(headers));
    return world_route_input(
        w, x, &(struct route_input){.keys = keys, .key_count = 1, .headers = headers});
}

/* Appends a field whose value is the `size` low bytes of `bits`, big-endian. */
static inline void put_raw(struct buf *table, const char *name, char type, uint64_t bits, int size)
{
    uint8_t len = (uint8_t)strlen(name);
    buf_append(table, &len, 1);
    buf_append(table, name, len);
    buf_append(table, &type, 1);
    for (int i = size - 1; i >= 0; i--) {
        uint8_t byte = (uint8_t)(bits >> (8 * i));
        buf_append(table, &byte, 1);
    }
}

static inline void put_double(struct buf *table, const char *name, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof(bits));
    put_raw(table, name, 'd', bits, 8);
}

static inline void put_float(struct buf *table, const char *name, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    put_raw(table, name, 'f', bits, 4);
}

static inline void put_decimal(struct buf *table, const char *name, uint8_t scale, uint32_t mantissa)
{
    put_raw(table, name, 'D', (uint64_t)scale << 32 | mantissa, 5);
}

static inline void put_void(struct buf *table, const char *name)
{
    put_raw(table, name, 'V', 0, 0);
}

static inline void put_text(struct buf *table, const char *name, const char *value)
{
    table_put_string(table, name, slice_of_string(value));
}

/* The seed of a model test: from the environment, or a new one; printed, so that a run can be repeated. */
static inline uint64_t world_seed(const char *test)
{
    const char *given = getenv("SEED");
    uint64_t seed;
    if (given) {
        seed = strtoull(given, NULL, 0);
    } else {
        FILE *random = fopen("/dev/urandom", "rb");
        ck_assert_ptr_nonnull(random);
        ck_assert_int_eq(fread(&seed, sizeof(seed), 1, random), 1);
        fclose(random);
    }
    printf("%s: SEED=%llu\n", test, (unsigned long long)seed);
    fflush(stdout);
    return seed;
}

#endif
