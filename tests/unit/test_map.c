/* test_map.c - the hash map against a plain array, with keys that collide (SEED). */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/map.h"
#include "base/mem.h"
#include "base/rand.h"
#include "tests/unit/suite.h"

enum { KEYS = 400, STEPS = 60000, MAP_SEED = 77 };

struct item {
    char name[16];
    bool present;
};

static struct item items[KEYS];

static struct rand seeded(void)
{
    const char *text = getenv("SEED");
    struct rand secure = rand_secure();
    uint64_t seed = text ? strtoull(text, NULL, 0) : rand_u64(&secure);
    printf("SEED=%llu\n", (unsigned long long)seed);
    fflush(stdout);
    return rand_seeded(seed);
}

static struct slice name_of(const struct item *item)
{
    return slice_of_string(item->name);
}

/* Half of the names have their home in the last three slots of any table of up to 64 slots: long
 * runs that wrap around the end. */
static void make_names(void)
{
    unsigned number = 0;
    for (size_t i = 0; i < KEYS; number++) {
        snprintf(items[i].name, sizeof(items[i].name), "key-%u", number);
        if (i % 2 == 0 || (slice_hash(name_of(&items[i]), MAP_SEED) & 63) >= 61)
            i++;
    }
}

static void check_all(const struct map *map, size_t present)
{
    size_t seen = 0;
    ck_assert_uint_eq(map->size, present);
    for (size_t i = 0; i < KEYS; i++)
        ck_assert_ptr_eq(map_get(map, name_of(&items[i])), items[i].present ? &items[i] : NULL);
    map_each(map, i)
        seen += ((struct item *)map->slots[i].value)->present;
    ck_assert_uint_eq(seen, present);
}

START_TEST(test_churn)
{
    struct rand rand = seeded();
    struct map map;
    map_init(&map, MAP_SEED);
    make_names();
    size_t present = 0, wanted = 20;
    for (size_t step = 0; step < STEPS; step++) {
        if (step % 1000 == 0) { /* small and large tables, growing and shrinking */
            check_all(&map, present);
            wanted = 1 + (size_t)rand_below(&rand, KEYS);
        }
        struct item *item = &items[rand_below(&rand, wanted)];
        if (rand_below(&rand, KEYS) < present)
            item = &items[rand_below(&rand, KEYS)];
        if (item->present) {
            ck_assert_ptr_eq(map_remove(&map, name_of(item)), item);
            present--;
        } else {
            ck_assert_ptr_null(map_remove(&map, name_of(item)));
            map_put(&map, name_of(item), item);
            present++;
        }
        item->present = !item->present;
        ck_assert_ptr_eq(map_get(&map, name_of(item)), item->present ? item : NULL);
    }
    map_free(&map);
}
END_TEST

START_TEST(test_empty)
{
    struct map map;
    map_init(&map, 1);
    ck_assert_ptr_null(map_get(&map, SLICE("a")));
    ck_assert_ptr_null(map_remove(&map, SLICE("a")));
    map_put(&map, SLICE(""), &map); /* a name may be empty, and hold zeros */
    map_put(&map, slice_of("\0\0", 2), &items);
    ck_assert_ptr_eq(map_get(&map, SLICE("")), &map);
    ck_assert_ptr_eq(map_get(&map, slice_of("\0\0", 2)), &items);
    ck_assert_ptr_null(map_get(&map, slice_of("\0", 1)));
    map_free(&map);
    ck_assert_ptr_null(map_get(&map, SLICE("")));
    map_free(&map);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("map");
    TCase *tcase = tcase_create("map");
    tcase_add_test(tcase, test_churn);
    tcase_add_test(tcase, test_empty);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
