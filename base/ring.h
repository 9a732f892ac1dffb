/* ring.h - a typed, growable ring (double-ended queue): RING(name, type) defines `struct name` and
 * the functions below with that prefix. It grows by doubling and gives memory back when it empties
 * after having been large. */
#ifndef BASE_RING_H
#define BASE_RING_H

#include <stddef.h>
#include <stdbool.h>

#include "base/assert.h"
#include "base/mem.h"

/* A ring larger than this many items frees its slots when it becomes empty. */
#define RING_KEEP_ITEMS 1024

#define RING(name, type)                                                                                 \
    struct name {                                                                                        \
        type *slots;                                                                                     \
        size_t capacity, head, size;                                                                     \
    };                                                                                                   \
    __attribute__((unused)) static inline type *name##_at(const struct name *r, size_t i)                \
    {                                                                                                    \
        assert(i < r->size);                                                                             \
        return &r->slots[(r->head + i) & (r->capacity - 1)];                                             \
    }                                                                                                    \
    __attribute__((unused)) static inline void name##_free(struct name *r)                               \
    {                                                                                                    \
        mem_free(r->slots);                                                                              \
        *r = (struct name){0};                                                                           \
    }                                                                                                    \
    __attribute__((unused)) static inline void name##_grow(struct name *r)                               \
    {                                                                                                    \
        size_t capacity = r->capacity ? r->capacity * 2 : 4;                                             \
        type *slots = mem_alloc(capacity * sizeof(type));                                                \
        for (size_t i = 0; i < r->size; i++)                                                             \
            slots[i] = r->slots[(r->head + i) & (r->capacity - 1)];                                      \
        mem_free(r->slots);                                                                              \
        r->slots = slots, r->capacity = capacity, r->head = 0;                                           \
    }                                                                                                    \
    __attribute__((unused)) static inline type *name##_push_back(struct name *r, type item)              \
    {                                                                                                    \
        if (r->size == r->capacity)                                                                      \
            name##_grow(r);                                                                              \
        type *slot = &r->slots[(r->head + r->size++) & (r->capacity - 1)];                               \
        *slot = item;                                                                                    \
        return slot;                                                                                     \
    }                                                                                                    \
    __attribute__((unused)) static inline type *name##_push_front(struct name *r, type item)             \
    {                                                                                                    \
        if (r->size == r->capacity)                                                                      \
            name##_grow(r);                                                                              \
        r->head = (r->head - 1) & (r->capacity - 1);                                                     \
        r->size++;                                                                                       \
        r->slots[r->head] = item;                                                                        \
        return &r->slots[r->head];                                                                       \
    }                                                                                                    \
    __attribute__((unused)) static inline type name##_pop_front(struct name *r)                          \
    {                                                                                                    \
        assert(r->size > 0);                                                                             \
        type item = r->slots[r->head];                                                                   \
        r->head = (r->head + 1) & (r->capacity - 1);                                                     \
        if (--r->size == 0 && r->capacity > RING_KEEP_ITEMS)                                             \
            name##_free(r);                                                                              \
        return item;                                                                                     \
    }                                                                                                    \
    __attribute__((unused)) static inline type name##_pop_back(struct name *r)                           \
    {                                                                                                    \
        assert(r->size > 0);                                                                             \
        return r->slots[(r->head + --r->size) & (r->capacity - 1)];                                      \
    }                                                                                                    \
    struct name /* the caller's semicolon ends this */

#endif
