/* test_topic.c - the rules of the topic exchange (semantics 1.3, K53, K54). */
#include "exchange/trie.h"
#include "tests/unit/world.h"

/* True when a binding with key `pattern` matches the routing key, among other bindings that do not. */
static bool matches(const char *pattern, const char *key)
{
    struct world w;
    world_init(&w);
    struct exchange *x = world_exchange(&w, "t", "topic");
    struct dest *wanted = world_queue(&w, "wanted"), *other = world_queue(&w, "other");
    world_bind(&w, x, other, "other.binding");
    world_bind(&w, x, wanted, pattern);
    world_bind(&w, x, other, "another.*.binding");
    bool found = strcmp(world_route(&w, x, key), "wanted") == 0;
    if (!found)
        ck_assert_str_eq(world_route(&w, x, key), "");
    world_free(&w);
    return found;
}

START_TEST(literal_words_match_themselves)
{
    ck_assert(matches("a", "a"));
    ck_assert(matches("a.b.c", "a.b.c"));
    ck_assert(!matches("a.b.c", "a.b"));
    ck_assert(!matches("a.b", "a.b.c"));
    ck_assert(!matches("a.b", "a.c"));
    ck_assert(!matches("a.b", "A.b"));
    ck_assert(!matches("ab", "a.b"));
    ck_assert(!matches("a.b", "ab"));
}
END_TEST

START_TEST(star_is_exactly_one_word)
{
    ck_assert(matches("*", "a"));
    ck_assert(matches("a.*", "a.b"));
    ck_assert(matches("*.b", "a.b"));
    ck_assert(matches("a.*.c", "a.b.c"));
    ck_assert(matches("*.*", "a.b"));
    ck_assert(!matches("a.*", "a"));
    ck_assert(!matches("a.*", "a.b.c"));
    ck_assert(!matches("*", "a.b"));
    ck_assert(!matches("*.*", "a"));
}
END_TEST

START_TEST(hash_is_zero_or_more_words)
{
    ck_assert(matches("#", "a"));
    ck_assert(matches("#", "a.b.c"));
    ck_assert(matches("a.#", "a"));
    ck_assert(matches("a.#", "a.b.c"));
    ck_assert(matches("#.c", "c"));
    ck_assert(matches("#.c", "a.b.c"));
    ck_assert(matches("#.c", "c.c"));
    ck_assert(matches("a.#.c", "a.c"));
    ck_assert(matches("a.#.c", "a.b.b.c"));
    ck_assert(!matches("a.#", "b"));
    ck_assert(!matches("#.c", "c.d"));
    ck_assert(!matches("a.#.c", "a"));
    ck_assert(!matches("a.#.a", "a"));
}
END_TEST

START_TEST(empty_words_count)
{
    ck_assert(matches("a.*", "a.")); /* K53 */
    ck_assert(matches("*.*", "."));
    ck_assert(matches("a..b", "a..b"));
    ck_assert(matches("a.*.b", "a..b"));
    ck_assert(matches("a.", "a."));
    ck_assert(matches(".a", ".a"));
    ck_assert(!matches("a", "a."));
    ck_assert(!matches("a.", "a"));
    ck_assert(!matches("a", ".a"));
    ck_assert(!matches("*", "."));
    ck_assert(!matches("..", "."));
}
END_TEST

START_TEST(empty_key_has_no_words)
{
    ck_assert(!matches("*", "")); /* K53 */
    ck_assert(matches("#", ""));
    ck_assert(matches("", ""));
    ck_assert(matches("#.#", ""));
    ck_assert(!matches("", "a"));
    ck_assert(!matches("", "."));
    ck_assert(!matches("#.*", ""));
    ck_assert(!matches("#.a", ""));
}
END_TEST

START_TEST(wildcards_only_as_whole_words)
{
    ck_assert(matches("a*", "a*"));
    ck_assert(!matches("a*", "ab"));
    ck_assert(!matches("#a", "ba"));
    ck_assert(!matches("**", "a"));
    ck_assert(!matches("##", "a.b"));
    ck_assert(matches("##", "##"));
    ck_assert(matches("*", "*"));
    ck_assert(matches("#", "#.*"));
}
END_TEST

/* Wildcards in a routing key are letters like others. */
START_TEST(wildcards_in_the_routing_key_are_literal)
{
    ck_assert(!matches("a.b", "a.*"));
    ck_assert(!matches("a.b", "#"));
    ck_assert(matches("a.*", "a.#"));
}
END_TEST

START_TEST(runs_of_wildcards)
{
    static const char *const at_least_one[] = {"#.*", "*.#", "#.*.#", "#.#.*", "*.#.#"};
    for (size_t i = 0; i < array_size(at_least_one); i++) {
        ck_assert(!matches(at_least_one[i], ""));
        ck_assert(matches(at_least_one[i], "a"));
        ck_assert(matches(at_least_one[i], "a.b.c"));
    }
    ck_assert(!matches("#.*.#.*", "a"));
    ck_assert(matches("#.*.#.*", "a.b"));
    ck_assert(matches("a.#.*.b", "a.x.b"));
    ck_assert(matches("a.#.*.b", "a.x.y.b"));
    ck_assert(!matches("a.#.*.b", "a.b"));
}
END_TEST

START_TEST(any_number_of_hashes) /* K54 */
{
    ck_assert(matches("#.a.#.b.#.c.#", "a.b.c"));
    ck_assert(matches("#.a.#.b.#.c.#", "x.a.x.x.b.c.x"));
    ck_assert(!matches("#.a.#.b.#.c.#", "c.b.a"));
    ck_assert(matches("#.#.#.#.#", "a.b"));
}
END_TEST

/* 60 '#' against 127 words: a matcher that tries all ways would not come back. */
START_TEST(many_hashes_cost_little)
{
    struct world w;
    world_init(&w);
    struct exchange *x = world_exchange(&w, "t", "topic");
    char pattern[256] = "", near[256] = "", key[256] = "";
    for (int i = 0; i < 60; i++)
        strcat(pattern, "#.a.");
    strcat(strcpy(near, pattern), "b");
    strcat(pattern, "#");
    for (int i = 0; i < 127; i++)
        strcat(key, i ? ".a" : "a");
    world_bind(&w, x, world_queue(&w, "near"), near);
    world_bind(&w, x, world_queue(&w, "hit"), pattern);
    for (int i = 0; i < 500; i++) {
        router_changed(&w.router);
        ck_assert_str_eq(world_route(&w, x, key), "hit");
    }
    world_free(&w);
}
END_TEST

START_TEST(longest_keys)
{
    char dots[256], words[256];
    memset(dots, '.', 255);
    dots[255] = 0;
    for (int i = 0; i < 255; i++)
        words[i] = i % 2 ? '.' : 'w';
    words[255] = 0;
    ck_assert(matches(dots, dots));
    ck_assert(matches("#", dots));
    ck_assert(matches(words, words));
    words[254] = '*';
    ck_assert(!matches(words, dots));
    ck_assert(!matches("*.*", dots));
    words[0] = '#';
    ck_assert(matches(words, words));
}
END_TEST

/* One queue, one copy, however many bindings match. */
START_TEST(one_copy_for_many_matching_bindings)
{
    struct world w;
    world_init(&w);
    struct exchange *x = world_exchange(&w, "t", "topic");
    struct dest *q = world_queue(&w, "q");
    static const char *const keys[] = {"a.b", "a.*", "*.b", "#", "a.#", "#.b", "#.#", "a.#.b"};
    for (size_t i = 0; i < array_size(keys); i++)
        world_bind(&w, x, q, keys[i]);
    ck_assert_str_eq(world_route(&w, x, "a.b"), "q");
    world_free(&w);
}
END_TEST

/* Equal keys, and keys that are the same after all, serve several destinations. */
START_TEST(many_destinations_at_one_key)
{
    struct world w;
    world_init(&w);
    struct exchange *x = world_exchange(&w, "t", "topic");
    struct dest *a = world_queue(&w, "a"), *b = world_queue(&w, "b"), *c = world_queue(&w, "c");
    struct binding *first = world_bind(&w, x, a, "k.#.*.tail.*.end");
    struct binding *second = world_bind(&w, x, b, "k.*.#.tail.*.end");
    struct binding *third = world_bind(&w, x, c, "k.#.*.#.tail.*.end");
    ck_assert_str_eq(world_route(&w, x, "k.1.tail.2.end"), "a b c");
    world_unbind(&w, first);
    ck_assert_str_eq(world_route(&w, x, "k.1.1.tail.2.end"), "b c");
    world_unbind(&w, third);
    ck_assert_str_eq(world_route(&w, x, "k.1.tail..end"), "b");
    world_unbind(&w, second);
    ck_assert_str_eq(world_route(&w, x, "k.1.tail.2.end"), "");
    world_free(&w);
}
END_TEST

/* A leaf that keeps the rest of its key is split by each key that shares a part of it. */
START_TEST(keys_that_share_a_beginning)
{
    struct world w;
    world_init(&w);
    struct exchange *x = world_exchange(&w, "t", "topic");
    static const char *const keys[] = {"a.b.c.d.e", "a.b.c.d", "a.b.c.x", "a",     "a.b.c.*.e",
                                       "a.b.*",     "a.*.c",   "a.b.c.#", "a.b.c", "a.b.c.d.*"};
    struct binding *bindings[array_size(keys)];
    char names[array_size(keys)][8];
    for (size_t i = 0; i < array_size(keys); i++) {
        snprintf(names[i], sizeof(names[i]), "q%zu", i);
        bindings[i] = world_bind(&w, x, world_queue(&w, names[i]), keys[i]);
    }
    ck_assert_str_eq(world_route(&w, x, "a.b.c.d.e"), "q0 q4 q7 q9");
    ck_assert_str_eq(world_route(&w, x, "a.b.c.d"), "q1 q7");
    ck_assert_str_eq(world_route(&w, x, "a.b.c"), "q5 q6 q7 q8");
    ck_assert_str_eq(world_route(&w, x, "a"), "q3");
    ck_assert_str_eq(world_route(&w, x, "a.b"), "");
    for (size_t i = 0; i < array_size(keys); i += 2)
        world_unbind(&w, bindings[i]);
    ck_assert_str_eq(world_route(&w, x, "a.b.c.d.e"), "q7 q9");
    ck_assert_str_eq(world_route(&w, x, "a.b.c"), "q5 q7");
    ck_assert_str_eq(world_route(&w, x, "a"), "q3");
    world_free(&w);
}
END_TEST

static struct binding bare(const char *key)
{
    return (struct binding){.key = slice_of_string(key)};
}

START_TEST(nodes_go_with_their_last_binding)
{
    struct trie trie;
    trie_init(&trie, 1);
    struct binding a = bare("a.b.#.c.d"), b = bare("a.b.#.c.e"), c = bare(""), d = bare("a.b.#.c.d");
    trie_add(&trie, &a);
    ck_assert_uint_eq(trie.live, 3); /* a, b, # with the tail .c.d */
    trie_add(&trie, &d);
    ck_assert_uint_eq(trie.live, 3);
    trie_add(&trie, &b);
    trie_add(&trie, &c);
    ck_assert_uint_eq(trie.live, 6); /* # has the child c, c has d and e; the root is not counted */
    trie_remove(&trie, &a);
    ck_assert_uint_eq(trie.live, 6);
    trie_remove(&trie, &d);
    ck_assert_uint_eq(trie.live, 5);
    trie_remove(&trie, &b);
    ck_assert_uint_eq(trie.live, 0);
    trie_remove(&trie, &c);
    trie_free(&trie);
}
END_TEST

START_TEST(a_long_key_alone_is_one_node)
{
    struct trie trie;
    trie_init(&trie, 1);
    struct binding a = bare("one.two.*.four.five.six"), b = bare("*.two.three");
    trie_add(&trie, &a);
    trie_add(&trie, &b);
    ck_assert_uint_eq(trie.live, 2);
    trie_remove(&trie, &a);
    trie_remove(&trie, &b);
    trie_free(&trie);
}
END_TEST

/* The root's own binding survives that the arrays are given back. */
START_TEST(memory_is_given_back)
{
    enum { KEYS = 2000 };
    struct trie trie;
    trie_init(&trie, 1);
    uint32_t small = trie.capacity;
    struct binding root = bare(""), *bindings = calloc(KEYS, sizeof(*bindings));
    char(*keys)[32] = calloc(KEYS, sizeof(*keys));
    trie_add(&trie, &root);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < KEYS; i++) {
            snprintf(keys[i], sizeof(keys[i]), "%d.#.%d", i % 50, i);
            bindings[i] = bare(keys[i]);
            trie_add(&trie, &bindings[i]);
        }
        ck_assert_uint_eq(trie.live, KEYS + 100);
        for (int i = 0; i < KEYS; i++)
            trie_remove(&trie, &bindings[i]);
        ck_assert_uint_eq(trie.live, 0);
        ck_assert_uint_eq(trie.capacity, small);
        ck_assert_ptr_eq(trie.nodes[TRIE_ROOT].first, &root);
    }
    trie_remove(&trie, &root);
    trie_free(&trie);
    free(bindings);
    free(keys);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("topic");
    TCase *rules = tcase_create("rules"), *trie = tcase_create("trie");
    tcase_add_test(rules, literal_words_match_themselves);
    tcase_add_test(rules, star_is_exactly_one_word);
    tcase_add_test(rules, hash_is_zero_or_more_words);
    tcase_add_test(rules, empty_words_count);
    tcase_add_test(rules, empty_key_has_no_words);
    tcase_add_test(rules, wildcards_only_as_whole_words);
    tcase_add_test(rules, wildcards_in_the_routing_key_are_literal);
    tcase_add_test(rules, runs_of_wildcards);
    tcase_add_test(rules, any_number_of_hashes);
    tcase_add_test(rules, many_hashes_cost_little);
    tcase_add_test(rules, longest_keys);
    tcase_add_test(rules, one_copy_for_many_matching_bindings);
    tcase_add_test(rules, many_destinations_at_one_key);
    tcase_add_test(rules, keys_that_share_a_beginning);
    tcase_add_test(trie, nodes_go_with_their_last_binding);
    tcase_add_test(trie, a_long_key_alone_is_one_node);
    tcase_add_test(trie, memory_is_given_back);
    suite_add_tcase(suite, rules);
    suite_add_tcase(suite, trie);
    return suite_run(suite);
}
