/* sift.h - the two steps of a binary min-heap in an array of small items: SIFT(name, key) defines
 * name##_sift_up and name##_sift_down for `struct name`, by its member `key`. The owner keeps array and size.
 * Invariant: the key of an item is not above those at twice its place plus 1 and 2. */
#ifndef BASE_SIFT_H
#define BASE_SIFT_H

#include <stddef.h>

/* up: puts `item` at place i, the first free one, or nearer to the root.
 * down: puts `item` into the place of the root, or farther down; it is counted in `size`. */
#define SIFT(name, key)                                                                                  \
    __attribute__((unused)) static inline void name##_sift_up(struct name *heap, size_t i,               \
                                                              struct name item)                          \
    {                                                                                                    \
        for (; i > 0 && heap[(i - 1) / 2].key > item.key; i = (i - 1) / 2)                               \
            heap[i] = heap[(i - 1) / 2];                                                                 \
        heap[i] = item;                                                                                  \
    }                                                                                                    \
    __attribute__((unused)) static inline void name##_sift_down(struct name *heap, size_t size,          \
                                                                struct name item)                        \
    {                                                                                                    \
        size_t i = 0;                                                                                    \
        for (size_t child = 1; child < size; child = 2 * i + 1) {                                        \
            if (child + 1 < size && heap[child + 1].key < heap[child].key)                               \
                child++;                                                                                 \
            if (heap[child].key >= item.key)                                                             \
                break;                                                                                   \
            heap[i] = heap[child];                                                                       \
            i = child;                                                                                   \
        }                                                                                                \
        heap[i] = item;                                                                                  \
    }                                                                                                    \
    struct name /* the caller's semicolon ends this */

#endif
