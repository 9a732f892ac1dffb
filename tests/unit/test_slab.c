/* test_slab.c - blocks of every size. Under the address sanitizer the pool uses malloc, and what is
 * said about slabs does not apply. */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/mem.h"
#include "base/slab.h"
#include "tests/unit/suite.h"

START_TEST(test_every_size)
{
    struct slab_pool pool;
    slab_pool_init(&pool);
    size_t count = SLAB_BLOCK_MAX + 300;
    uint8_t **blocks = mem_alloc(count * sizeof(*blocks));
    for (size_t size = 0; size < count; size++) {
        blocks[size] = slab_alloc(&pool, size);
        ck_assert_uint_eq((uintptr_t)blocks[size] % sizeof(void *), 0);
        memset(blocks[size], (int)(size % 251), size);
    }
    ck_assert_uint_ge(pool.large_bytes, 299 * (SLAB_BLOCK_MAX + 1)); /* beyond the classes */
    for (size_t size = 0; size < count; size++) {
        size_t right = 0;
        while (right < size && blocks[size][right] == size % 251)
            right++;
        ck_assert_uint_eq(right, size); /* nobody wrote into it */
        slab_free(&pool, blocks[size], size);
    }
    mem_free(blocks);
    ck_assert_uint_eq(pool.large_bytes, 0);
    slab_pool_free(&pool); /* asserts that nothing is left */
}
END_TEST

START_TEST(test_reuse_and_return)
{
    enum { BLOCKS = 100000, SIZE = 100 };
    struct slab_pool pool;
    slab_pool_init(&pool);
    void **blocks = mem_alloc(BLOCKS * sizeof(*blocks));
    for (size_t i = 0; i < BLOCKS; i++)
        blocks[i] = slab_alloc(&pool, SIZE);
    size_t most = pool.slab_bytes;
    if (most > 0) {
        ck_assert_uint_lt(most, (size_t)BLOCKS * 128 * 102 / 100);
        slab_free(&pool, blocks[5], SIZE);
        ck_assert_ptr_eq(slab_alloc(&pool, 97), blocks[5]); /* the last freed, same class */
    }
    for (size_t i = 0; i < BLOCKS; i += 2) /* holes everywhere */
        slab_free(&pool, blocks[i], SIZE);
    ck_assert_uint_eq(pool.slab_bytes, most);
    for (size_t i = 0; i < BLOCKS; i += 2)
        blocks[i] = slab_alloc(&pool, SIZE);
    ck_assert_uint_eq(pool.slab_bytes, most); /* the holes were used */
    for (size_t i = 0; i < BLOCKS; i++)
        slab_free(&pool, blocks[i], SIZE);
    ck_assert(most == 0 || pool.slab_bytes < most);
    ck_assert_uint_eq(pool.slab_bytes, pool.empty_count * 65536);
    size_t kept = pool.empty_count;
    void *other = slab_alloc(&pool, 5000); /* an empty slab serves any class */
    ck_assert(most == 0 || pool.empty_count == kept - 1);
    slab_free(&pool, other, 5000);
    mem_free(blocks);
    slab_pool_free(&pool);
}
END_TEST

/* Pages of the slab that lie in memory. */
static size_t resident(void *slab)
{
    unsigned char pages[16];
    size_t count = 0;
    ck_assert_int_eq(mincore(slab, 65536, pages), 0);
    for (size_t i = 0; i < array_size(pages); i++)
        count += pages[i] & 1;
    return count;
}

/* What empties loses its memory, not its place, whatever malloc has done meanwhile. */
START_TEST(test_places)
{
    enum { BLOCKS = 16 * 300, SIZE = 4096 };
    struct slab_pool pool;
    slab_pool_init(&pool);
    static char *blocks[BLOCKS], *others[BLOCKS];
    size_t regions = 0;
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < BLOCKS; i++) {
            blocks[i] = slab_alloc(&pool, SIZE);
            memset(blocks[i], 1, SIZE);
            others[i] = mem_alloc(100);
        }
        ck_assert(round == 0 || pool.regions.count == regions);
        regions = pool.regions.count;
        for (size_t i = 0; i < BLOCKS; i++)
            slab_free(&pool, blocks[i], SIZE);
        size_t cold = 0;
        for (size_t i = 0; i < pool.cold.count; i++)
            cold += resident(pool.cold.at[i]);
        ck_assert_uint_eq(cold, 0);
        ck_assert(regions == 0 || pool.empty_count < 300);
        for (size_t i = 0; i < BLOCKS; i++)
            mem_free(others[i]);
    }
    slab_pool_free(&pool);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("slab");
    TCase *tcase = tcase_create("slab");
    tcase_add_test(tcase, test_every_size);
    tcase_add_test(tcase, test_reuse_and_return);
    tcase_add_test(tcase, test_places);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
