/* govern.c - what policies change in a queue or exchange.
 *
 * RabbitMQ's rules: of numbers the least of argument, policy and operator policy counts; of names the
 * argument counts before the policy. */
#include "broker/govern.h"

#include "broker/delayed.h"
#include "broker/vhost.h"
#include "protocol/table.h"
#include "queue/retry.h"

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
    bool delays = false;
    delayed_govern(x, policy_flag(x->dest.policies[0], "delayed-message", &delays) && delays);
    router_changed(&v->router);
}

/* The least of what is there and what the policies say. */
static void lower(uint64_t *value, const struct dest *dest, const char *key)
{
    int64_t number;
    if (policy_number(dest->policies[0], dest->policies[1], key, &number) && number >= 0 &&
        (uint64_t)number < *value)
        *value = (uint64_t)number;
}

/* The limit that a quorum queue has when nobody says one is none to lower: a policy may raise it, too. */
static void lower_delivery_limit(int64_t *limit, const struct queue *q)
{
    int64_t number;
    struct field field;
    if (!policy_number(q->dest.policies[0], q->dest.policies[1], "delivery-limit", &number))
        return;
    if (!table_find(q->args, "x-delivery-limit", &field) ||
        (number >= 0 && (*limit < 0 || number < *limit)))
        *limit = number;
}

/* Here the argument counts before the policy: 0 is no limit, and would be the least. */
static void choose_consumer_timeout(uint64_t *timeout_ms, const struct dest *dest)
{
    int64_t number;
    if (*timeout_ms == SETTINGS_NEVER &&
        policy_number(dest->policies[0], dest->policies[1], "consumer-timeout", &number))
        *timeout_ms = (uint64_t)number;
}

/* An operator's policy, then the argument, then a user's policy. */
static void choose_overflow(struct settings *settings, const struct queue *q)
{
    struct limit *limit = &settings->limit;
    struct slice overflow = SLICE("");
    struct field field;
    bool said = policy_text(NULL, q->dest.policies[1], "overflow", &overflow) ||
                (table_find(q->args, "x-overflow", &field) && field_string(&field, &overflow)) ||
                policy_text(q->dest.policies[0], NULL, "overflow", &overflow);
    settings->refuses = said && slice_is(overflow, "reject-publish");
    if (!limit_is_set(limit))
        limit->overflow = LIMIT_NONE;
    else if (said)
        limit->overflow = limit_overflow_of(overflow);
    else
        limit->overflow = LIMIT_DROP_HEAD;
}

/* Of where dead letters go the arguments count before the policy, one by one. */
static void choose_dead_letters(struct settings *settings, const struct policy *policy)
{
    struct slice strategy;
    if (!settings->dead_letters)
        settings->dead_letters =
            policy_text(policy, NULL, "dead-letter-exchange", &settings->dead_exchange);
    if (!settings->has_dead_key)
        settings->has_dead_key = policy_text(policy, NULL, "dead-letter-routing-key", &settings->dead_key);
    if (!settings->at_least_once && policy_text(policy, NULL, "dead-letter-strategy", &strategy))
        settings->at_least_once = slice_is(strategy, "at-least-once");
}

static void read_number(const struct policy *policy, const char *key, uint64_t *value)
{
    int64_t number;
    if (policy_number(policy, NULL, key, &number))
        *value = (uint64_t)number;
}

/* How a queue retries: the arguments count before the policy, one by one. */
static void choose_retry(struct retry *retry, const struct queue *q)
{
    const struct policy *policy = q->dest.policies[0];
    uint64_t factor = retry->factor, jitter = 0;
    policy_delays(policy, "retry-delays", retry->delays_ms, &retry->delay_count);
    read_number(policy, "retry-base", &retry->base_ms);
    read_number(policy, "retry-factor", &factor);
    read_number(policy, "retry-max", &retry->max_ms);
    read_number(policy, "retry-jitter", &jitter);
    policy_number(policy, NULL, "retry-limit", &retry->limit);
    retry->factor = (uint32_t)factor;
    retry->jitter_percent = (uint32_t)jitter;
    retry_apply_args(retry, q->args);
}

static void apply_queue(struct vhost *v, struct queue *q)
{
    struct retry retry = retry_none();
    struct settings settings = settings_of_args(q->args);
    lower(&settings.ttl_ms, &q->dest, "message-ttl");
    lower(&settings.expires_ms, &q->dest, "expires");
    lower(&settings.limit.messages_max, &q->dest, "max-length");
    lower(&settings.limit.bytes_max, &q->dest, "max-length-bytes");
    lower_delivery_limit(&settings.delivery_limit, q);
    choose_consumer_timeout(&settings.consumer_timeout_ms, &q->dest);
    choose_overflow(&settings, q);
    choose_dead_letters(&settings, q->dest.policies[0]);
    choose_retry(&retry, q);
    settings.retry = retry_is_set(&retry) ? &retry : NULL;
    vhost_configure_queue(v, q, &settings);
}

void govern_apply(struct vhost *v, struct dest *dest)
{
    if (dest->kind == DEST_EXCHANGE)
        apply_exchange(v, container_of(dest, struct exchange, dest));
    else
        apply_queue(v, queue_of_dest(dest));
}
