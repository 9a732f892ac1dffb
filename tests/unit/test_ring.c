/* test_ring.c - the ring against a plain array (SEED). */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rand.h"
#include "base/ring.h"
#include "tests/unit/suite.h"

enum { MODEL_MAX = 5000, STEPS = 60000 };

RING(numbers, unsigned);

static unsigned model[MODEL_MAX];
static size_t model_size;

static struct rand seeded(void)
{
    const char *text = getenv("SEED");
    struct rand secure = rand_secure();
    uint64_t seed = text ? strtoull(text, NULL, 0) : rand_u64(&secure);
    printf("SEED=%llu\n", (unsigned long long)seed);
    fflush(stdout);
    return rand_seeded(seed);
}

static void push(struct numbers *ring, bool front, unsigned number)
{
    if (front) {
        memmove(model + 1, model, model_size * sizeof(*model));
        model[0] = number;
        ck_assert_uint_eq(*numbers_push_front(ring, number), number);
    } else {
        model[model_size] = number;
        ck_assert_uint_eq(*numbers_push_back(ring, number), number);
    }
    model_size++;
}

static void pop(struct numbers *ring, bool front)
{
    model_size--;
    if (front) {
        ck_assert_uint_eq(numbers_pop_front(ring), model[0]);
        memmove(model, model + 1, model_size * sizeof(*model));
    } else {
        ck_assert_uint_eq(numbers_pop_back(ring), model[model_size]);
    }
}

START_TEST(test_model)
{
    struct rand rand = seeded();
    struct numbers ring = {0};
    size_t wanted = 0;
    for (unsigned step = 0; step < STEPS; step++) {
        if (step % 500 == 0)
            wanted = (size_t)rand_below(&rand, 100);
        bool front = rand_below(&rand, 3) == 0;
        if (model_size > 0 && (model_size > wanted || rand_below(&rand, 2)))
            pop(&ring, !front);
        else
            push(&ring, front, step);
        ck_assert_uint_eq(ring.size, model_size);
        if (model_size > 0) {
            size_t i = (size_t)rand_below(&rand, model_size);
            ck_assert_uint_eq(*numbers_at(&ring, i), model[i]);
        }
    }
    numbers_free(&ring);
}
END_TEST

START_TEST(test_gives_memory_back)
{
    struct numbers ring = {0};
    for (unsigned i = 0; i < RING_KEEP_ITEMS; i++)
        numbers_push_back(&ring, i);
    for (unsigned i = 0; i < RING_KEEP_ITEMS; i++)
        ck_assert_uint_eq(numbers_pop_front(&ring), i);
    ck_assert_uint_eq(ring.capacity, RING_KEEP_ITEMS); /* small enough to keep */
    for (unsigned i = 0; i <= RING_KEEP_ITEMS; i++)
        numbers_push_back(&ring, i);
    for (unsigned i = 0; i <= RING_KEEP_ITEMS; i++)
        ck_assert_uint_eq(numbers_pop_front(&ring), i);
    ck_assert_ptr_null(ring.slots);
    numbers_push_front(&ring, 7); /* and works on */
    ck_assert_uint_eq(numbers_pop_back(&ring), 7);
    numbers_free(&ring);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("ring");
    TCase *tcase = tcase_create("ring");
    tcase_add_test(tcase, test_model);
    tcase_add_test(tcase, test_gives_memory_back);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
