/* retry.c - back-off of messages that come back. */
#include "queue/retry.h"

#include "base/assert.h"
#include "protocol/table.h"
#include "queue/delay.h"

struct retry retry_none(void)
{
    return (struct retry){.max_ms = DELAY_MAX_MS, .factor = 2, .limit = -1};
}

static bool read(struct slice args, const char *name, int64_t *value)
{
    struct field field;
    return table_find(args, name, &field) && field_integer(&field, value);
}

static void read_delays(struct retry *retry, struct slice args)
{
    struct field field, item;
    int64_t ms;
    if (!table_find(args, "x-retry-delays", &field))
        return;
    assert(field.type == 'A');
    retry->delay_count = 0;
    for (struct slice rest = field.bytes; array_next(&rest, &item);) {
        bool good = field_integer(&item, &ms) && ms >= 0 && retry->delay_count < RETRY_STEPS_MAX;
        assertf(good, "x-retry-delays passed the check of the declaration");
        retry->delays_ms[retry->delay_count++] = (uint64_t)ms;
    }
}

void retry_apply_args(struct retry *retry, struct slice args)
{
    int64_t value;
    read_delays(retry, args);
    if (read(args, "x-retry-base", &value))
        retry->base_ms = (uint64_t)value;
    if (read(args, "x-retry-factor", &value))
        retry->factor = (uint32_t)value;
    if (read(args, "x-retry-max", &value))
        retry->max_ms = (uint64_t)value;
    if (read(args, "x-retry-jitter", &value))
        retry->jitter_percent = (uint32_t)value;
    read(args, "x-retry-limit", &retry->limit);
}

int64_t retry_limit(const struct retry *retry, int64_t delivery_limit)
{
    int64_t limit = retry->limit;
    if (limit < 0 && retry->delay_count > 0)
        limit = retry->delay_count;
    if (delivery_limit >= 0 && (limit < 0 || delivery_limit < limit))
        limit = delivery_limit;
    return limit;
}

uint64_t retry_delay_ms(const struct retry *retry, int64_t times, uint64_t dice)
{
    assertf(times > 0 && retry_is_set(retry), "%lld times", (long long)times);
    uint64_t ms;
    if (retry->delay_count > 0) {
        ms = retry->delays_ms[times <= retry->delay_count ? times - 1 : retry->delay_count - 1];
    } else {
        ms = retry->base_ms;
        for (int64_t i = 1; i < times && ms < retry->max_ms && retry->factor > 1; i++)
            ms *= retry->factor; /* at most ten years times a thousand */
        ms = ms < retry->max_ms ? ms : retry->max_ms;
    }
    uint64_t spread = ms * retry->jitter_percent / 100;
    return spread ? ms - spread + dice % (2 * spread + 1) : ms;
}
