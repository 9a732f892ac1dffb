/* test_heap.c - the heap against a plain array (SEED). */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/heap.h"
#include "base/rand.h"
#include "tests/unit/suite.h"

enum { NODES = 200, STEPS = 40000 };

static struct heap_node nodes[NODES];

static struct rand seeded(void)
{
    const char *text = getenv("SEED");
    struct rand secure = rand_secure();
    uint64_t seed = text ? strtoull(text, NULL, 0) : rand_u64(&secure);
    printf("SEED=%llu\n", (unsigned long long)seed);
    fflush(stdout);
    return rand_seeded(seed);
}

static uint64_t smallest(void)
{
    uint64_t key = UINT64_MAX;
    for (size_t i = 0; i < NODES; i++)
        if (heap_linked(&nodes[i]) && nodes[i].key < key)
            key = nodes[i].key;
    return key;
}

START_TEST(test_model)
{
    struct rand rand = seeded();
    struct heap heap = {0};
    size_t size = 0;
    for (size_t step = 0; step < STEPS; step++) {
        struct heap_node *node = &nodes[rand_below(&rand, NODES)];
        if (rand_below(&rand, 4) == 0) {
            node = heap_pop(&heap);
            ck_assert(!node == (size == 0));
            ck_assert(!node || node->key <= smallest());
            size -= node != NULL;
        } else if (heap_linked(node)) {
            heap_remove(&heap, node);
            size--;
        } else {
            node->key = rand_below(&rand, 50); /* many are equal */
            heap_push(&heap, node);
            size++;
        }
        ck_assert(!node || heap_linked(node) == (node->place != 0));
        ck_assert_uint_eq(heap.size, size);
        ck_assert_uint_eq(heap_min(&heap) ? heap_min(&heap)->key : UINT64_MAX, smallest());
    }
    heap_free(&heap);
}
END_TEST

START_TEST(test_sorts)
{
    struct rand rand = rand_seeded(1);
    struct heap heap = {0};
    for (size_t i = 0; i < NODES; i++) {
        nodes[i].key = rand_u64(&rand);
        heap_push(&heap, &nodes[i]);
    }
    uint64_t last = 0;
    for (size_t i = 0; i < NODES; i++) {
        struct heap_node *node = heap_pop(&heap);
        ck_assert_uint_ge(node->key, last);
        ck_assert(!heap_linked(node));
        last = node->key;
    }
    ck_assert_ptr_null(heap_pop(&heap));
    heap_free(&heap);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("heap");
    TCase *tcase = tcase_create("heap");
    tcase_add_test(tcase, test_model);
    tcase_add_test(tcase, test_sorts);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
