/* bench_topic.c - what a topic match costs at 10 k, 100 k and 1 M bindings, and a hit in the cache.
 * Columns: ns a match without the cache, queues it finds, ns for each of those; ns a route when
 * 262,144 keys come in turn (the cache is of little use), 2,048, and 16 (all hits); ns a bind and an unbind;
 * bytes a binding beyond struct binding, with its key. Every key matches at least one binding. */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/rand.h"
#include "exchange/route.h"

enum { LOOKUPS = 1 << 18, QUEUES = 10000 };

static double now_ns(void)
{
    return (double)clock_now_ns();
}

static size_t heap_bytes(void)
{
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

/* What a random binding looks like. */
enum shape {
    SHAPE_WORDS,   /* four words of 1,000 in each place; one binding in ten has a '*', one in twenty a '#' */
    SHAPE_DEVICES, /* the same, but the second word is one of ten million */
    SHAPE_WILD,    /* as the first, but each word may be a wildcard: many queues a key */
    SHAPES
};

static const char *const shape_names[SHAPES] = {"words", "devices", "wild"};

struct setup {
    enum shape shape;
    struct map exchanges;
    struct router router;
    struct exchange *x;
    struct dest *queues;
    struct rand rand;
    size_t bound;
    char (*keys)[64]; /* LOOKUPS of them */
    size_t *lens;
};

/* Writes a key; in a binding some words are wildcards. */
static size_t random_key(struct setup *s, char *key, bool binding)
{
    size_t len = 0;
    unsigned place = (unsigned)rand_below(&s->rand, 4);
    uint64_t dice = rand_below(&s->rand, 100);
    for (unsigned word = 0; word < 4; word++) {
        if (s->shape == SHAPE_WILD)
            dice = rand_below(&s->rand, 100), place = word;
        bool device = word == 1 && s->shape == SHAPE_DEVICES;
        unsigned id = (unsigned)rand_below(&s->rand, device ? 10000000 : 1000);
        const char *dot = word ? "." : "";
        if (binding && place == word && dice < 15)
            len += (size_t)sprintf(key + len, "%s%s", dot, dice < 10 ? "*" : "#");
        else
            len += (size_t)sprintf(key + len, "%sw%u-%u", dot, word, id);
    }
    return len;
}

/* A key that the binding key matches. */
static size_t fill_key(struct setup *s, struct slice pattern, char *key)
{
    size_t len = 0;
    for (size_t i = 0; i < pattern.len; i++) {
        if (pattern.at[i] == '*' || pattern.at[i] == '#')
            len += (size_t)sprintf(key + len, "x%u", (unsigned)rand_below(&s->rand, 1000));
        else
            key[len++] = (char)pattern.at[i];
    }
    return len;
}

/* Binds random keys. */
static void bind_random(struct setup *s, size_t count)
{
    char key[128];
    struct fault f;
    for (size_t i = 0; i < count; i++) {
        struct slice name = slice_of(key, random_key(s, key, true));
        struct dest *queue = &s->queues[rand_below(&s->rand, QUEUES)];
        if (exchange_find_binding(s->x, queue, name, (struct slice){0}))
            continue;
        if (!exchange_bind(s->x, queue, name, (struct slice){0}, &f))
            abort();
        s->bound++;
    }
}

static void choose_keys(struct setup *s)
{
    struct binding **all = calloc(s->bound, sizeof(struct binding *));
    size_t n = 0;
    list_each(node, &s->x->binding_list)
        all[n++] = container_of(node, struct binding, by_source);
    for (size_t i = 0; i < LOOKUPS; i++)
        s->lens[i] = fill_key(s, all[rand_below(&s->rand, n)]->key, s->keys[i]);
    free(all);
}

/* Nanoseconds a match by the type itself, without the cache. */
static double match_all(struct setup *s, size_t *found)
{
    struct route_set set = {0};
    *found = 0;
    double start = now_ns();
    for (size_t i = 0; i < LOOKUPS; i++) {
        struct slice key = slice_of(s->keys[i], s->lens[i]);
        struct route_input input = {.keys = &key, .key_count = 1};
        set.size = 0, set.stamp = ++s->router.stamp;
        s->x->type->match(s->x->index, &input, key, &set);
        *found += set.size;
    }
    double ns = (now_ns() - start) / LOOKUPS;
    free(set.queues);
    return ns;
}

/* Nanoseconds a route when `distinct` keys (a power of two) come in turn. */
static double route_keys(struct setup *s, size_t distinct)
{
    size_t size = 0;
    double start = now_ns();
    for (size_t i = 0; i < LOOKUPS * 8; i++) {
        size_t n = i & (distinct - 1);
        struct slice key = slice_of(s->keys[n], s->lens[n]);
        struct route_input input = {.keys = &key, .key_count = 1};
        size += route(&s->router, s->x, &input)->size;
    }
    double ns = (now_ns() - start) / (LOOKUPS * 8);
    return size == SIZE_MAX ? 0 : ns;
}

static void measure(enum shape shape, size_t count)
{
    struct setup s = {.rand = rand_seeded(7), .shape = shape};
    map_init(&s.exchanges, 1);
    router_init(&s.router, &s.exchanges);
    s.x = exchange_new(SLICE("topic"), exchange_type_find(SLICE("topic")), (struct slice){0}, 1, 99);
    s.queues = calloc(QUEUES, sizeof(*s.queues));
    for (size_t i = 0; i < QUEUES; i++)
        dest_init(&s.queues[i], DEST_QUEUE, SLICE("q"));
    s.keys = calloc(LOOKUPS, sizeof(*s.keys));
    s.lens = calloc(LOOKUPS, sizeof(*s.lens));
    size_t before = heap_bytes(), found;
    double start = now_ns();
    bind_random(&s, count);
    double bind = (now_ns() - start) / (double)count;
    double bytes = (double)(heap_bytes() - before) / (double)s.bound;
    choose_keys(&s);
    double match = match_all(&s, &found);
    double miss = route_keys(&s, LOOKUPS), warm = route_keys(&s, 2048), hot = route_keys(&s, 16);
    start = now_ns();
    exchange_free(&s.x);
    double unbind = (now_ns() - start) / (double)s.bound;
    printf("%-7s %8zu  %6.0f %9.1f %6.0f %7.0f %7.1f %7.1f %6.0f %6.0f %6.0f\n", shape_names[shape],
           s.bound, match, (double)found / LOOKUPS, match / ((double)found / LOOKUPS), miss, warm, hot,
           bind, unbind, bytes - (double)sizeof(struct binding));
    router_free(&s.router);
    free(s.keys), free(s.lens), free(s.queues);
}

int main(void)
{
    printf("%-7s %8s  %6s %9s %6s %7s %7s %7s %6s %6s %6s\n", "keys", "bindings", "match", "queues", "each",
           "route:", "2k keys", "16 keys", "bind", "unbind", "bytes");
    for (enum shape shape = 0; shape < SHAPES; shape++)
        for (size_t count = 10000; count <= 1000000; count *= 10)
            measure(shape, count);
    return 0;
}
