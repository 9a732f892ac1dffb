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
    LIMIT_REJECT_DEAD_LETTER, /* the same, and it is dead-lettered */
};

struct limit {
    enum limit_overflow overflow;
    uint64_t messages_max, bytes_max; /* of bodies; UINT64_MAX = not limited */
};

/* Sets what the arguments of a queue say, which were checked when it was declared; others are ignored.
 * `overflow` is what is to happen at a limit; with neither of them set it is LIMIT_NONE afterwards. */
void limit_apply_args(struct limit *limit, struct slice args);
/* "reject-publish-dlx", "reject-publish"; all else is drop-head. */
enum limit_overflow limit_overflow_of(struct slice text);
/* The same from nothing set. */
struct limit limit_of_args(struct slice args);

static inline bool limit_is_set(const struct limit *limit)
{
    return limit->messages_max < UINT64_MAX || limit->bytes_max < UINT64_MAX;
}

static inline bool limit_is_exceeded(const struct limit *limit, uint64_t messages, uint64_t bytes)
{
    return messages > limit->messages_max || bytes > limit->bytes_max;
}

#endif
