/* retry.h - when a message that a consumer put back comes again: x-retry-delays, or x-retry-base, -factor,
 * -max; x-retry-jitter, x-retry-limit. */
#ifndef QUEUE_RETRY_H
#define QUEUE_RETRY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"

/* Of a message that came back: how often it did. */
#define RETRY_HEADER "x-retry-count"

enum { RETRY_STEPS_MAX = 32, RETRY_LIMIT_MAX = 60000, RETRY_FACTOR_MAX = 1000, RETRY_JITTER_MAX = 100 };

struct retry {
    uint64_t delays_ms[RETRY_STEPS_MAX];
    unsigned delay_count; /* 0 = base, factor and max count */
    uint64_t base_ms, max_ms;
    uint32_t factor, jitter_percent;
    int64_t limit;        /* of times; negative = as many as there are delays, or without end */
};

/* What no argument says. */
struct retry retry_none(void);
/* True when there is something to retry by. */
static inline bool retry_is_set(const struct retry *retry)
{
    return retry->delay_count > 0 || retry->base_ms > 0;
}
/* Reads the arguments of a queue, which were checked when it was declared; others stay as they are. */
void retry_apply_args(struct retry *retry, struct slice args);
/* How often a message comes back; negative = without end. `delivery_limit` is the queue's. */
int64_t retry_limit(const struct retry *retry, int64_t delivery_limit);
/* Before it comes for that time (1 = the first); `dice` any number, for the jitter. */
uint64_t retry_delay_ms(const struct retry *retry, int64_t times, uint64_t dice);

#endif
