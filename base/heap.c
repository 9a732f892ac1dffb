/* heap.c - intrusive binary min-heap. Invariant: nodes[i]->place == i + 1, parent key <= child key. */
#include "base/heap.h"

#include "base/assert.h"
#include "base/mem.h"

static void put(struct heap *heap, size_t i, struct heap_node *node)
{
    heap->nodes[i] = node;
    node->place = i + 1;
}

static void sift_up(struct heap *heap, size_t i, struct heap_node *node)
{
    while (i > 0 && heap->nodes[(i - 1) / 2]->key > node->key) {
        put(heap, i, heap->nodes[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
    put(heap, i, node);
}

static void sift_down(struct heap *heap, size_t i, struct heap_node *node)
{
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= heap->size)
            break;
        if (child + 1 < heap->size && heap->nodes[child + 1]->key < heap->nodes[child]->key)
            child++;
        if (heap->nodes[child]->key >= node->key)
            break;
        put(heap, i, heap->nodes[child]);
        i = child;
    }
    put(heap, i, node);
}

void heap_push(struct heap *heap, struct heap_node *node)
{
    assert(!heap_linked(node));
    if (heap->size == heap->capacity) {
        heap->capacity = heap->capacity ? heap->capacity * 2 : 8;
        heap->nodes = mem_realloc(heap->nodes, heap->capacity * sizeof(*heap->nodes));
    }
    heap->size++;
    sift_up(heap, heap->size - 1, node);
}

void heap_remove(struct heap *heap, struct heap_node *node)
{
    assert(heap_linked(node) && heap->nodes[node->place - 1] == node);
    size_t i = node->place - 1;
    struct heap_node *last = heap->nodes[--heap->size];
    node->place = 0;
    if (last == node)
        return;
    if (i > 0 && heap->nodes[(i - 1) / 2]->key > last->key)
        sift_up(heap, i, last);
    else
        sift_down(heap, i, last);
}

struct heap_node *heap_pop(struct heap *heap)
{
    struct heap_node *node = heap_min(heap);
    if (node)
        heap_remove(heap, node);
    return node;
}

void heap_free(struct heap *heap)
{
    mem_free(heap->nodes);
    *heap = (struct heap){0};
}
