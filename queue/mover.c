/* mover.c - goes through all queues for messages in an old part of the journal.
 *
 * Owner: the queue home. Invariant: from the moment that all queues were looked at until the part is moved
 * on, every queue that has a journalled entry of it in memory is in `old`, with a key no larger than its
 * batch. */
#include "queue/mover.h"

#include "queue/paging.h"

void mover_init(struct mover *mover)
{
    *mover = (struct mover){.looks_max = MOVER_LOOKS_MAX};
    list_init(&mover->queues);
    shared_moves_init(&mover->shared, (uintptr_t)mover);
}

void mover_free(struct mover *mover)
{
    assert(list_empty(&mover->queues) && mover->old.size == 0);
    heap_free(&mover->old);
    shared_moves_free(&mover->shared);
}

void mover_join(struct mover *mover, struct moving *moving)
{
    assert(!list_linked(&moving->link));
    list_push_back(&mover->queues, &moving->link);
}

void mover_leave(struct mover *mover, struct moving *moving)
{
    assert(list_linked(&moving->link));
    if (mover->next == &moving->link)
        mover->next = moving->link.next;
    list_remove(&moving->link);
    if (heap_linked(&moving->node))
        heap_remove(&mover->old, &moving->node);
}

/* The queue has something of that batch, and perhaps of younger ones. */
static void keep(struct mover *mover, struct moving *moving, uint64_t batch)
{
    if (heap_linked(&moving->node)) {
        if (moving->node.key <= batch)
            return;
        heap_remove(&mover->old, &moving->node);
    }
    moving->node.key = batch;
    heap_push(&mover->old, &moving->node);
}

/* True when all queues were looked at. */
static bool look(struct mover *mover)
{
    while (mover->next != &mover->queues) {
        if (mover->looks++ >= mover->looks_max)
            return false;
        struct moving *moving = container_of(mover->next, struct moving, link);
        uint64_t oldest = paging_oldest(container_of(moving, struct queue, moving));
        if (oldest <= mover->to)
            keep(mover, moving, oldest);
        mover->next = mover->next->next;
    }
    mover->next = NULL;
    return true;
}

static void move_queues(struct mover *mover, uint64_t limit)
{
    for (struct heap_node *node; (node = heap_min(&mover->old)) && node->key <= limit;) {
        struct moving *moving = container_of(node, struct moving, node);
        struct queue *q = container_of(moving, struct queue, moving);
        heap_pop(&mover->old);
        mover->looks++;
        paging_move_waiting(q, limit);
        uint64_t oldest = paging_oldest(q);
        assertf(oldest > limit, "batch %llu is left behind", (unsigned long long)oldest);
        if (oldest <= mover->to)
            keep(mover, moving, oldest);
    }
}

/* What nobody wants to know any more: the part went by itself. */
static void forget(struct mover *mover)
{
    while (mover->old.size > 0 && mover->looks++ < mover->looks_max)
        heap_pop(&mover->old);
}

uint64_t mover_run(struct queue_home *home)
{
    struct mover *mover = &home->mover;
    mover->looks = 0;
    if (mover->to == 0 && mover->old.size > 0) {
        forget(mover);
        return 0;
    }
    if (mover->to == 0) {
        mover->to = store_sparse_part(home->store);
        mover->next = mover->to ? mover->queues.next : NULL;
    }
    if (mover->to == 0 || (mover->next && !look(mover)))
        return 0;
    uint64_t limit = store_sparse_batch(home->store);
    assert(limit <= mover->to);
    move_queues(mover, limit);
    if (!store_is_sparse(home->store))
        mover->to = 0;
    return limit;
}

void mover_finish(struct queue_home *home)
{
    shared_moves_write(&home->mover.shared, home->store);
}

void mover_came_back(struct queue *q, const struct entry *entry)
{
    struct mover *mover = &q->home->mover;
    if (entry->journalled && !entry->page && entry->message->batch <= mover->to && !q->leaving.deleted)
        keep(mover, &q->moving, entry->message->batch);
}
