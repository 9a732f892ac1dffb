/* limit.h - how much may wait in a queue: x-max-length, x-max-length-bytes, x-overflow (semantics 2.2;
 * RabbitMQ's page "Queue Length Limit"). Only what waits counts, not what was handed out; of both limits the
 * first that is hit counts.
 *
 * Owned by its queue, which asks and acts; a queue without limits has LIMIT_NONE, and that is all it looks
 * at. */
#ifndef QUEUE_LIMIT_H
#define QUEUE_LIMIT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"

enum limit_overflow {
    LIMIT_NONE,      /* neither limit is set */
    LIMIT_DROP_HEAD, /* the oldest waiting messages go */
    LIMIT_REJECT,    /* the new message is refused: basic.nack */
};

struct limit {
    enum limit_overflow overflow;
    uint64_t messages_max, bytes_max; /* of bodies; UINT64_MAX = not limited */
};

/* Reads the arguments of a queue, which were checked when it was declared; others are ignored. */
struct limit limit_of_args(struct slice args);

static inline bool limit_is_exceeded(const struct limit *limit, uint64_t messages, uint64_t bytes)
{
    return messages > limit->messages_max || bytes > limit->bytes_max;
}

#endif
