/* test_topic_cost.c - what a topic match costs, in instructions: with 1,000,000 bindings little more than
 * with 10,000, and with many '#' no more than the words of the key times those of the pattern. */
#include "tests/unit/steps.h"
#include "tests/unit/suite.h"
#include "tests/unit/world.h"

enum { FEW = 10000, MANY = 1000000, ROUTES = 10 };

static struct world w;
static struct exchange *x;
static struct dest *devices;

static void bind_devices(int from, int to)
{
    static const char *const shapes[] = {"dev.%d.on.*", "dev.%d.off.#", "dev.%d.on.now", "*.%d.on.#"};
    struct fault f;
    char key[64];
    for (int i = from; i < to; i++) {
        snprintf(key, sizeof(key), shapes[i % 4], i);
        expect(exchange_bind(x, devices, slice_of_string(key), (struct slice){0}, &f), "%s", key);
    }
    router_changed(&w.router);
}

/* Keys that some binding matches, and as many that none does. */
static void route_devices(void *arg)
{
    char text[64];
    (void)arg;
    for (int i = 0; i < ROUTES; i++) {
        int size = snprintf(text, sizeof(text), "dev.%d.%s", i * 7, i % 2 ? "on.now" : "elsewhere");
        struct slice key = slice_of(text, (size_t)size);
        struct route_input input = {.keys = &key, .key_count = 1};
        route(&w.router, x, &input);
    }
}

static uint64_t steps_of_routes(void)
{
    ck_assert_str_eq(world_route(&w, x, "the.first.after.a.change"), ""); /* not the usual one */
    uint64_t steps = steps_of(route_devices, NULL);
    fprintf(stderr, "%llu instructions a route with %zu bindings\n", (unsigned long long)steps / ROUTES,
            x->binding_count);
    return steps;
}

START_TEST(a_million_bindings)
{
    world_init(&w);
    x = world_exchange(&w, "t", "topic");
    devices = world_queue(&w, "devices");
    bind_devices(0, FEW);
    uint64_t few = steps_of_routes();
    bind_devices(FEW, MANY);
    uint64_t many = steps_of_routes();
    ck_assert_uint_le(many, few * 3);
    ck_assert_str_eq(world_route(&w, x, "dev.999998.on.now"), "devices");
    ck_assert_str_eq(world_route(&w, x, "dev.1000001.on.now"), "");
    world_free(&w);
}
END_TEST

static char long_key[256];

static void route_long_key(void *arg)
{
    struct slice key = slice_of_string(long_key);
    struct route_input input = {.keys = &key, .key_count = 1};
    (void)arg;
    route(&w.router, x, &input);
}

/* A key of `words` words that just does not match, after '#' have tried all places. */
static uint64_t steps_of_words(int words)
{
    long_key[0] = 0;
    for (int i = 0; i < words; i++)
        strcat(long_key, i ? ".a" : "a");
    uint64_t steps = steps_of(route_long_key, NULL);
    fprintf(stderr, "%llu instructions for a key of %d words\n", (unsigned long long)steps, words);
    return steps;
}

START_TEST(hashes_multiply_nothing)
{
    char pattern[256] = "";
    world_init(&w);
    x = world_exchange(&w, "t", "topic");
    for (int i = 0; i < 12; i++) {
        strcat(pattern, "#.a.");
        strcpy(pattern + strlen(pattern), "b");
        world_bind(&w, x, world_queue(&w, "never"), pattern);
        pattern[strlen(pattern) - 1] = 0;
    }
    uint64_t one = steps_of_words(13), two = steps_of_words(26), four = steps_of_words(52);
    ck_assert_uint_le(two, one * 3);
    ck_assert_uint_le(four, two * 3);
    world_free(&w);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("topic_cost");
    TCase *t = tcase_create("cost");
    tcase_set_timeout(t, 300);
    tcase_add_test(t, a_million_bindings);
    tcase_add_test(t, hashes_multiply_nothing);
    suite_add_tcase(suite, t);
    return suite_run(suite);
}
