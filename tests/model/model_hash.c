/* model_hash.c - the exchange types that choose one destination, against naive ones: consistent hashing by a
 * walk over all points, the modulus by a sorted list, random choice by its frequencies; while bindings come
 * and go. SEED=n repeats a run. */
#include "base/rand.h"
#include "exchange/points.h"
#include "tests/unit/world.h"

enum { QUEUES = 40, STEPS = 3000, MESSAGES = 40000 };

struct model {
    struct world w;
    struct rand rand;
    struct exchange *x;
    struct dest *queues[QUEUES];
    struct binding *bound[QUEUES];
    char names[QUEUES][8];
};

static struct model model;

static void begin(const char *type, struct slice args)
{
    struct model *m = &model;
    *m = (struct model){.rand = rand_seeded(world_seed("model_hash"))};
    world_init(&m->w);
    m->x = world_exchange_with(&m->w, "x", type, args);
    for (int i = 0; i < QUEUES; i++) {
        snprintf(m->names[i], sizeof(m->names[i]), "q%d", i);
        m->queues[i] = world_queue(&m->w, m->names[i]);
    }
}

static void end(void)
{
    world_free(&model.w);
}

static void bind(int i, const char *key)
{
    struct fault f = {0};
    model.bound[i] =
        exchange_bind(model.x, model.queues[i], slice_of_string(key), (struct slice){0}, &f);
    expect(model.bound[i], "%s", f.text);
    router_changed(&model.w.router);
}

static void unbind(int i)
{
    exchange_unbind(&model.bound[i]);
    router_changed(&model.w.router);
}

/* The queue's number, -1 for none; two would be wrong. */
static int routed(const char *key)
{
    struct slice slice = slice_of_string(key);
    struct route_input input = {.keys = &slice, .key_count = 1};
    const struct route_set *set = route(&model.w.router, model.x, &input);
    expect(set->size <= 1, "%zu queues", set->size);
    for (int i = 0; set->size && i < QUEUES; i++)
        if (set->queues[0] == model.queues[i])
            return i;
    return -1;
}

static const char *random_key(char key[16])
{
    snprintf(key, 16, "k%llu", (unsigned long long)rand_below(&model.rand, 100000));
    return key;
}

/* --- the treap --- */

static int compare_points(const void *a, const void *b)
{
    const struct point *const *left = a, *const *right = b;
    if ((*left)->at != (*right)->at)
        return (*left)->at < (*right)->at ? -1 : 1;
    return *left < *right ? -1 : *left > *right;
}

START_TEST(points_against_a_sorted_array)
{
    enum { POINTS = 500 };
    static struct point memory[POINTS];
    static struct binding binding;
    struct point *in[POINTS];
    bool used[POINTS] = {0};
    size_t count = 0;
    struct rand rand = rand_seeded(world_seed("model_hash, points"));
    struct points points = {.seed = 1};
    for (int step = 0; step < 20000; step++) {
        size_t i = rand_below(&rand, POINTS);
        if (used[i]) {
            points_remove(&points, &memory[i]);
        } else {
            memory[i] = (struct point){.at = rand_u64(&rand), .binding = &binding};
            points_add(&points, &memory[i]);
        }
        used[i] = !used[i];
        if (step % 50)
            continue;
        count = 0;
        for (size_t j = 0; j < POINTS; j++)
            if (used[j])
                in[count++] = &memory[j];
        qsort(in, count, sizeof(in[0]), compare_points);
        expect(points_size(&points) == count, "%zu points", points_size(&points));
        for (size_t j = 0; j < count; j++)
            expect(points_nth(&points, j) == in[j], "the %zuth", j);
        uint64_t at = rand_u64(&rand);
        size_t first = 0;
        while (first < count && in[first]->at < at)
            first++;
        expect(points_from(&points, at) == (count ? in[first % count] : NULL), "from %zu", first);
    }
}
END_TEST

/* Some come and go many at a time, others one by one; a few places are taken twice. */
START_TEST(many_points_at_once)
{
    enum { GROUPS = 8, SIZE = 300, ALL = GROUPS * SIZE };
    static struct point memory[GROUPS][SIZE];
    static struct point *in[ALL];
    static struct binding binding;
    size_t sizes[GROUPS] = {0};
    struct rand rand = rand_seeded(world_seed("model_hash, many points"));
    struct points points = {.seed = 1};
    for (int step = 0; step < 1000; step++) {
        size_t group = rand_below(&rand, GROUPS), count = 0;
        bool one_by_one = rand_below(&rand, 4) == 0;
        if (sizes[group] > 0) {
            for (size_t i = 0; one_by_one && i < sizes[group]; i++)
                points_remove(&points, &memory[group][i]);
            if (!one_by_one)
                points_remove_all(&points, memory[group], sizes[group]);
            sizes[group] = 0;
        } else {
            sizes[group] = 1 + rand_below(&rand, SIZE);
            uint64_t at = rand_below(&rand, 100);
            for (size_t i = 0; i < sizes[group]; i++, at += rand_below(&rand, 1000))
                memory[group][i] = (struct point){.at = at, .binding = &binding};
            for (size_t i = 0; one_by_one && i < sizes[group]; i++)
                points_add(&points, &memory[group][i]);
            if (!one_by_one)
                points_add_all(&points, memory[group], sizes[group]);
        }
        for (size_t i = 0; i < GROUPS; i++)
            for (size_t j = 0; j < sizes[i]; j++)
                in[count++] = &memory[i][j];
        qsort(in, count, sizeof(in[0]), compare_points);
        expect(points_size(&points) == count, "%zu points of %zu", points_size(&points), count);
        for (size_t j = 0; j < count; j++)
            expect(points_nth(&points, j) == in[j], "the %zuth", j);
    }
}
END_TEST

/* --- x-consistent-hash --- */

START_TEST(consistent_shares_follow_the_weights)
{
    static const char *const weights[] = {"1", "2", "3", "10", "20"};
    int got[array_size(weights)] = {0}, sum = 36;
    char key[16];
    begin("x-consistent-hash", (struct slice){0});
    for (int i = 0; i < (int)array_size(weights); i++)
        bind(i, weights[i]);
    for (int i = 0; i < MESSAGES; i++) {
        snprintf(key, sizeof(key), "%d", i);
        got[routed(key)]++;
    }
    for (int i = 0; i < (int)array_size(weights); i++) {
        int fair = MESSAGES * atoi(weights[i]) / sum;
        expect(got[i] > fair / 2 && got[i] < fair * 3 / 2, "weight %s got %d, fair were %d", weights[i],
               got[i], fair);
    }
    end();
}
END_TEST

/* What a destination that comes or goes does not take or leave stays where it was. */
START_TEST(consistent_moves_only_what_it_must)
{
    enum { KEYS = 2000 };
    static int before[KEYS];
    char key[16];
    begin("x-consistent-hash", (struct slice){0});
    int moved = -KEYS; /* the first binding takes all */
    for (int i = 0; i < KEYS; i++)
        before[i] = -1;
    for (int step = 0; step < 200; step++) {
        int changed = (int)rand_below(&model.rand, QUEUES);
        if (model.bound[changed])
            unbind(changed);
        else
            bind(changed, step % 3 ? "1" : "+2");
        for (int i = 0; i < KEYS; i++) {
            snprintf(key, sizeof(key), "k%d", i);
            int now = routed(key);
            expect(now == before[i] || now == changed || before[i] == changed, "%s went from %d to %d", key,
                   before[i], now);
            moved += now != before[i];
            before[i] = now;
        }
    }
    expect(moved > 0, "nothing moved, %d", moved);
    end();
}
END_TEST

/* The same topology made in another order, with another seed: after a restart nothing has moved. */
START_TEST(hashes_are_the_same_after_a_restart)
{
    static const char *const types[] = {"x-consistent-hash", "x-modulus-hash"};
    enum { KEYS = 2000 };
    int before[KEYS];
    char key[16];
    for (size_t type = 0; type < array_size(types); type++) {
        begin(types[type], (struct slice){0});
        for (int i = 0; i < QUEUES; i++)
            bind(i, i % 2 ? "1" : "3");
        for (int i = 0; i < KEYS; i++) {
            snprintf(key, sizeof(key), "k%d", i);
            before[i] = routed(key);
        }
        end();
        begin(types[type], (struct slice){0});
        for (int i = QUEUES; i-- > 0;)
            bind(i, i % 2 ? "1" : "3");
        for (int i = 0; i < KEYS; i += 7)
            unbind(i % QUEUES), bind(i % QUEUES, i % QUEUES % 2 ? "1" : "3");
        for (int i = 0; i < KEYS; i++) {
            snprintf(key, sizeof(key), "k%d", i);
            expect(routed(key) == before[i], "%s: %s moved", types[type], key);
        }
        end();
    }
}
END_TEST

START_TEST(consistent_first_binding_counts)
{
    char key[16];
    struct fault f;
    begin("x-consistent-hash", (struct slice){0});
    bind(0, "1");
    bind(1, "1");
    int before[200];
    for (int i = 0; i < 200; i++) {
        snprintf(key, sizeof(key), "k%d", i);
        before[i] = routed(key);
    }
    struct binding *second =
        exchange_bind(model.x, model.queues[1], SLICE("50"), (struct slice){0}, &f);
    for (int i = 0; i < 200; i++) {
        snprintf(key, sizeof(key), "k%d", i);
        expect(routed(key) == before[i], "%s moved", key);
    }
    unbind(1); /* now the other one counts */
    int got = 0;
    for (int i = 0; i < 200; i++) {
        snprintf(key, sizeof(key), "k%d", i);
        got += routed(key) == 1;
    }
    expect(got > 170, "50 of 51 shares got %d of 200", got);
    exchange_unbind(&second);
    expect(routed("k") == 0, "the only one left");
    end();
}
END_TEST

/* By a header: its value decides, the key does not. */
START_TEST(consistent_by_header)
{
    struct buf args = {0}, headers = {0};
    table_put_string(&args, "hash-header", SLICE("customer"));
    begin("x-consistent-hash", buf_slice(&args));
    for (int i = 0; i < 10; i++)
        bind(i, "1");
    bool seen[QUEUES] = {0};
    int targets = 0;
    for (int customer = 0; customer < 100; customer++) {
        const struct dest *first = NULL;
        headers.len = 0;
        table_put_bool(&headers, "other", true);
        table_put_int(&headers, "customer", customer);
        for (int i = 0; i < 5; i++) {
            char key[16];
            struct slice slice = slice_of_string(random_key(key));
            struct route_input input = {.keys = &slice, .key_count = 1, .headers = buf_slice(&headers)};
            const struct route_set *set = route(&model.w.router, model.x, &input);
            expect(set->size == 1 && (!first || set->queues[0] == first), "customer %d", customer);
            first = set->queues[0];
        }
        for (int i = 0; i < QUEUES; i++)
            if (model.queues[i] == first && !seen[i])
                seen[i] = true, targets++;
    }
    expect(targets == 10, "%d of 10 queues got something", targets);
    buf_free(&args);
    buf_free(&headers);
    end();
}
END_TEST

/* --- the others --- */

START_TEST(modulus_is_fair)
{
    int got[QUEUES] = {0};
    char key[16];
    begin("x-modulus-hash", (struct slice){0});
    expect(routed("k") == -1, "nothing is bound");
    for (int i = 0; i < 10; i++)
        bind(i, "whatever");
    for (int i = 0; i < MESSAGES; i++) {
        snprintf(key, sizeof(key), "%d", i);
        got[routed(key)]++;
    }
    for (int i = 0; i < 10; i++)
        expect(got[i] > MESSAGES / 10 * 9 / 10 && got[i] < MESSAGES / 10 * 11 / 10, "%d got %d", i, got[i]);
    end();
}
END_TEST

START_TEST(random_is_fair_and_not_cached)
{
    static const char *const types[] = {"x-random", "x-local-random"};
    for (size_t type = 0; type < array_size(types); type++) {
        int got[QUEUES] = {0};
        begin(types[type], (struct slice){0});
        expect(routed("k") == -1, "nothing is bound");
        for (int i = 0; i < 12; i++)
            bind(i, "");
        unbind(0);
        unbind(11);
        for (int i = 0; i < MESSAGES; i++)
            got[routed("k")]++;
        expect(got[0] == 0 && got[11] == 0, "unbound ones got %d", got[0] + got[11]);
        for (int i = 1; i < 11; i++)
            expect(got[i] > MESSAGES / 10 * 9 / 10 && got[i] < MESSAGES / 10 * 11 / 10, "%d got %d", i,
                   got[i]);
        end();
    }
}
END_TEST

/* A direct exchange may be cached, but not when it leads to one of these. */
START_TEST(a_route_through_random_is_not_cached)
{
    int got[QUEUES] = {0};
    struct fault f;
    begin("x-random", (struct slice){0});
    struct exchange *front = world_exchange_with(&model.w, "front", "direct", (struct slice){0});
    struct binding *binding = exchange_bind(front, &model.x->dest, SLICE("k"), (struct slice){0}, &f);
    bind(0, "");
    bind(1, "");
    for (int i = 0; i < 200; i++) {
        struct slice key = SLICE("k");
        struct route_input input = {.keys = &key, .key_count = 1};
        const struct route_set *set = route(&model.w.router, front, &input);
        expect(set->size == 1, "%zu queues", set->size);
        got[set->queues[0] == model.queues[1]]++;
    }
    expect(got[0] > 50 && got[1] > 50, "%d and %d", got[0], got[1]);
    exchange_unbind(&binding);
    end();
}
END_TEST

int main(void)
{
    TCase *tcase = tcase_create("hash");
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, points_against_a_sorted_array);
    tcase_add_test(tcase, many_points_at_once);
    tcase_add_test(tcase, consistent_shares_follow_the_weights);
    tcase_add_test(tcase, consistent_moves_only_what_it_must);
    tcase_add_test(tcase, hashes_are_the_same_after_a_restart);
    tcase_add_test(tcase, consistent_first_binding_counts);
    tcase_add_test(tcase, consistent_by_header);
    tcase_add_test(tcase, modulus_is_fair);
    tcase_add_test(tcase, random_is_fair_and_not_cached);
    tcase_add_test(tcase, a_route_through_random_is_not_cached);
    Suite *suite = suite_create("model_hash");
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
