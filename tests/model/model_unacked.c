/* model_unacked.c - random deliveries, settlements and rollbacks of a channel against a plain array
 * (SEED). */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/rand.h"
#include "queue/unacked.h"
#include "tests/unit/suite.h"

enum { TAGS = 60000, ROUNDS = 8, UNSETTLED_MAX = 3000, STEPS_MAX = 2000000 };

struct model {
    bool there[TAGS + 1];
    uint64_t newest;
    size_t size;
};

struct world {
    struct rand rand;
    struct unacked unacked;
    struct model model;
    uint64_t transaction[TAGS]; /* tags settled and not committed, in that order */
    size_t transaction_size;
    uint64_t stride; /* the channel's tags are the model's times this */
};

/* So sparse are the tags of a round, one after the other. */
static const uint64_t strides[] = {1, 1, 1, 7, 33, 100, 5000, 1000000007};

static struct message none;

static void put(struct world *w, uint64_t tag)
{
    struct unacked_item item = {.entry = {.message = &none, .sequence = ~tag}};
    ck_assert(!w->model.there[tag]);
    unacked_put(&w->unacked, tag * w->stride, &item);
    w->model.there[tag] = true;
    w->model.size++;
}

/* The model's side of a take, and what the item must be. */
static void taken(struct world *w, uint64_t tag, const struct unacked_item *item, bool keep)
{
    ck_assert(w->model.there[tag]);
    ck_assert_uint_eq(item->entry.sequence, ~tag);
    w->model.there[tag] = false;
    w->model.size--;
    if (keep)
        w->transaction[w->transaction_size++] = tag;
}

static void take_one(struct world *w, bool keep)
{
    struct unacked_item item;
    uint64_t tag = rand_below(&w->rand, w->model.newest + 3);
    if (rand_below(&w->rand, 2) && w->model.newest > 40) /* mostly recent ones are there */
        tag = w->model.newest - rand_below(&w->rand, 40);
    bool there = tag <= w->model.newest && w->model.there[tag];
    ck_assert_int_eq(unacked_has(&w->unacked, tag * w->stride), there);
    ck_assert_int_eq(unacked_take(&w->unacked, tag * w->stride, &item), there);
    if (there)
        taken(w, tag, &item, keep);
}

static uint64_t oldest(const struct world *w)
{
    uint64_t tag = 1;
    while (tag <= w->model.newest && !w->model.there[tag])
        tag++;
    return tag;
}

static void take_up_to(struct world *w, bool keep)
{
    struct unacked_item item;
    uint64_t tag, expected = oldest(w);
    uint64_t up_to = expected + rand_below(&w->rand, 100);
    if (rand_below(&w->rand, 20) == 0)
        up_to = UINT64_MAX;
    uint64_t end = up_to < TAGS ? up_to * w->stride : UINT64_MAX;
    while (unacked_take_first(&w->unacked, end, &tag, &item)) {
        tag /= w->stride;
        while (!w->model.there[expected])
            expected++;
        ck_assert_uint_eq(tag, expected);
        taken(w, tag, &item, keep);
    }
    for (; expected <= w->model.newest && expected <= up_to; expected++)
        ck_assert(!w->model.there[expected]);
}

static void end_transaction(struct world *w, bool commit)
{
    while (!commit && w->transaction_size)
        put(w, w->transaction[--w->transaction_size]);
    w->transaction_size = 0;
}

static void count_chunk(void *arg, uint64_t tag, const struct unacked_item *item)
{
    uint64_t *last = arg;
    ck_assert_ptr_nonnull(item);
    last[1] += tag / 32 != last[0];
    last[0] = tag / 32;
}

/* Chunks that exist hold something, but for the newest; and the directory is no larger than they are. */
static void check_memory(const struct world *w)
{
    uint64_t last[2] = {UINT64_MAX, 0};
    size_t chunks = 0;
    list_each(node, &w->unacked.chunks)
        chunks++;
    unacked_each(&w->unacked, count_chunk, last);
    ck_assert_uint_ge(chunks, last[1]);
    ck_assert_uint_le(chunks, last[1] + 1);
    if (w->stride > 200)
        ck_assert_uint_le(w->unacked.directory.size, 64);
    ck_assert_uint_le(w->unacked.directory.capacity, 32 * UNSETTLED_MAX);
}

/* What comes next, from anywhere. */
static void look(const struct world *w)
{
    uint64_t from = rand_below((struct rand *)(uintptr_t)&w->rand, w->model.newest + 3), tag = 0;
    const struct unacked_item *item = unacked_next(&w->unacked, from * w->stride, &tag);
    while (from <= w->model.newest && !w->model.there[from])
        from++;
    if (from > w->model.newest) {
        ck_assert_ptr_null(item);
        return;
    }
    ck_assert_ptr_nonnull(item);
    ck_assert_uint_eq(tag, from * w->stride);
    ck_assert_uint_eq(item->entry.sequence, ~from);
}

static void step(struct world *w, uint64_t eagerness)
{
    uint64_t choice = rand_below(&w->rand, 100);
    bool in_transaction = w->transaction_size > 0 || rand_below(&w->rand, 8) == 0;
    if (choice < eagerness && w->model.size < UNSETTLED_MAX)
        put(w, ++w->model.newest);
    else if (choice < 90)
        take_one(w, in_transaction);
    else if (choice < 93)
        take_up_to(w, in_transaction);
    else if (choice < 95)
        end_transaction(w, rand_below(&w->rand, 2));
    else
        look(w);
    ck_assert_uint_eq(w->unacked.size, w->model.size);
}

START_TEST(test_random)
{
    static struct world w;
    const char *text = getenv("SEED");
    struct rand secure = rand_secure();
    uint64_t seed = (text ? strtoull(text, NULL, 0) : rand_u64(&secure)) + (uint64_t)_i;
    printf("SEED=%llu\n", (unsigned long long)(seed - (uint64_t)_i));
    fflush(stdout);
    w = (struct world){.rand = rand_seeded(seed), .stride = strides[_i % array_size(strides)]};
    unacked_init(&w.unacked);
    uint64_t eagerness = 50;
    size_t steps = 0;
    for (; w.model.newest < TAGS; steps++) {
        ck_assert_uint_lt(steps, STEPS_MAX);
        if (steps % 1000 == 0)
            eagerness = 30 + rand_below(&w.rand, 50);
        step(&w, eagerness);
        if (steps % 500 == 0)
            check_memory(&w);
    }
    end_transaction(&w, false);
    for (uint64_t tag = 0; tag <= TAGS; tag++)
        ck_assert_int_eq(unacked_has(&w.unacked, tag * w.stride), w.model.there[tag]);
    struct unacked_item item;
    uint64_t tag;
    while (unacked_take_first(&w.unacked, UINT64_MAX, &tag, &item))
        taken(&w, tag / w.stride, &item, false);
    ck_assert_uint_eq(w.model.size, 0);
    unacked_free(&w.unacked);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("model_unacked");
    TCase *tcase = tcase_create("unacked");
    tcase_add_loop_test(tcase, test_random, 0, ROUNDS);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
