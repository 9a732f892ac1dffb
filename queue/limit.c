/* limit.c - the length limit of a queue, read from its arguments. */
#include "queue/limit.h"

#include "base/assert.h"
#include "protocol/table.h"

/* 0 is a limit too: it keeps nothing. */
static void read_max(struct slice args, const char *name, uint64_t *max)
{
    struct field field;
    int64_t value;
    if (!table_find(args, name, &field) || !field_integer(&field, &value))
        return;
    assertf(value >= 0, "%s of %lld passed the check of the declaration", name, (long long)value);
    *max = (uint64_t)value;
}

enum limit_overflow limit_overflow_of(struct slice text)
{
    if (slice_is(text, "reject-publish-dlx"))
        return LIMIT_REJECT_DEAD_LETTER;
    return slice_is(text, "reject-publish") ? LIMIT_REJECT : LIMIT_DROP_HEAD;
}

static void read_overflow(struct slice args, enum limit_overflow *overflow)
{
    struct field field;
    struct slice text;
    if (table_find(args, "x-overflow", &field) && field_string(&field, &text))
        *overflow = limit_overflow_of(text);
}

void limit_apply_args(struct limit *limit, struct slice args)
{
    read_max(args, "x-max-length", &limit->messages_max);
    read_max(args, "x-max-length-bytes", &limit->bytes_max);
    read_overflow(args, &limit->overflow);
    if (!limit_is_set(limit))
        limit->overflow = LIMIT_NONE;
    else if (limit->overflow == LIMIT_NONE)
        limit->overflow = LIMIT_DROP_HEAD;
}

struct limit limit_of_args(struct slice args)
{
    struct limit limit = {LIMIT_NONE, UINT64_MAX, UINT64_MAX};
    limit_apply_args(&limit, args);
    return limit;
}
