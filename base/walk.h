/* walk.h - going through intrusive lists over many turns, while they change.
 *
 * A walk holds the node that comes next on each of its levels (a queue, and one of that queue's bindings).
 * Whoever takes a node out of a list says so first with walk_leave; then every walk that stood there has
 * gone on to the next. What is in a list all the time is met exactly once; what is appended meanwhile is
 * met too. Without a walk in progress that costs one look at an empty list. */
#ifndef BASE_WALK_H
#define BASE_WALK_H

#include "base/list.h"

enum { WALK_LEVELS = 2 };

struct walk {
    struct list link;             /* among the walks in progress */
    const void *owner;            /* whose lists it goes through; see walk_end_all */
    struct list *at[WALK_LEVELS]; /* the next node, or the list's head; NULL = not on that level */
};

static inline void walk_begin(struct list *walks, struct walk *walk, const void *owner)
{
    *walk = (struct walk){.owner = owner};
    list_push_back(walks, &walk->link);
}

/* Also of a walk that has not begun or was ended. */
static inline void walk_end(struct walk *walk)
{
    list_unlink(&walk->link);
    walk->owner = NULL;
    walk->at[0] = walk->at[1] = NULL;
}

/* The node is about to leave its list. What hangs below it is gone then, too. */
static inline void walk_leave(struct list *walks, const struct list *node)
{
    list_each (other, walks) {
        struct walk *walk = container_of(other, struct walk, link);
        if (walk->at[1] == node)
            walk->at[1] = node->next;
        if (walk->at[0] == node) {
            walk->at[0] = node->next;
            walk->at[1] = NULL;
        }
    }
}

/* The owner of the lists goes: walks through them have nothing more to see. */
static inline void walk_end_all(struct list *walks, const void *owner)
{
    list_each_safe (other, walks) {
        struct walk *walk = container_of(other, struct walk, link);
        if (walk->owner == owner)
            walk_end(walk);
    }
}

#endif
