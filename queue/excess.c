/* excess.c - how far a queue is beyond its limit. */
#include "queue/excess.h"

static bool is_beyond(uint64_t is, uint64_t max, uint64_t allowed)
{
    return is > max && is - max > allowed;
}

bool excess_measure(const struct queue *q)
{
    const struct limit *limit = &q->settings.limit;
    assert(limit->overflow != LIMIT_NONE);
    if (q->leaving.outcomes > EXCESS_MESSAGES && !settings_keep(&q->settings))
        return true;
    return limit->overflow == LIMIT_DROP_HEAD &&
           (is_beyond(queue_ready(q), limit->messages_max, EXCESS_MESSAGES) ||
            is_beyond(q->ready_bytes, limit->bytes_max, EXCESS_BYTES));
}
