/* trie.c - binding keys of a topic exchange, word by word.
 *
 * Invariants: a node below the root has a binding or a child; a node with a tail has no child; a
 * literal node without a word of its own has a binding and no child; the bindings of one node form a
 * ring through binding.in_index and have the node's number in binding.index_node. */
#include "exchange/trie.h"

#include "base/mem.h"

enum { NODES_MIN = 16, SLOTS_MIN = 16 };

void trie_init(struct trie *trie, uint64_t seed)
{
    *trie = (struct trie){.seed = seed, .capacity = NODES_MIN, .used = TRIE_ROOT + 1};
    trie->nodes = mem_alloc(NODES_MIN * sizeof(*trie->nodes));
    trie->nodes[TRIE_ROOT] = (struct trie_node){.kind = WORD_STAR};
}

void trie_free(struct trie *trie)
{
    assertf(trie->live == 0 && trie->literals == 0, "%u nodes left", trie->live);
    assert(!trie->nodes[TRIE_ROOT].first);
    mem_free(trie->nodes);
    mem_free(trie->slots);
    *trie = (struct trie){0};
}

/* Gives the arrays of a trie that was large back, when only the root is left. */
static void shrink_empty(struct trie *trie)
{
    struct binding *first = trie->nodes[TRIE_ROOT].first;
    trie->nodes[TRIE_ROOT].first = NULL;
    uint64_t seed = trie->seed;
    trie_free(trie);
    trie_init(trie, seed);
    trie->nodes[TRIE_ROOT].first = first;
}

uint64_t trie_hash(const struct trie *trie, struct slice word)
{
    return slice_hash(word, trie->seed);
}

/* Bytes of the words from `i` on, each with its leading '.'. */
static size_t tail_bytes(const struct word_pattern *p, unsigned i)
{
    size_t bytes = 0;
    for (; i < p->count; i++)
        bytes += 1 + p->words[i].len;
    assertf(bytes <= WORDS_KEY_MAX, "a tail of %zu bytes", bytes);
    return bytes;
}

struct slice trie_tail(const struct trie_node *node)
{
    assert(node->first && node->tail_len <= node->first->key.len);
    struct slice key = node->first->key;
    return slice_of(key.at + key.len - node->tail_len, node->tail_len);
}

static bool tail_is(const struct trie_node *node, const struct word_pattern *p, unsigned i)
{
    struct slice tail = trie_tail(node), word;
    for (; words_next(&tail, &word); i++)
        if (i == p->count || !slice_equal(word, p->words[i]))
            return false;
    return i == p->count;
}

/* True when the literal node's edge is `word`. */
static bool word_is(const struct trie_node *node, struct slice word)
{
    if (node->word)
        return node->word[0] == word.len && memcmp(node->word + 1, word.at, word.len) == 0;
    struct slice key = node->first->key;
    size_t end = key.len - node->tail_len;
    if (end < word.len || memcmp(key.at + end - word.len, word.at, word.len) != 0)
        return false;
    return end == word.len || key.at[end - word.len - 1] == '.';
}

static uint32_t child_tag(uint32_t node, uint64_t word_hash)
{
    uint64_t mixed = (word_hash ^ node) * UINT64_C(0x9E3779B97F4A7C15);
    return (uint32_t)(mixed >> 32);
}

uint32_t trie_child(const struct trie *trie, uint32_t node, struct slice word, uint64_t word_hash)
{
    if (trie->literals == 0)
        return 0;
    uint32_t tag = child_tag(node, word_hash), mask = trie->slot_capacity - 1;
    for (uint32_t i = tag & mask; trie->slots[i].node; i = (i + 1) & mask) {
        if (trie->slots[i].tag != tag)
            continue;
        const struct trie_node *child = &trie->nodes[trie->slots[i].node];
        if (child->parent == node && word_is(child, word))
            return trie->slots[i].node;
    }
    return 0;
}

static void put_slot(struct trie *trie, struct trie_slot slot)
{
    uint32_t mask = trie->slot_capacity - 1, i = slot.tag & mask;
    while (trie->slots[i].node)
        i = (i + 1) & mask;
    trie->slots[i] = slot;
}

static void resize_slots(struct trie *trie, uint32_t capacity)
{
    struct trie_slot *old = trie->slots;
    uint32_t old_capacity = trie->slot_capacity;
    assertf(capacity > trie->literals, "%u slots for %u children", capacity, trie->literals);
    trie->slots = mem_zalloc(capacity * sizeof(*trie->slots));
    trie->slot_capacity = capacity;
    for (uint32_t i = 0; i < old_capacity; i++)
        if (old[i].node)
            put_slot(trie, old[i]);
    mem_free(old);
}

static void add_slot(struct trie *trie, uint32_t node)
{
    if (trie->literals + 1 > trie->slot_capacity - trie->slot_capacity / 4)
        resize_slots(trie, trie->slot_capacity ? trie->slot_capacity * 2 : SLOTS_MIN);
    put_slot(trie, (struct trie_slot){trie->nodes[node].tag, node});
    trie->literals++;
}

/* The slot that leads to this literal node. */
static uint32_t find_slot(const struct trie *trie, uint32_t node)
{
    uint32_t mask = trie->slot_capacity - 1, i = trie->nodes[node].tag & mask;
    while (trie->slots[i].node != node) {
        assertf(trie->slots[i].node, "node %u is in no slot", node);
        i = (i + 1) & mask;
    }
    return i;
}

static void remove_slot(struct trie *trie, uint32_t node)
{
    uint32_t mask = trie->slot_capacity - 1, i = find_slot(trie, node);
    for (uint32_t j = (i + 1) & mask; trie->slots[j].node; j = (j + 1) & mask) {
        uint32_t home = trie->slots[j].tag & mask;
        if (((j - home) & mask) < ((j - i) & mask))
            continue; /* its home lies behind the hole: it stays */
        trie->slots[i] = trie->slots[j];
        i = j;
    }
    trie->slots[i] = (struct trie_slot){0};
    trie->literals--;
    if (trie->slot_capacity > SLOTS_MIN && trie->literals < trie->slot_capacity / 8)
        resize_slots(trie, trie->slot_capacity / 2);
}

/* An unlinked node. The array may move. */
static uint32_t take_node(struct trie *trie, enum word_kind kind)
{
    uint32_t node = trie->free_list;
    if (node) {
        trie->free_list = trie->nodes[node].parent;
    } else {
        if (trie->used == trie->capacity) {
            assertf(trie->capacity < UINT32_MAX / 2, "%u nodes", trie->capacity);
            trie->capacity += trie->capacity / 4; /* large blocks move without being copied */
            trie->nodes = mem_realloc(trie->nodes, trie->capacity * sizeof(*trie->nodes));
        }
        node = trie->used++;
    }
    trie->nodes[node] = (struct trie_node){.kind = (uint8_t)kind};
    trie->live++;
    return node;
}

static void release_node(struct trie *trie, uint32_t node)
{
    assert(node != TRIE_ROOT && trie->live > 0);
    if (trie->nodes[node].kind == WORD_LITERAL)
        mem_free(trie->nodes[node].word);
    trie->nodes[node].parent = trie->free_list;
    trie->free_list = node;
    if (--trie->live == 0 && trie->capacity > NODES_MIN)
        shrink_empty(trie);
}

static void link_child(struct trie *trie, uint32_t parent, uint32_t node, uint64_t word_hash)
{
    struct trie_node *child = &trie->nodes[node], *above = &trie->nodes[parent];
    child->parent = parent;
    above->children++;
    if (child->kind == WORD_LITERAL) {
        child->tag = child_tag(parent, word_hash);
        add_slot(trie, node);
        return;
    }
    uint32_t *place = child->kind == WORD_STAR ? &above->star : &above->hash;
    assert(*place == 0);
    *place = node;
}

static void unlink_child(struct trie *trie, uint32_t node)
{
    struct trie_node *child = &trie->nodes[node], *above = &trie->nodes[child->parent];
    assert(above->children > 0);
    above->children--;
    if (child->kind == WORD_LITERAL)
        remove_slot(trie, node);
    else if (child->kind == WORD_STAR)
        above->star = 0;
    else
        above->hash = 0;
}

static uint8_t *copy_word(struct slice word)
{
    assert(word.len <= WORDS_KEY_MAX);
    uint8_t *copy = mem_alloc(1 + word.len);
    copy[0] = (uint8_t)word.len;
    if (word.len)
        memcpy(copy + 1, word.at, word.len);
    return copy;
}

/* The leaf `low` keeps its number and its bindings and moves one word down: `high`, new, takes its
 * place, with the word that was the leaf's. Constant time however many bindings there are. */
static uint32_t split_tail(struct trie *trie, uint32_t low, struct slice word)
{
    uint32_t high = take_node(trie, trie->nodes[low].kind);
    struct trie_node *leaf = &trie->nodes[low], *above = &trie->nodes[high];
    struct slice tail = trie_tail(leaf), first = {0};
    words_next(&tail, &first);
    above->parent = leaf->parent;
    if (leaf->kind == WORD_LITERAL) {
        above->word = copy_word(word);
        above->tag = leaf->tag;
        trie->slots[find_slot(trie, low)].node = high;
        assert(!leaf->word);
    } else if (leaf->kind == WORD_STAR) {
        trie->nodes[leaf->parent].star = high;
    } else {
        trie->nodes[leaf->parent].hash = high;
        above->stamp = leaf->stamp;
    }
    leaf->kind = (uint8_t)words_kind(first);
    leaf->word = NULL;
    leaf->tail_len = (uint8_t)tail.len;
    assert(leaf->kind != WORD_HASH);
    link_child(trie, high, low, trie_hash(trie, first));
    return high;
}

/* Makes an existing node one that may have children; `word` is its edge. Its number may change. */
static uint32_t open_node(struct trie *trie, uint32_t node, struct slice word)
{
    if (trie->nodes[node].tail_len)
        return split_tail(trie, node, word);
    if (trie->nodes[node].kind == WORD_LITERAL && !trie->nodes[node].word)
        trie->nodes[node].word = copy_word(word);
    return node;
}

static uint32_t find_edge(const struct trie *trie, uint32_t node, const struct word_pattern *p, unsigned i,
                          uint64_t word_hash)
{
    if (p->kinds[i] == WORD_STAR)
        return trie->nodes[node].star;
    if (p->kinds[i] == WORD_HASH)
        return trie->nodes[node].hash;
    return trie_child(trie, node, p->words[i], word_hash);
}

static void attach(struct trie *trie, uint32_t node, struct binding *binding)
{
    struct trie_node *n = &trie->nodes[node];
    if (n->first) {
        list_push_back(&n->first->in_index, &binding->in_index);
    } else {
        list_init(&binding->in_index);
        n->first = binding;
    }
    binding->index_node = (void *)(uintptr_t)node;
}

/* The new node takes the rest of the key as its tail if no '#' is in it. */
static uint32_t add_edge(struct trie *trie, uint32_t parent, const struct word_pattern *p, unsigned *i,
                         uint64_t word_hash)
{
    uint32_t node = take_node(trie, p->kinds[*i]);
    unsigned next = *i + 1;
    if (next >= p->plain_from) {
        trie->nodes[node].tail_len = (uint8_t)tail_bytes(p, next);
        next = p->count;
    } else if (p->kinds[*i] == WORD_LITERAL) {
        trie->nodes[node].word = copy_word(p->words[*i]);
    }
    link_child(trie, parent, node, word_hash);
    *i = next;
    return node;
}

void trie_add(struct trie *trie, struct binding *binding)
{
    struct word_pattern p;
    words_parse(binding->key, &p);
    uint32_t node = TRIE_ROOT;
    for (unsigned i = 0; i < p.count;) {
        uint64_t word_hash = p.kinds[i] == WORD_LITERAL ? trie_hash(trie, p.words[i]) : 0;
        uint32_t child = find_edge(trie, node, &p, i, word_hash);
        if (!child) {
            node = add_edge(trie, node, &p, &i, word_hash);
            continue;
        }
        i++;
        const struct trie_node *n = &trie->nodes[child];
        if (n->tail_len ? tail_is(n, &p, i) : i == p.count) {
            node = child;
            break;
        }
        node = open_node(trie, child, p.words[i - 1]);
    }
    attach(trie, node, binding);
}

void trie_remove(struct trie *trie, struct binding *binding)
{
    uint32_t node = (uint32_t)(uintptr_t)binding->index_node;
    assertf(node >= TRIE_ROOT && node < trie->used, "node %u of %u", node, trie->used);
    struct trie_node *n = &trie->nodes[node];
    if (n->first == binding)
        n->first = list_empty(&binding->in_index)
                       ? NULL
                       : list_first(&binding->in_index, struct binding, in_index);
    list_remove(&binding->in_index);
    binding->index_node = NULL;
    while (node != TRIE_ROOT && !trie->nodes[node].first && trie->nodes[node].children == 0) {
        uint32_t parent = trie->nodes[node].parent;
        unlink_child(trie, node);
        release_node(trie, node);
        node = parent;
    }
}
