/* points.h - bindings at points of a ring of 64-bit numbers, in order: a treap, so that adding, removing and
 * finding take O(log n) steps however many there are. The points' memory is the caller's. */
#ifndef EXCHANGE_POINTS_H
#define EXCHANGE_POINTS_H

#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

struct binding;

struct point {
    uint64_t at;
    struct binding *binding;
    struct point *left, *right;
    uint32_t rank;  /* heap order, random: keeps the tree flat whatever names clients choose */
    uint32_t count; /* of points in this subtree */
};

struct points {
    struct point *root;
    uint64_t seed; /* of the ranks */
};

static inline size_t points_size(const struct points *points)
{
    return points->root ? points->root->count : 0;
}

/* `at` and `binding` are set; two points may be at one place. */
void points_add(struct points *points, struct point *point);
/* It must be there. */
void points_remove(struct points *points, struct point *point);
/* The same for many that lie one behind the other, by their places: in a step for each, and as many more as
 * the logarithm of how many times as many there are. */
void points_add_all(struct points *points, struct point *many, size_t count);
void points_remove_all(struct points *points, struct point *many, size_t count);
/* The first point at `at` or behind, around the ring; NULL when there is none at all. */
struct point *points_from(const struct points *points, uint64_t at);
/* The point with `n` before it; n < points_size. */
struct point *points_nth(const struct points *points, size_t n);

/* Where something with these bytes is on the ring: the same in every run of the server. */
uint64_t points_place(struct slice bytes, uint64_t seed);

#endif
