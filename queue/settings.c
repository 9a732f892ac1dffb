/* settings.c - the settings of a queue, read from its arguments (semantics 2.2). */
#include "queue/settings.h"

#include "base/assert.h"
#include "protocol/table.h"
#include "base/mem.h"
#include "queue/kind.h"
#include "queue/retry.h"

struct settings settings_none(void)
{
    return (struct settings){.ttl_ms = SETTINGS_NEVER,
                             .expires_ms = SETTINGS_NEVER,
                             .consumer_timeout_ms = SETTINGS_NEVER,
                             .limit = {LIMIT_NONE, UINT64_MAX, UINT64_MAX},
                             .delivery_limit = -1};
}

static void read_time(struct slice args, const char *name, uint64_t *ms)
{
    struct field field;
    int64_t value;
    if (!table_find(args, name, &field) || !field_integer(&field, &value))
        return;
    assertf(value >= 0, "%s of %lld passed the check of the declaration", name, (long long)value);
    *ms = (uint64_t)value;
}

static bool read_text(struct slice args, const char *name, struct slice *text)
{
    struct field field;
    return table_find(args, name, &field) && field_string(&field, text);
}

void settings_apply_args(struct settings *settings, struct slice args)
{
    struct field field;
    struct slice strategy, overflow;
    read_time(args, "x-message-ttl", &settings->ttl_ms);
    read_time(args, "x-expires", &settings->expires_ms);
    read_time(args, "x-consumer-timeout", &settings->consumer_timeout_ms);
    limit_apply_args(&settings->limit, args);
    if (settings->delivery_limit < 0 && kind_of_args(args).type == KIND_QUORUM)
        settings->delivery_limit = KIND_QUORUM_DELIVERY_LIMIT;
    if (table_find(args, "x-delivery-limit", &field))
        field_integer(&field, &settings->delivery_limit);
    settings->dead_letters |= read_text(args, "x-dead-letter-exchange", &settings->dead_exchange);
    settings->has_dead_key |= read_text(args, "x-dead-letter-routing-key", &settings->dead_key);
    if (read_text(args, "x-dead-letter-strategy", &strategy))
        settings->at_least_once = slice_is(strategy, "at-least-once");
    if (read_text(args, "x-overflow", &overflow))
        settings->refuses = slice_is(overflow, "reject-publish");
}

struct settings settings_copy(const struct settings *settings)
{
    struct settings copy = *settings;
    copy.dead_exchange = slice_copy(settings->dead_exchange);
    copy.dead_key = slice_copy(settings->dead_key);
    if (settings->retry) {
        struct retry *retry = mem_alloc(sizeof(*retry));
        *retry = *settings->retry;
        copy.retry = retry;
    }
    return copy;
}

void settings_free(struct settings *settings)
{
    slice_free(&settings->dead_exchange);
    slice_free(&settings->dead_key);
    mem_free((void *)(uintptr_t)settings->retry);
    *settings = settings_none();
}
