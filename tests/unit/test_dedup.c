/* test_dedup.c - ids that a client has chosen for the hashes that they have are found as soon as others. */
#include <check.h>

#include "queue/dedup.h"
#include "tests/unit/steps.h"
#include "tests/unit/suite.h"

enum { NAMES = 300, CHOSEN_BITS = 12, WINDOW = 1000 };

static struct dedup *dedup;
static struct dedup_ids ids;

static void identify(uint64_t name)
{
    ids = (struct dedup_ids){.now_ms = 1};
    dedup_identify(&ids, DEDUP_MESSAGE_ID, slice_of(&name, sizeof(name)), 1);
}

/* All that anybody can know: what the hash is without a secret. */
static bool is_chosen(void)
{
    uint64_t hash = slice_hash(slice_of(ids.of[DEDUP_MESSAGE_ID].key, sizeof(ids.of[0].key)), 0);
    return (hash & ((1 << CHOSEN_BITS) - 1)) == 0;
}

static void look(void *arg)
{
    (void)arg;
    uint64_t batch = 0;
    ck_assert(dedup_knows(dedup, &ids, &batch));
}

/* What it takes to know the last of them again. */
static uint64_t steps_among(bool chosen)
{
    struct dedup_home home;
    struct dedup_limits limits = {.max = {[DEDUP_MESSAGE_ID] = WINDOW}};
    dedup_home_init(&home);
    dedup = dedup_new(&home, 1, &limits);
    uint64_t name = 0;
    for (int i = 0; i < NAMES; i++) {
        do
            identify(++name);
        while (chosen && !is_chosen());
        dedup_take(dedup, &ids, NULL);
    }
    ck_assert_uint_eq(dedup_count(dedup, DEDUP_MESSAGE_ID), NAMES);
    uint64_t steps = steps_of(look, NULL);
    dedup_free(&dedup);
    return steps;
}

START_TEST(chosen_names)
{
    uint64_t any = steps_among(false), chosen = steps_among(true);
    fprintf(stderr, "a duplicate: %llu instructions among any names, %llu among chosen ones\n",
            (unsigned long long)any, (unsigned long long)chosen);
    ck_assert_uint_lt(chosen, any * 2 + 300);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("dedup");
    TCase *tests = tcase_create("dedup");
    tcase_add_test(tests, chosen_names);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
