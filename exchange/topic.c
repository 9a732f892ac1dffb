/* topic.c - the topic exchange: '*' in a binding key stands for one word, '#' for any number of them
 * (specification, section 3.1.3.3; semantics: words may be empty, the key "" has none).
 *
 * Matching walks all ways through the trie at once, one word of the routing key after the other, as
 * one runs a nondeterministic automaton. A node that is not a '#' is reached from its parent alone,
 * one word later, so it comes up at most once per word; a '#', once reached, stays reached to the end,
 * so it is entered once (its stamp tells) and kept on a list of its own. Hence the cost is bounded by
 * the nodes that match times the words of the key, however many '#' the bindings have. */
#include "exchange/route.h"
#include "exchange/trie.h"
#include "exchange/types.h"

/* Node numbers; keeps its memory from match to match. */
struct frontier {
    uint32_t *nodes;
    size_t size, capacity;
};

struct topic {
    struct trie trie;
    struct frontier now, next; /* reached after i and after i + 1 words */
    struct frontier hashes;    /* every '#' reached so far that can lead on */
    uint64_t stamp;            /* of the current match */
};

/* One match under way. */
struct matching {
    struct topic *topic;
    struct route_set *set;
    struct words key;
};

static void *topic_new(uint64_t seed, struct slice args)
{
    struct topic *topic = mem_zalloc(sizeof(*topic));
    (void)args;
    trie_init(&topic->trie, seed);
    return topic;
}

static void topic_free(void **index)
{
    struct topic *topic = *index;
    *index = NULL;
    trie_free(&topic->trie);
    mem_free(topic->now.nodes);
    mem_free(topic->next.nodes);
    mem_free(topic->hashes.nodes);
    mem_free(topic);
}

static void topic_add(void *index, struct binding *binding)
{
    struct topic *topic = index;
    trie_add(&topic->trie, binding);
}

static void topic_remove(void *index, struct binding *binding)
{
    struct topic *topic = index;
    trie_remove(&topic->trie, binding);
}

static void push(struct frontier *frontier, uint32_t node)
{
    if (frontier->size == frontier->capacity) {
        frontier->capacity = frontier->capacity ? frontier->capacity * 2 : 16;
        frontier->nodes =
            mem_realloc(frontier->nodes, frontier->capacity * sizeof(*frontier->nodes));
    }
    frontier->nodes[frontier->size++] = node;
}

static void emit(const struct matching *m, const struct trie_node *node)
{
    assert(node->first);
    route_add(m->set, node->first->dest);
    list_each(link, &node->first->in_index)
        route_add(m->set, container_of(link, struct binding, in_index)->dest);
}

/* True when the leaf's tail matches the key from word `i` on. */
static bool match_tail(const struct matching *m, const struct trie_node *node, unsigned i)
{
    struct slice tail = trie_tail(node), word;
    for (; words_next(&tail, &word); i++) {
        if (i == m->key.count)
            return false;
        if (!slice_equal(word, m->key.words[i]) && !(word.len == 1 && word.at[0] == '*'))
            return false;
    }
    return i == m->key.count;
}

/* Enters the '#' below `node`, if any, unless an earlier word led there already. */
static void enter_hash(const struct matching *m, uint32_t node)
{
    struct topic *topic = m->topic;
    uint32_t hash = topic->trie.nodes[node].hash;
    if (!hash)
        return;
    struct trie_node *n = &topic->trie.nodes[hash];
    if (n->stamp == topic->stamp)
        return;
    n->stamp = topic->stamp;
    if (n->first && n->tail_len == 0)
        emit(m, n); /* whatever is left of the key, it takes */
    if (n->children || n->tail_len)
        push(&topic->hashes, hash);
}

/* Enters `child` after `i` words: a leaf is settled at once, other nodes wait for their turn. */
static void enter(const struct matching *m, uint32_t child, unsigned i)
{
    const struct trie_node *n = &m->topic->trie.nodes[child];
    if (n->tail_len) {
        if (match_tail(m, n, i))
            emit(m, n);
        return;
    }
    if (i == m->key.count && n->first)
        emit(m, n);
    if (n->children)
        push(&m->topic->next, child);
}

/* From `node`, reached after `i` words, over word `i`. */
static void step(const struct matching *m, uint32_t node, unsigned i, uint64_t word_hash)
{
    const struct trie *trie = &m->topic->trie;
    uint32_t child = trie_child(trie, node, m->key.words[i], word_hash);
    uint32_t star = trie->nodes[node].star;
    if (child)
        enter(m, child, i + 1);
    if (star)
        enter(m, star, i + 1);
}

static void step_all(const struct matching *m, unsigned i)
{
    struct topic *topic = m->topic;
    uint64_t word_hash = trie_hash(&topic->trie, m->key.words[i]);
    topic->next.size = 0;
    m->set->looks += topic->now.size + topic->hashes.size;
    for (size_t n = 0; n < topic->now.size; n++)
        step(m, topic->now.nodes[n], i, word_hash);
    for (size_t n = 0; n < topic->hashes.size; n++) {
        uint32_t hash = topic->hashes.nodes[n];
        const struct trie_node *node = &topic->trie.nodes[hash];
        if (!node->tail_len)
            step(m, hash, i, word_hash);
        else if (match_tail(m, node, i))
            emit(m, node);
    }
    struct frontier done = topic->now;
    topic->now = topic->next;
    topic->next = done;
}

static void topic_match(void *index, const struct route_input *input, struct slice key,
                        struct route_set *set)
{
    (void)input;
    struct topic *topic = index;
    if (topic->trie.live == 0 && !topic->trie.nodes[TRIE_ROOT].first)
        return;
    struct matching m;
    m.topic = topic;
    m.set = set;
    words_split(key, &m.key);
    topic->stamp++;
    topic->now.size = topic->hashes.size = 0;
    push(&topic->now, TRIE_ROOT);
    if (m.key.count == 0 && topic->trie.nodes[TRIE_ROOT].first)
        emit(&m, &topic->trie.nodes[TRIE_ROOT]);
    for (unsigned i = 0;; i++) {
        for (size_t n = 0; n < topic->now.size; n++)
            enter_hash(&m, topic->now.nodes[n]);
        if (i == m.key.count || topic->now.size + topic->hashes.size == 0)
            break;
        step_all(&m, i);
    }
}

const struct exchange_type topic_type = {
    .name = "topic",
    .cacheable = true,
    .index_new = topic_new,
    .index_free = topic_free,
    .add = topic_add,
    .remove = topic_remove,
    .match = topic_match,
};
