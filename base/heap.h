/* heap.h - intrusive binary min-heap keyed by a 64-bit number: push, pop and remove in O(log n). */
#ifndef BASE_HEAP_H
#define BASE_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct heap_node {
    uint64_t key;
    size_t place; /* 1-based index in the heap; 0 = in no heap */
};

struct heap {
    struct heap_node **nodes;
    size_t size, capacity;
};

static inline bool heap_linked(const struct heap_node *node)
{
    return node->place != 0;
}

static inline struct heap_node *heap_min(const struct heap *heap)
{
    return heap->size ? heap->nodes[0] : NULL;
}

/* node->key must be set and stay as it is while the node is in the heap. */
void heap_push(struct heap *heap, struct heap_node *node);
void heap_remove(struct heap *heap, struct heap_node *node);
/* The node with the smallest key, removed, or NULL. */
struct heap_node *heap_pop(struct heap *heap);
/* Frees the array, not the nodes. */
void heap_free(struct heap *heap);

#endif
