/* tree.c - a treap: in order by key, a heap by random rank. Owner: whoever embeds it. */
#include "base/tree.h"

#include <stddef.h>

#include "base/assert.h"
#include "base/slice.h"

/* Cuts what hangs from `node` into those before the key and those behind it. */
static void split(struct tree_node *node, uint64_t key, struct tree_node **before, struct tree_node **behind)
{
    while (node) {
        if (node->key < key) {
            *before = node;
            before = &node->right;
            node = node->right;
        } else {
            *behind = node;
            behind = &node->left;
            node = node->left;
        }
    }
    *before = *behind = NULL;
}

void tree_add(struct tree *tree, struct tree_node *node)
{
    struct tree_node **at = &tree->root;
    node->rank = slice_hash(slice_of(&node->key, sizeof(node->key)), tree->seed);
    while (*at && (*at)->rank > node->rank) {
        assertf((*at)->key != node->key, "key %llu is there already", (unsigned long long)node->key);
        at = node->key < (*at)->key ? &(*at)->left : &(*at)->right;
    }
    split(*at, node->key, &node->left, &node->right);
    *at = node;
}

void tree_remove(struct tree *tree, struct tree_node *node)
{
    struct tree_node **at = &tree->root, *left = node->left, *right = node->right;
    while (*at != node) {
        assertf(*at, "key %llu is not there", (unsigned long long)node->key);
        at = node->key < (*at)->key ? &(*at)->left : &(*at)->right;
    }
    while (left && right) {
        struct tree_node **upper = left->rank > right->rank ? &left : &right;
        *at = *upper;
        at = upper == &left ? &left->right : &right->left;
        *upper = *at;
    }
    *at = left ? left : right;
    node->left = node->right = NULL;
}

struct tree_node *tree_find(const struct tree *tree, uint64_t key)
{
    struct tree_node *node = tree->root;
    while (node && node->key != key)
        node = key < node->key ? node->left : node->right;
    return node;
}

struct tree_node *tree_from(const struct tree *tree, uint64_t key)
{
    struct tree_node *found = NULL;
    for (struct tree_node *node = tree->root; node;) {
        if (node->key >= key) {
            found = node;
            node = node->left;
        } else {
            node = node->right;
        }
    }
    return found;
}
