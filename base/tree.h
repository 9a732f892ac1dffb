/* tree.h - things in order of a 64-bit key, which no two share: a treap, so that adding, removing and finding
 * take O(log n) steps. The nodes are part of the things; nothing is allocated. */
#ifndef BASE_TREE_H
#define BASE_TREE_H

#include <stdint.h>

struct tree_node {
    uint64_t key, rank; /* rank: random, keeps the tree flat whatever keys there are */
    struct tree_node *left, *right;
};

struct tree {
    struct tree_node *root;
    uint64_t seed; /* of the ranks; nobody outside may know it */
};

/* The key is set, and not in the tree. */
void tree_add(struct tree *tree, struct tree_node *node);
/* It must be there. */
void tree_remove(struct tree *tree, struct tree_node *node);
/* NULL when there is none. */
struct tree_node *tree_find(const struct tree *tree, uint64_t key);
/* The one with the smallest key that is not smaller than that; NULL when there is none. */
struct tree_node *tree_from(const struct tree *tree, uint64_t key);

#endif
