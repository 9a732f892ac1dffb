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

/* What happens at a limit: the argument counts before the policy, the operator's before both. */
static enum limit_overflow choose_overflow(const struct queue *q)
{
    struct field field;
    struct slice overflow = SLICE("");
    policy_text(q->dest.policies[0], q->dest.policies[1], "overflow", &overflow);
    if (table_find(q->args, "x-overflow", &field) &&
        !policy_text(NULL, q->dest.policies[1], "overflow", &overflow))
        field_string(&field, &overflow);
    if (slice_is(overflow, "reject-publish-dlx"))
        return LIMIT_REJECT_DEAD_LETTER;
    return slice_is(overflow, "reject-publish") ? LIMIT_REJECT : LIMIT_DROP_HEAD;
}

/* An exchange of the arguments comes with the key of the arguments, or none. */
static void choose_dead_letters(const struct queue *q, struct settings *settings)
{
    const struct policy *policy = q->dest.policies[0];
    struct slice strategy;
    if (!settings->dead_letters)
        settings->dead_letters = policy_text(policy, NULL, "dead-letter-exchange", &settings->dead_exchange);
    if (!settings->has_dead_key)
        settings->has_dead_key = policy_text(policy, NULL, "dead-letter-routing-key", &settings->dead_key);
    if (policy_text(policy, NULL, "dead-letter-strategy", &strategy))
        settings->at_least_once |= slice_is(strategy, "at-least-once");
}

static void apply_queue(struct vhost *v, struct queue *q)
{
    struct settings settings = settings_of_args(q->args);
    struct limit *limit = &settings.limit;
    enum limit_overflow overflow = choose_overflow(q);
    settings.ttl_ms = least(settings.ttl_ms, &q->dest, "message-ttl");
    settings.expires_ms = least(settings.expires_ms, &q->dest, "expires");
    limit->messages_max = least(limit->messages_max, &q->dest, "max-length");
    limit->bytes_max = least(limit->bytes_max, &q->dest, "max-length-bytes");
    limit->overflow = limit_is_set(limit) ? overflow : LIMIT_NONE;
    choose_dead_letters(q, &settings);
    vhost_configure_queue(v, q, &settings);
}

void govern_apply(struct vhost *v, struct dest *dest)
{
    if (dest->kind == DEST_EXCHANGE)
        apply_exchange(v, container_of(dest, struct exchange, dest));
    else
        apply_queue(v, queue_of_dest(dest));
}
