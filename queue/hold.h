/* hold.h - a queue that serves nobody for a while, since older entries are on their way back to it.
 *
 * What a channel gives back may take several turns. Until all of it is in its place, younger messages would
 * overtake it. So each entry that is to come back holds its queue: neither consumers nor basic.get are
 * served. */
#ifndef QUEUE_HOLD_H
#define QUEUE_HOLD_H

#include "queue/queue.h"

/* One more entry of the queue is to come back; and one of these is about to, or is settled. */
void hold_add(struct queue *q);
void hold_drop(struct queue *q);

static inline bool hold_is_on(const struct queue *q)
{
    return q->consumers.rotation.held > 0;
}

#endif
