/* govern.c - what policies change in a queue or exchange.
 *
 * RabbitMQ's rules: of numbers the least of argument, policy and operator policy counts; of names the
 * argument counts before the policy. */
#include "broker/govern.h"

#include "broker/vhost.h"
#include "protocol/table.h"

enum policy_subject govern_subject(const struct dest *dest)
{
    struct field field;
    struct slice type;
    if (dest->kind == DEST_EXCHANGE)
        return POLICY_EXCHANGE;
    const struct queue *q = container_of((void *)(uintptr_t)dest, struct queue, dest);
    if (!table_find(q->args, "x-queue-type", &field) || !field_string(&field, &type))
        return POLICY_CLASSIC_QUEUE;
    return slice_is(type, "quorum")   ? POLICY_QUORUM_QUEUE
           : slice_is(type, "stream") ? POLICY_STREAM
                                      : POLICY_CLASSIC_QUEUE;
}

static void apply_exchange(struct vhost *v, struct exchange *x)
{
    struct slice alternate = SLICE("");
    policy_text(x->dest.policies[0], NULL, "alternate-exchange", &alternate);
    exchange_set_alternate(x, alternate);
    router_changed(&v->router);
}

static uint64_t least(uint64_t limit, const struct dest *dest, const char *key)
{
    int64_t number;
    if (!policy_number(dest->policies[0], dest->policies[1], key, &number) || number < 0)
        return limit;
    return (uint64_t)number < limit ? (uint64_t)number : limit;
}

static void apply_queue(struct queue *q)
{
    struct limit limit = limit_of_args(q->args);
    struct field field;
    struct slice overflow = SLICE("");
    if (limit.overflow == LIMIT_NONE)
        limit.messages_max = limit.bytes_max = UINT64_MAX;
    limit.messages_max = least(limit.messages_max, &q->dest, "max-length");
    limit.bytes_max = least(limit.bytes_max, &q->dest, "max-length-bytes");
    policy_text(q->dest.policies[0], q->dest.policies[1], "overflow", &overflow);
    if (table_find(q->args, "x-overflow", &field) &&
        !policy_text(NULL, q->dest.policies[1], "overflow", &overflow))
        field_string(&field, &overflow);
    bool limited = limit.messages_max < UINT64_MAX || limit.bytes_max < UINT64_MAX;
    limit.overflow = !limited                                        ? LIMIT_NONE
                     : slice_starts_with(overflow, "reject-publish") ? LIMIT_REJECT
                                                                     : LIMIT_DROP_HEAD;
    q->limit = limit;
    queue_refresh(q);
}

void govern_apply(struct vhost *v, struct dest *dest)
{
    if (dest->kind == DEST_EXCHANGE)
        apply_exchange(v, container_of(dest, struct exchange, dest));
    else
        apply_queue(queue_of_dest(dest));
}
