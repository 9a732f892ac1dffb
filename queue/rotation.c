/* rotation.c - ranks of consumers.
 *
 * Invariants: a rank is in the heap iff its list is not empty (once `ranked`); `turn` is the list of the
 * heap's first rank, or of rank zero, or `alone` of a queue with a single active consumer. */
#include "queue/rotation.h"

#include "base/assert.h"
#include "queue/groups.h"

void rotation_init(struct rotation *rotation)
{
    *rotation = (struct rotation){0};
    list_init(&rotation->zero.list);
    list_init(&rotation->alone);
    rotation->turn = &rotation->zero.list;
}

void rotation_free(struct rotation *rotation)
{
    assert(rotation->by_priority.size == 0 && rotation->zero.members == 0);
    assert(rotation->ranks.size == 0 && !rotation->active);
    heap_free(&rotation->ranks);
    map_free(&rotation->by_priority);
}

void rotation_make_single(struct rotation *rotation, bool yields)
{
    assert(rotation->zero.members == 0 && !rotation->ranked);
    rotation->single = rotation->special = true;
    rotation->yields = yields;
    rotation->turn = &rotation->alone;
}

/* The rank's list has got its first consumer or lost its last one. */
static void rank_changed(struct rotation *rotation, struct rank *rank)
{
    if (!rotation->ranked)
        return;
    bool any = !list_empty(&rank->list);
    if (any == heap_linked(&rank->node))
        return;
    if (any)
        heap_push(&rotation->ranks, &rank->node);
    else
        heap_remove(&rotation->ranks, &rank->node);
    struct heap_node *first = heap_min(&rotation->ranks);
    if (!rotation->single)
        rotation->turn = first ? &container_of(first, struct rank, node)->list : &rotation->zero.list;
}

/* The heap's smallest key is the largest priority. */
static uint64_t key_of(int64_t priority)
{
    return ~((uint64_t)priority ^ (uint64_t)1 << 63);
}

static struct rank *find_rank(struct rotation *rotation, int64_t priority)
{
    if (priority == 0)
        return &rotation->zero;
    if (!rotation->ranked) {
        rotation->ranked = rotation->special = true;
        rotation->zero.node.key = key_of(0);
        rank_changed(rotation, &rotation->zero);
    }
    struct rank *rank = map_get(&rotation->by_priority, slice_of(&priority, sizeof priority));
    if (rank)
        return rank;
    rank = mem_zalloc(sizeof *rank);
    rank->node.key = key_of(priority);
    rank->priority = priority;
    list_init(&rank->list);
    map_put(&rotation->by_priority, slice_of(&rank->priority, sizeof rank->priority), rank);
    return rank;
}

void rotation_enter(struct rotation *rotation, struct consumer *c)
{
    assert(!c->rank && !list_linked(&c->place));
    c->rank = find_rank(rotation, c->priority);
    c->rank->members++;
}

void rotation_exit(struct rotation *rotation, struct consumer *c)
{
    struct rank *rank = c->rank;
    if (c->state == CONSUMER_ROTATING || c->state == CONSUMER_WAITING)
        rotation_leave(rotation, c);
    else
        list_unlink(&c->place);
    c->rank = NULL;
    assert(rank->members > 0);
    if (--rank->members > 0 || rank == &rotation->zero)
        return;
    map_remove(&rotation->by_priority, slice_of(&rank->priority, sizeof rank->priority));
    mem_free(rank);
}

void rotation_join_special(struct rotation *rotation, struct consumer *c)
{
    assert(c->rank);
    if (rotation->single && c->state == CONSUMER_ROTATING) {
        assert(c == rotation->active);
        list_push_back(&rotation->alone, &c->place);
    } else {
        list_push_back(&c->rank->list, &c->place);
        rank_changed(rotation, c->rank);
    }
    if (rotation->groups && c->state == CONSUMER_ROTATING)
        groups_joined(rotation->groups, c);
}

void rotation_leave_special(struct rotation *rotation, struct consumer *c)
{
    list_remove(&c->place);
    rank_changed(rotation, c->rank);
    if (rotation->groups)
        groups_left(rotation->groups, c);
}

struct consumer *rotation_heir(const struct rotation *rotation)
{
    assert(rotation->single);
    const struct list *list = &rotation->zero.list;
    struct heap_node *first = heap_min(&rotation->ranks);
    if (first)
        list = &container_of(first, struct rank, node)->list;
    return list_empty(list) ? NULL : list_first(list, struct consumer, place);
}
