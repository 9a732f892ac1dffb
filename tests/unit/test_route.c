/* test_route.c - from an exchange to queues: exchange-to-exchange bindings, alternate exchanges, many keys,
 * the cache (semantics 1.3 and 2.1, K59-K61, K66). */
#include "exchange/cache.h"
#include "tests/unit/world.h"

static struct world world;
static struct dest *q, *p;

static void setup(void)
{
    world_init(&world);
    q = world_queue(&world, "q");
    p = world_queue(&world, "p");
}

static void teardown(void)
{
    world_free(&world);
}

static const char *route_keys(struct exchange *x, size_t count, const char *const *keys)
{
    struct slice slices[8];
    ck_assert_uint_le(count, array_size(slices));
    for (size_t i = 0; i < count; i++)
        slices[i] = slice_of_string(keys[i]);
    return world_route_input(&world, x, &(struct route_input){.keys = slices, .key_count = count});
}

START_TEST(exchanges_feed_exchanges)
{
    struct exchange *a = world_exchange(&world, "a", "direct"), *b = world_exchange(&world, "b", "topic");
    world_bind(&world, a, &b->dest, "k.1");
    world_bind(&world, b, q, "k.*");
    world_bind(&world, b, p, "k.2");
    ck_assert_str_eq(world_route(&world, a, "k.1"), "q"); /* the routing key stays what it was */
    ck_assert_str_eq(world_route(&world, a, "k.2"), "");
    ck_assert_str_eq(world_route(&world, b, "k.2"), "p q");
}
END_TEST

START_TEST(one_copy_however_many_paths)
{
    struct exchange *a = world_exchange(&world, "a", "fanout"), *b = world_exchange(&world, "b", "fanout");
    struct exchange *c = world_exchange(&world, "c", "fanout");
    world_bind(&world, a, &b->dest, "");
    world_bind(&world, a, &c->dest, "");
    world_bind(&world, a, &c->dest, "again");
    world_bind(&world, a, q, "");
    world_bind(&world, b, q, "");
    world_bind(&world, c, q, "");
    world_bind(&world, c, p, "");
    ck_assert_str_eq(world_route(&world, a, ""), "p q");
}
END_TEST

START_TEST(cycles_end) /* K59 */
{
    struct exchange *a = world_exchange(&world, "a", "fanout"), *b = world_exchange(&world, "b", "direct");
    world_bind(&world, a, &b->dest, "");
    world_bind(&world, b, &a->dest, "k");
    world_bind(&world, a, &a->dest, ""); /* and to itself */
    world_bind(&world, a, q, "");
    world_bind(&world, b, p, "k");
    ck_assert_str_eq(world_route(&world, a, "k"), "p q");
    ck_assert_str_eq(world_route(&world, b, "k"), "p q");
    ck_assert_str_eq(world_route(&world, b, "other"), "");
    ck_assert_str_eq(world_route(&world, a, "other"), "q");
}
END_TEST

START_TEST(a_cycle_without_queues_is_unroutable)
{
    struct exchange *a = world_exchange(&world, "a", "fanout"), *b = world_exchange(&world, "b", "fanout");
    world_bind(&world, a, &b->dest, "");
    world_bind(&world, b, &a->dest, "");
    ck_assert_str_eq(world_route(&world, a, ""), "");
}
END_TEST

START_TEST(a_long_chain)
{
    enum { LENGTH = 1000 };
    char name[16];
    struct exchange *first = world_exchange(&world, "0", "fanout"), *last = first;
    for (int i = 1; i < LENGTH; i++) {
        snprintf(name, sizeof(name), "%d", i);
        struct exchange *next = world_exchange(&world, name, "fanout");
        world_bind(&world, last, &next->dest, "");
        last = next;
    }
    world_bind(&world, last, q, "");
    ck_assert_str_eq(world_route(&world, first, "k"), "q");
}
END_TEST

START_TEST(alternate_when_nothing_matches) /* K60 */
{
    struct exchange *a = world_exchange_alt(&world, "a", "direct", "ae");
    struct exchange *ae = world_exchange(&world, "ae", "fanout");
    world_bind(&world, a, q, "known");
    world_bind(&world, ae, p, "");
    ck_assert_str_eq(world_route(&world, a, "known"), "q");
    ck_assert_str_eq(world_route(&world, a, "unknown"), "p");
}
END_TEST

START_TEST(the_alternate_sees_the_same_key)
{
    struct exchange *a = world_exchange_alt(&world, "a", "direct", "ae");
    struct exchange *ae = world_exchange(&world, "ae", "topic");
    world_bind(&world, ae, q, "lost.#");
    (void)a;
    ck_assert_str_eq(world_route(&world, a, "lost.one"), "q");
    ck_assert_str_eq(world_route(&world, a, "other"), "");
}
END_TEST

START_TEST(a_missing_alternate_is_none) /* K61 */
{
    struct exchange *a = world_exchange_alt(&world, "a", "direct", "ae");
    ck_assert_str_eq(world_route(&world, a, "k"), "");
    struct exchange *ae = world_exchange(&world, "ae", "fanout"); /* it may come later */
    world_bind(&world, ae, q, "");
    ck_assert_str_eq(world_route(&world, a, "k"), "q");
    world_delete(&world, ae);
    ck_assert_str_eq(world_route(&world, a, "k"), "");
}
END_TEST

/* A policy's counts while the declaration names none. */
START_TEST(a_policys_alternate)
{
    struct exchange *x = world_exchange(&world, "x", "direct");
    struct exchange *a = world_exchange_alt(&world, "a", "direct", "ae");
    struct exchange *ae = world_exchange(&world, "ae", "fanout");
    struct exchange *other = world_exchange(&world, "other", "fanout");
    world_bind(&world, ae, world_queue(&world, "q"), "");
    world_bind(&world, other, world_queue(&world, "p"), "");
    ck_assert_str_eq(world_route(&world, x, "k"), "");
    exchange_set_alternate(x, SLICE("ae"));
    exchange_set_alternate(a, SLICE("other"));
    router_changed(&world.router);
    ck_assert_str_eq(world_route(&world, x, "k"), "q");
    ck_assert_str_eq(world_route(&world, a, "k"), "q");
    exchange_set_alternate(x, SLICE("other"));
    router_changed(&world.router);
    ck_assert_str_eq(world_route(&world, x, "k"), "p");
    exchange_set_alternate(x, SLICE(""));
    router_changed(&world.router);
    ck_assert_str_eq(world_route(&world, x, "k"), "");
}
END_TEST

START_TEST(alternates_form_chains_and_rings)
{
    struct exchange *a = world_exchange_alt(&world, "a", "direct", "b");
    struct exchange *b = world_exchange_alt(&world, "b", "direct", "c");
    struct exchange *c = world_exchange_alt(&world, "c", "direct", "a");
    ck_assert_str_eq(world_route(&world, a, "k"), "");
    world_bind(&world, c, q, "k");
    ck_assert_str_eq(world_route(&world, a, "k"), "q");
    ck_assert_str_eq(world_route(&world, b, "k"), "q");
    struct exchange *self = world_exchange_alt(&world, "self", "direct", "self");
    ck_assert_str_eq(world_route(&world, self, "k"), "");
}
END_TEST

/* As in RabbitMQ: a binding that matches is enough, even if it leads to an exchange without queues. */
START_TEST(no_alternate_when_a_binding_matches_in_vain)
{
    struct exchange *a = world_exchange_alt(&world, "a", "fanout", "ae");
    struct exchange *empty = world_exchange(&world, "empty", "fanout");
    struct exchange *ae = world_exchange(&world, "ae", "fanout");
    world_bind(&world, a, &empty->dest, "");
    world_bind(&world, ae, q, "");
    ck_assert_str_eq(world_route(&world, a, "k"), "");
}
END_TEST

START_TEST(no_alternate_when_the_match_was_reached_before)
{
    struct exchange *a = world_exchange(&world, "a", "fanout");
    struct exchange *b = world_exchange_alt(&world, "b", "fanout", "ae");
    struct exchange *ae = world_exchange(&world, "ae", "fanout");
    world_bind(&world, a, q, "");
    world_bind(&world, a, &b->dest, "");
    world_bind(&world, b, q, ""); /* names q, which has its copy already */
    world_bind(&world, ae, p, "");
    ck_assert_str_eq(world_route(&world, a, "k"), "q");
}
END_TEST

/* Each exchange on the way has an alternate of its own, not only the first. */
START_TEST(the_alternate_of_an_exchange_on_the_way)
{
    struct exchange *a = world_exchange(&world, "a", "fanout");
    struct exchange *b = world_exchange_alt(&world, "b", "direct", "ae");
    struct exchange *ae = world_exchange(&world, "ae", "fanout");
    world_bind(&world, a, &b->dest, "");
    world_bind(&world, a, q, "");
    world_bind(&world, ae, p, "");
    ck_assert_str_eq(world_route(&world, a, "k"), "p q");
    world_bind(&world, b, q, "k");
    ck_assert_str_eq(world_route(&world, a, "k"), "q");
}
END_TEST

START_TEST(many_keys_are_tried_each) /* CC and BCC, K66 */
{
    struct exchange *d = world_exchange(&world, "d", "direct"), *t = world_exchange(&world, "t", "topic");
    world_bind(&world, d, q, "a");
    world_bind(&world, d, p, "b");
    world_bind(&world, t, q, "*.x");
    world_bind(&world, t, p, "#.y");
    ck_assert_str_eq(route_keys(d, 3, (const char *const[]){"a", "b", "a"}), "p q");
    ck_assert_str_eq(route_keys(d, 2, (const char *const[]){"c", "b"}), "p");
    ck_assert_str_eq(route_keys(d, 2, (const char *const[]){"c", "d"}), "");
    ck_assert_str_eq(route_keys(t, 2, (const char *const[]){"1.x", "1.y"}), "p q");
    ck_assert_str_eq(world_route(&world, d, "a"), "q"); /* and nothing of it stays in the cache */
}
END_TEST

START_TEST(many_keys_go_on_to_other_exchanges)
{
    struct exchange *a = world_exchange_alt(&world, "a", "direct", "ae");
    struct exchange *b = world_exchange(&world, "b", "direct"), *ae = world_exchange(&world, "ae", "fanout");
    world_bind(&world, a, &b->dest, "1");
    world_bind(&world, b, q, "2"); /* not the key that led here, but one of the message's */
    world_bind(&world, ae, p, "");
    ck_assert_str_eq(route_keys(a, 2, (const char *const[]){"1", "2"}), "q");
    ck_assert_str_eq(route_keys(a, 2, (const char *const[]){"3", "2"}), "p");
}
END_TEST

START_TEST(headers_on_the_way_are_not_cached)
{
    struct exchange *a = world_exchange(&world, "a", "fanout"), *h = world_exchange(&world, "h", "headers");
    struct buf want = {0};
    put_text(&want, "a", "1");
    world_bind(&world, a, &h->dest, "");
    world_bind_with(&world, h, q, "", buf_slice(&want));
    ck_assert_str_eq(world_route_headers(&world, a, buf_slice(&want)), "q");
    ck_assert_str_eq(world_route_headers(&world, a, (struct slice){0}), "");
    ck_assert_str_eq(world_route_headers(&world, a, buf_slice(&want)), "q");
    buf_free(&want);
}
END_TEST

/* The second route comes from the cache: the set is another one, its queues the same. */
START_TEST(a_route_is_cached)
{
    struct exchange *a = world_exchange(&world, "a", "topic"), *b = world_exchange(&world, "b", "topic");
    world_bind(&world, a, q, "k.#");
    world_bind(&world, a, p, "#");
    struct slice keys[] = {SLICE("k.1")};
    struct route_input input = {.keys = keys, .key_count = 1};
    const struct route_set *first = route(&world.router, a, &input);
    ck_assert_ptr_eq(first, &world.router.set);
    const struct route_set *second = route(&world.router, a, &input);
    ck_assert_ptr_ne(second, &world.router.set);
    ck_assert_uint_eq(second->size, 2);
    ck_assert_str_eq(world_route(&world, a, "k.1"), "p q");
    ck_assert_str_eq(world_route(&world, a, "k.2"), "p q");
    ck_assert_str_eq(world_route(&world, a, "j"), "p");
    ck_assert_str_eq(world_route(&world, b, "k.1"), ""); /* the same key of another exchange */
    ck_assert_str_eq(world_route(&world, b, "k.1"), "");
    ck_assert_ptr_ne(route(&world.router, b, &input), &world.router.set); /* nothing is cached as well */
}
END_TEST

START_TEST(a_change_makes_the_cache_stale)
{
    struct exchange *a = world_exchange(&world, "a", "direct");
    struct binding *b = world_bind(&world, a, q, "k");
    for (int i = 0; i < 3; i++)
        ck_assert_str_eq(world_route(&world, a, "k"), "q");
    world_bind(&world, a, p, "k");
    for (int i = 0; i < 3; i++)
        ck_assert_str_eq(world_route(&world, a, "k"), "p q");
    world_unbind(&world, b);
    for (int i = 0; i < 3; i++)
        ck_assert_str_eq(world_route(&world, a, "k"), "p");
}
END_TEST

/* More keys than the cache has slots: bounded, and right all the same. */
START_TEST(more_keys_than_slots)
{
    enum { KEYS = 3 * CACHE_SETS * CACHE_WAYS };
    struct exchange *a = world_exchange(&world, "a", "topic");
    world_bind(&world, a, q, "*.odd");
    world_bind(&world, a, p, "*.even");
    char key[32];
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < KEYS; i++) {
            snprintf(key, sizeof(key), "%d.%s", i, i % 2 ? "odd" : "even");
            struct slice keys[] = {slice_of_string(key)};
            struct route_input input = {.keys = keys, .key_count = 1};
            const struct route_set *set = route(&world.router, a, &input);
            expect(set->size == 1 && set->queues[0] == (i % 2 ? q : p), "key %s", key);
        }
    }
}
END_TEST

START_TEST(wide_routes_are_not_cached)
{
    enum { COUNT = CACHE_QUEUES_MAX + 1 };
    static char names[COUNT][16];
    struct exchange *a = world_exchange(&world, "a", "fanout");
    struct slice keys[] = {SLICE("")};
    struct route_input input = {.keys = keys, .key_count = 1};
    for (int i = 0; i < COUNT; i++) {
        snprintf(names[i], sizeof(names[i]), "w%d", i);
        world_bind(&world, a, world_queue(&world, names[i]), "");
        route(&world.router, a, &input);
        const struct route_set *again = route(&world.router, a, &input);
        ck_assert_uint_eq(again->size, (size_t)i + 1);
        ck_assert_int_eq(again == &world.router.set, i + 1 > CACHE_QUEUES_MAX);
    }
}
END_TEST

/* Keys that share a slot's set: the cache alone, without a router. */
START_TEST(cache_keeps_what_is_hit)
{
    struct route_cache *cache = cache_new(1);
    struct route_set set = {.queues = &q, .size = 1};
    cache_put(cache, 1, 1, SLICE("hot"), &set);
    char key[16];
    for (int i = 0; i < 200000; i++) {
        expect(cache_find(cache, 1, 1, SLICE("hot")), "after %d keys", i);
        snprintf(key, sizeof(key), "%d", i);
        cache_put(cache, 1, 1, slice_of_string(key), &set);
    }
    ck_assert_ptr_null(cache_find(cache, 1, 2, SLICE("hot")));
    ck_assert_ptr_null(cache_find(cache, 2, 1, SLICE("hot")));
    ck_assert_ptr_null(cache_find(cache, 1, 1, SLICE("hott")));
    cache_free(&cache);
    ck_assert_ptr_null(cache);
}
END_TEST

START_TEST(cache_takes_the_longest_and_the_empty_key)
{
    char longest[256];
    memset(longest, 'k', 255);
    longest[255] = 0;
    struct exchange *a = world_exchange(&world, "a", "direct");
    world_bind(&world, a, q, longest);
    world_bind(&world, a, p, "");
    for (int i = 0; i < 3; i++) {
        ck_assert_str_eq(world_route(&world, a, longest), "q");
        ck_assert_str_eq(world_route(&world, a, ""), "p");
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("route");
    TCase *rules = tcase_create("rules"), *cache = tcase_create("cache");
    tcase_add_checked_fixture(rules, setup, teardown);
    tcase_add_checked_fixture(cache, setup, teardown);
    tcase_set_timeout(cache, 60);
    tcase_add_test(rules, exchanges_feed_exchanges);
    tcase_add_test(rules, one_copy_however_many_paths);
    tcase_add_test(rules, cycles_end);
    tcase_add_test(rules, a_cycle_without_queues_is_unroutable);
    tcase_add_test(rules, a_long_chain);
    tcase_add_test(rules, alternate_when_nothing_matches);
    tcase_add_test(rules, a_policys_alternate);
    tcase_add_test(rules, the_alternate_sees_the_same_key);
    tcase_add_test(rules, a_missing_alternate_is_none);
    tcase_add_test(rules, alternates_form_chains_and_rings);
    tcase_add_test(rules, no_alternate_when_a_binding_matches_in_vain);
    tcase_add_test(rules, no_alternate_when_the_match_was_reached_before);
    tcase_add_test(rules, the_alternate_of_an_exchange_on_the_way);
    tcase_add_test(rules, many_keys_are_tried_each);
    tcase_add_test(rules, many_keys_go_on_to_other_exchanges);
    tcase_add_test(cache, headers_on_the_way_are_not_cached);
    tcase_add_test(cache, a_route_is_cached);
    tcase_add_test(cache, a_change_makes_the_cache_stale);
    tcase_add_test(cache, more_keys_than_slots);
    tcase_add_test(cache, wide_routes_are_not_cached);
    tcase_add_test(cache, cache_keeps_what_is_hit);
    tcase_add_test(cache, cache_takes_the_longest_and_the_empty_key);
    suite_add_tcase(suite, rules);
    suite_add_tcase(suite, cache);
    return suite_run(suite);
}
