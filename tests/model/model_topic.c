/* model_topic.c - the topic exchange against a naive matcher, under random binding and unbinding.
 * SEED=n repeats a run. */
#include "base/rand.h"
#include "exchange/trie.h"
#include "tests/unit/world.h"

enum { QUEUES = 24, BINDINGS_MAX = 160, STEPS = 40000, KEY_BYTES = 64 };

/* One word, empty ones too, and where the next one starts; NULL after the last. */
static const char *after_word(const char *at, size_t *len)
{
    *len = strcspn(at, ".");
    return at[*len] ? at + *len + 1 : NULL;
}

/* NULL = no words left. */
static bool naive(const char *pattern, const char *key)
{
    size_t p, k = 0;
    if (!pattern)
        return !key;
    const char *pattern_rest = after_word(pattern, &p), *key_rest = key ? after_word(key, &k) : NULL;
    if (p == 1 && *pattern == '#')
        return naive(pattern_rest, key) || (key && naive(pattern, key_rest));
    bool word = key && ((p == 1 && *pattern == '*') || (p == k && memcmp(pattern, key, p) == 0));
    return word && naive(pattern_rest, key_rest);
}

static bool naive_match(const char *pattern, const char *key)
{
    return naive(*pattern ? pattern : NULL, *key ? key : NULL);
}

/* Up to `words_max` words of few letters, so that keys meet; wildcards in patterns. */
static void random_key(struct rand *rand, char *key, unsigned words_max, bool pattern)
{
    static const char *const words[] = {"a", "b", "", "ab", "c", "a", "b", "*a", "##"};
    unsigned count = (unsigned)rand_below(rand, words_max + 1);
    unsigned wild = (unsigned)rand_below(rand, 70); /* percent */
    key[0] = 0;
    for (unsigned i = 0; i < count; i++) {
        const char *word = words[rand_below(rand, array_size(words))];
        if (pattern && rand_below(rand, 100) < wild)
            word = rand_below(rand, 2) ? "*" : "#";
        if (i)
            strcat(key, ".");
        strcat(key, word);
    }
}

struct bound {
    struct binding *binding;
    char key[KEY_BYTES];
};

struct model {
    struct world w;
    struct rand rand;
    struct exchange *x;
    struct bound bound[BINDINGS_MAX];
    size_t count;
    char names[QUEUES][8];
};

static void bind_one(struct model *m)
{
    struct bound *b = &m->bound[m->count];
    struct dest *queue = &m->w.queues[rand_below(&m->rand, QUEUES)];
    random_key(&m->rand, b->key, 6, true);
    struct binding *known = NULL;
    for (size_t i = 0; i < m->count; i++)
        if (m->bound[i].binding->dest == queue && strcmp(m->bound[i].key, b->key) == 0)
            known = m->bound[i].binding;
    struct slice key = slice_of_string(b->key);
    expect(exchange_find_binding(m->x, queue, key, (struct slice){0}) == known, "key '%s'", b->key);
    if (known)
        return;
    b->binding = world_bind(&m->w, m->x, queue, b->key);
    m->count++;
}

static void unbind_one(struct model *m)
{
    struct bound *b = &m->bound[rand_below(&m->rand, m->count)];
    world_unbind(&m->w, b->binding);
    *b = m->bound[--m->count];
}

static void route_one(struct model *m)
{
    char key[KEY_BYTES];
    bool wanted[QUEUES] = {0}, got[QUEUES] = {0};
    random_key(&m->rand, key, 7, false);
    struct slice keys[] = {slice_of_string(key)};
    struct route_input input = {.keys = keys, .key_count = 1};
    for (size_t i = 0; i < m->count; i++)
        if (naive_match(m->bound[i].key, key))
            wanted[m->bound[i].binding->dest - m->w.queues] = true;
    const struct route_set *set = route(&m->w.router, m->x, &input);
    for (size_t i = 0; i < set->size; i++) {
        size_t queue = (size_t)(set->queues[i] - m->w.queues);
        expect(!got[queue], "queue %zu twice for '%s'", queue, key);
        got[queue] = true;
    }
    for (size_t i = 0; i < QUEUES; i++)
        expect(wanted[i] == got[i], "key '%s', queue %zu", key, i);
}

START_TEST(topic_agrees_with_a_naive_matcher)
{
    struct model m = {.rand = rand_seeded(world_seed("model_topic"))};
    world_init(&m.w);
    m.x = world_exchange(&m.w, "t", "topic");
    for (size_t i = 0; i < QUEUES; i++) {
        snprintf(m.names[i], sizeof(m.names[i]), "q%zu", i);
        world_queue(&m.w, m.names[i]);
    }
    size_t aim = BINDINGS_MAX / 2;
    for (int step = 0; step < STEPS; step++) {
        if (rand_below(&m.rand, 500) == 0)
            aim = rand_below(&m.rand, BINDINGS_MAX);
        bool grow = m.count < aim ? rand_below(&m.rand, 4) > 0 : rand_below(&m.rand, 4) == 0;
        if (grow && m.count < BINDINGS_MAX)
            bind_one(&m);
        else if (m.count > 0)
            unbind_one(&m);
        route_one(&m);
        expect(m.x->binding_count == m.count, "step %d", step);
    }
    world_free(&m.w);
}
END_TEST

/* All that trie.c says about its nodes. */
static void check_trie(const struct trie *trie, size_t bindings)
{
    bool *free_nodes = calloc(trie->used, sizeof(*free_nodes));
    uint32_t *children = calloc(trie->used, sizeof(*children));
    uint32_t live = 0, literals = 0;
    size_t held = 0;
    for (uint32_t n = trie->free_list; n; n = trie->nodes[n].parent)
        free_nodes[n] = true;
    for (uint32_t n = TRIE_ROOT; n < trie->used; n++) {
        const struct trie_node *node = &trie->nodes[n];
        if (free_nodes[n])
            continue;
        if (n != TRIE_ROOT) {
            live++;
            children[node->parent]++;
            literals += node->kind == WORD_LITERAL;
            expect(node->first || node->children, "node %u", n);
            expect(!free_nodes[node->parent], "node %u", n);
            if (node->kind == WORD_STAR)
                expect(trie->nodes[node->parent].star == n, "node %u", n);
            if (node->kind == WORD_HASH)
                expect(trie->nodes[node->parent].hash == n, "node %u", n);
        }
        if (node->tail_len)
            expect(node->children == 0 && node->first, "node %u", n);
        if (node->kind == WORD_HASH)
            expect(!node->star && !node->hash, "node %u", n);
        if (node->first) {
            held++;
            expect((uintptr_t)node->first->index_node == n, "node %u", n);
            list_each(link, &node->first->in_index) held++;
        }
    }
    for (uint32_t n = TRIE_ROOT; n < trie->used; n++)
        if (!free_nodes[n])
            expect(children[n] == trie->nodes[n].children, "node %u", n);
    expect(live == trie->live, "%u nodes live", live);
    expect(literals == trie->literals, "%u nodes live", live);
    expect(held == bindings, "%u nodes live", live);
    free(free_nodes);
    free(children);
}

START_TEST(trie_keeps_its_invariants)
{
    enum { COUNT = 200, ROUNDS = 3000 };
    struct rand rand = rand_seeded(world_seed("model_topic, trie"));
    struct binding bindings[COUNT] = {0};
    static char keys[COUNT][KEY_BYTES];
    struct trie trie;
    size_t bound = 0;
    trie_init(&trie, rand_u64(&rand));
    for (int round = 0; round < ROUNDS + COUNT; round++) {
        size_t i = round < ROUNDS ? rand_below(&rand, COUNT) : (size_t)(round - ROUNDS);
        if (list_linked(&bindings[i].in_index)) {
            trie_remove(&trie, &bindings[i]);
            bound--;
        } else if (round < ROUNDS) {
            random_key(&rand, keys[i], 6, true);
            bindings[i] = (struct binding){.key = slice_of_string(keys[i])};
            trie_add(&trie, &bindings[i]);
            bound++;
        }
        check_trie(&trie, bound);
    }
    ck_assert_uint_eq(trie.live, 0);
    trie_free(&trie);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("model_topic");
    TCase *model = tcase_create("model");
    tcase_set_timeout(model, 60);
    tcase_add_test(model, topic_agrees_with_a_naive_matcher);
    tcase_add_test(model, trie_keeps_its_invariants);
    suite_add_tcase(suite, model);
    return suite_run(suite);
}
