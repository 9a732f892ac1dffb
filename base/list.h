/* list.h - intrusive, circular, doubly linked list.
 * A node that is in no list is all zero, so "is linked" can be asked and asserted. */
#ifndef BASE_LIST_H
#define BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

#include "base/assert.h"
#include "base/mem.h"

struct list {
    struct list *next, *prev;
};

static inline void list_init(struct list *head)
{
    head->next = head->prev = head;
}

static inline bool list_empty(const struct list *head)
{
    return head->next == head;
}

static inline bool list_linked(const struct list *node)
{
    return node->next != NULL;
}

static inline void list_insert_before(struct list *at, struct list *node)
{
    assert(!list_linked(node));
    node->next = at;
    node->prev = at->prev;
    at->prev->next = node;
    at->prev = node;
}

static inline void list_push_back(struct list *head, struct list *node)
{
    list_insert_before(head, node);
}

static inline void list_push_front(struct list *head, struct list *node)
{
    list_insert_before(head->next, node);
}

static inline void list_remove(struct list *node)
{
    assert(list_linked(node));
    node->next->prev = node->prev;
    node->prev->next = node->next;
    node->next = node->prev = NULL;
}

/* Removes the node if it is in a list. */
static inline void list_unlink(struct list *node)
{
    if (list_linked(node))
        list_remove(node);
}

/* The first node, unlinked, or NULL. */
static inline struct list *list_pop_front(struct list *head)
{
    if (list_empty(head))
        return NULL;
    struct list *node = head->next;
    list_remove(node);
    return node;
}

/* Moves all of `from` to the end of `to`; `from` is empty afterwards. */
static inline void list_splice_back(struct list *to, struct list *from)
{
    if (list_empty(from))
        return;
    from->next->prev = to->prev;
    to->prev->next = from->next;
    from->prev->next = to;
    to->prev = from->prev;
    list_init(from);
}

#define list_first(head, type, member) container_of((head)->next, type, member)

/* Walks the nodes; the body may not unlink any node but with list_each_safe its own. */
#define list_each(node, head) \
    for (struct list *node = (head)->next; node != (head); node = node->next)
#define list_each_safe(node, head)                                                     \
    for (struct list *node = (head)->next, *node##_next = node->next; node != (head);  \
         node = node##_next, node##_next = node->next)

#endif
