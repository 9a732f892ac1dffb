/* trie.h - binding keys of a topic exchange, word by word.
 *
 * Nodes lie in one array and name each other by number, 40 bytes each. A hash table leads from
 * (node, word) to the child for that word; '*' and '#' have a number of their own in the node.
 * Where a key goes on alone it is not taken apart: a leaf keeps the rest as a tail (of literal words
 * and '*'), and is split when another key comes along. So a typical binding costs one node, however
 * many words it has. The tail's bytes, and the leaf's own word, are those of a binding on the leaf.
 * As words.h has it a '#' never has a wildcard below it, and equal patterns end at the same node. */
#ifndef EXCHANGE_TRIE_H
#define EXCHANGE_TRIE_H

#include "exchange/dest.h"
#include "exchange/words.h"

enum { TRIE_ROOT = 1 };

struct trie_node {
    uint32_t parent;       /* 0 in the root; the next free one in a free node */
    uint32_t star, hash;   /* children for '*' and '#', 0 = none */
    uint32_t children;     /* how many of all kinds */
    struct binding *first; /* of the ring of bindings that end here, NULL = none */
    union {
        uint8_t *word;  /* literal: length and bytes, own memory; NULL = see the binding's key */
        uint64_t stamp; /* '#': of the match that reached it last */
    };
    uint32_t tag;     /* literal: its hash in the table of children */
    uint8_t kind;     /* enum word_kind */
    uint8_t tail_len; /* bytes of the rest, with its leading '.'; 0 = none */
};

struct trie_slot {
    uint32_t tag, node; /* node 0 marks a free slot */
};

struct trie {
    struct trie_node *nodes;     /* [0] is never used, [TRIE_ROOT] is the root */
    uint32_t capacity, used;     /* used: nodes ever taken, with 0 and the root */
    uint32_t free_list, live;    /* live: nodes below the root */
    struct trie_slot *slots;     /* children by (node, word), open addressing */
    uint32_t slot_capacity, literals;
    uint64_t seed;
};

void trie_init(struct trie *trie, uint64_t seed);
/* No binding is left in it. */
void trie_free(struct trie *trie);

void trie_add(struct trie *trie, struct binding *binding);
/* Nodes that nobody needs any more go with the binding. */
void trie_remove(struct trie *trie, struct binding *binding);

/* The child for a literal word, 0 when there is none; `word_hash` is trie_hash of it. */
uint32_t trie_child(const struct trie *trie, uint32_t node, struct slice word, uint64_t word_hash);
uint64_t trie_hash(const struct trie *trie, struct slice word);
/* What is left of the keys that end at this leaf; it is walked with words_next. */
struct slice trie_tail(const struct trie_node *node);

#endif
