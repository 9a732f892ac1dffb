/* limit.c - the length limit of a queue, read from its arguments. */
#include "queue/limit.h"

#include "base/assert.h"
#include "protocol/table.h"

/* 0 is a limit too: it keeps nothing. */
static uint64_t read_max(struct slice args, const char *name)
{
    struct field field;
    int64_t max;
    if (!table_find(args, name, &field) || !field_integer(&field, &max))
        return UINT64_MAX;
    assertf(max >= 0, "%s of %lld passed the check of the declaration", name, (long long)max);
    return (uint64_t)max;
}

/* drop-head unless one of the two that refuse is asked for. */
static enum limit_overflow read_overflow(struct slice args)
{
    struct field field;
    struct slice text;
    if (!table_find(args, "x-overflow", &field) || !field_string(&field, &text))
        return LIMIT_DROP_HEAD;
    return slice_starts_with(text, "reject-publish") ? LIMIT_REJECT : LIMIT_DROP_HEAD;
}

struct limit limit_of_args(struct slice args)
{
    struct limit limit = {
        .messages_max = read_max(args, "x-max-length"),
        .bytes_max = read_max(args, "x-max-length-bytes"),
    };
    if (limit.messages_max < UINT64_MAX || limit.bytes_max < UINT64_MAX)
        limit.overflow = read_overflow(args);
    return limit;
}
