/* excess.h - how far a queue may be beyond its limit before nobody may publish to it any more.
 *
 * What a drop-head limit drops may have to be read from disk first, and what goes to a dead-letter exchange
 * waits in memory to be published; both take turns, in which publishers bring more. */
#ifndef QUEUE_EXCESS_H
#define QUEUE_EXCESS_H

#include "queue/queue.h"

enum { EXCESS_MESSAGES = 16384, EXCESS_BYTES = 4 * 1024 * 1024 };

/* For excess_is_large: the queue has a limit. */
bool excess_measure(const struct queue *q);

/* True when the queue is so far beyond its limit, or has so many dead letters waiting, that who publishes
 * to it has to wait. With at-least-once these are in the limit, and messages are refused instead. */
static inline bool excess_is_large(const struct queue *q)
{
    return q->settings.limit.overflow != LIMIT_NONE && excess_measure(q);
}

#endif
