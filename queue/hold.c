/* hold.c - a queue that serves nobody for a while.
 *
 * Invariant: while it is held, queue.front is an order that is always empty, so that the rest of the queue
 * asks nothing new. */
#include "queue/hold.h"

#include "queue/lane.h"

static void face(struct queue *q)
{
    if (q->groups)
        groups_turned(q->groups);
    else if (hold_is_on(q))
        q->front = &q->home->nothing;
    else
        q->front = q->levels ? levels_front(q->levels) : &q->order;
    queue_refresh(q);
}

void hold_add(struct queue *q)
{
    assert(q->consumers.rotation.held < SIZE_MAX);
    if (q->consumers.rotation.held++ == 0)
        face(q);
    assert(!list_linked(&q->ready_link));
}

void hold_drop(struct queue *q)
{
    assert(q->consumers.rotation.held > 0);
    if (--q->consumers.rotation.held == 0)
        face(q);
}
