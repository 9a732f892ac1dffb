/* points.c - a treap of points: ordered by place, a heap by random rank.
 *
 * Owner: an exchange type's index. Points at one place are told apart by their address. */
#include "exchange/points.h"

#include "base/assert.h"
#include "exchange/digest.h"

static bool is_before(const struct point *a, const struct point *b)
{
    return a->at != b->at ? a->at < b->at : (uintptr_t)a < (uintptr_t)b;
}

static void recount(struct point *point)
{
    point->count = 1 + (point->left ? point->left->count : 0) + (point->right ? point->right->count : 0);
}

/* Cuts the tree into those before `at` and those behind. */
static void split(struct point *tree, const struct point *at, struct point **before, struct point **behind)
{
    if (!tree) {
        *before = *behind = NULL;
    } else if (is_before(tree, at)) {
        split(tree->right, at, &tree->right, behind);
        *before = tree;
        recount(tree);
    } else {
        split(tree->left, at, before, &tree->left);
        *behind = tree;
        recount(tree);
    }
}

/* All of `a` is before all of `b`. */
static struct point *join(struct point *a, struct point *b)
{
    if (!a || !b)
        return a ? a : b;
    if (a->rank > b->rank) {
        a->right = join(a->right, b);
        recount(a);
        return a;
    }
    b->left = join(a, b->left);
    recount(b);
    return b;
}

static void draw_rank(struct points *points, struct point *point)
{
    assert(point->binding);
    points->seed = digest_pair(points->seed, point->at);
    point->rank = (uint32_t)(points->seed >> 32);
}

void points_add(struct points *points, struct point *point)
{
    struct point *before, *behind;
    assert(points_size(points) < UINT32_MAX);
    draw_rank(points, point);
    point->left = point->right = NULL;
    point->count = 1;
    split(points->root, point, &before, &behind);
    points->root = join(join(before, point), behind);
}

void points_remove(struct points *points, struct point *point)
{
    struct point **at = &points->root;
    while (*at != point) {
        assertf(*at, "no point at %llu", (unsigned long long)point->at);
        (*at)->count--;
        at = is_before(point, *at) ? &(*at)->left : &(*at)->right;
    }
    *at = join(point->left, point->right);
}

/* --- many at once --- */

/* A tree of points that are in order: each goes to the end of the right edge, and takes what is of lower rank
 * there as its left. While it grows `right` leads up that edge. */
static struct point *build(struct points *points, struct point *many, size_t count)
{
    struct point *edge = NULL;
    for (size_t i = 0; i <= count; i++) {
        struct point *lower = NULL, *point = i < count ? &many[i] : NULL;
        assert(i == 0 || i == count || is_before(&many[i - 1], point));
        if (point)
            draw_rank(points, point);
        while (edge && (!point || edge->rank < point->rank)) {
            struct point *done = edge;
            edge = done->right;
            done->right = lower;
            recount(done);
            lower = done;
        }
        if (!point)
            return lower;
        point->left = lower;
        point->right = edge;
        edge = point;
    }
    return NULL;
}

static struct point *merge(struct point *a, struct point *b)
{
    struct point *before, *behind;
    if (!a || !b)
        return a ? a : b;
    if (a->rank < b->rank) {
        struct point *other = a;
        a = b;
        b = other;
    }
    split(b, a, &before, &behind);
    a->left = merge(a->left, before);
    a->right = merge(a->right, behind);
    recount(a);
    return a;
}

void points_add_all(struct points *points, struct point *many, size_t count)
{
    assert(count < UINT32_MAX - points_size(points));
    points->root = merge(points->root, build(points, many, count));
}

/* The tree without those of `many` that are in it: all of them are. */
static struct point *without(struct point *tree, struct point *many, size_t count)
{
    size_t low = 0, high = count;
    if (count == 0)
        return tree;
    assert(tree);
    while (low < high) { /* how many of them are before the tree's root */
        size_t middle = low + (high - low) / 2;
        if (is_before(&many[middle], tree))
            low = middle + 1;
        else
            high = middle;
    }
    bool goes = low < count && &many[low] == tree;
    struct point *left = without(tree->left, many, low);
    struct point *right = without(tree->right, many + low + goes, count - low - goes);
    if (goes)
        return join(left, right);
    tree->left = left;
    tree->right = right;
    recount(tree);
    return tree;
}

void points_remove_all(struct points *points, struct point *many, size_t count)
{
    assert(count <= points_size(points));
    points->root = without(points->root, many, count);
}

struct point *points_from(const struct points *points, uint64_t at)
{
    struct point *found = NULL;
    for (struct point *tree = points->root; tree;) {
        if (tree->at >= at)
            found = tree, tree = tree->left;
        else
            tree = tree->right;
    }
    return found || !points->root ? found : points_nth(points, 0);
}

struct point *points_nth(const struct points *points, size_t n)
{
    assert(n < points_size(points));
    struct point *tree = points->root;
    for (;;) {
        size_t before = tree->left ? tree->left->count : 0;
        if (n == before)
            return tree;
        if (n < before) {
            tree = tree->left;
        } else {
            n -= before + 1;
            tree = tree->right;
        }
    }
}

uint64_t points_place(struct slice bytes, uint64_t seed)
{
    return digest_pair(seed, slice_hash(bytes, 0));
}
