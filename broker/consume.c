/* consume.c - basic.qos, consume, cancel and get (semantics 1.5). */
#include "broker/arguments.h"
#include "broker/consume.h"
#include "broker/bounds.h"
#include "broker/deliver.h"
#include "broker/expire.h"
#include "broker/reply.h"
#include "broker/trace.h"
#include "protocol/table.h"
#include "queue/hold.h"
#include "queue/lane.h"
#include "queue/paging.h"

void consume_limit(struct channel *ch, uint32_t unacked_max)
{
    ch->unacked_max = unacked_max;
    while (!list_empty(&ch->parked)) /* they park again where the new limit says so */
        consumer_unpark(list_first(&ch->parked, struct consumer, place));
}

bool consume_qos(struct channel *ch, const struct method *m, struct fault *f)
{
    const struct amqp_basic_qos *qos = &m->basic_qos;
    if (qos->prefetch_size != 0)
        return fault(f, NOT_IMPLEMENTED, "prefetch_size!=0 (%u)", qos->prefetch_size);
    if (qos->global) {
        ch->global_prefetch = qos->prefetch_count;
        consume_limit(ch, qos->prefetch_count ? qos->prefetch_count : UINT32_MAX);
    } else {
        ch->prefetch = qos->prefetch_count;
    }
    channel_send(ch, &(struct method){.id = METHOD_basic_qos_ok});
    return true;
}

static bool check_exclusive(struct channel *ch, const struct queue *q, bool exclusive,
                            struct fault *f)
{
    if (q->consumers.exclusive || (exclusive && (q->consumers.count > 0 || q->consumers.rotation.single)))
        return fault(f, ACCESS_REFUSED, "queue '%.*s' in vhost '%.*s' in exclusive use",
                     SLICE_ARG(q->name), SLICE_ARG(ch->conn->vhost->name));
    return true;
}

static struct subscription *subscribe(struct channel *ch, const struct amqp_basic_consume *consume,
                                      int64_t priority, bool exclusive)
{
    struct subscription *sub = mem_zalloc(sizeof(*sub));
    char name[64];
    rand_name(&channel_server(ch)->rand, "amq.ctag-", name);
    sub->tag = slice_copy(consume->consumer_tag.len ? consume->consumer_tag : slice_of_string(name));
    if (consume->arguments.len)
        sub->args = slice_copy(consume->arguments);
    sub->channel = ch;
    sub->consumer.no_ack = consume->no_ack;
    sub->consumer.exclusive = exclusive;
    sub->consumer.priority = priority;
    sub->consumer.prefetch = consume->no_ack ? 0 : ch->prefetch;
    map_put(&ch->subscriptions, sub->tag, sub);
    bounds_add(channel_server(ch), bounds_of_consumer(sub->tag, sub->args));
    return sub;
}

/* Milliseconds that a consumer may take to settle a message: its own argument, the queue's, the server's. */
static uint64_t timeout_of(const struct channel *ch, const struct queue *q, struct slice args)
{
    struct field field;
    int64_t own;
    if (table_find(args, "x-consumer-timeout", &field) && field_integer(&field, &own))
        return (uint64_t)own;
    if (q->settings.consumer_timeout_ms != SETTINGS_NEVER)
        return q->settings.consumer_timeout_ms;
    return channel_server(ch)->config->queues.consumer_timeout_ms;
}

void consume_retime(struct queue *q)
{
    list_each(node, &q->consumers.all) {
        struct subscription *sub =
            container_of(container_of(node, struct consumer, of_queue), struct subscription, consumer);
        if (!sub->consumer.no_ack)
            patience_begin(sub->channel, &sub->patience, timeout_of(sub->channel, q, sub->args));
    }
}

bool consume_start(struct channel *ch, const struct method *m, struct fault *f)
{
    const struct amqp_basic_consume *consume = &m->basic_consume;
    const struct config *config = channel_server(ch)->config;
    struct slice name;
    struct queue *q;
    if (reply_is_queue(consume->queue))
        return reply_consume(ch, consume, f);
    if (consume->consumer_tag.len && (map_get(&ch->subscriptions, consume->consumer_tag) ||
                                      reply_has_tag(ch, consume->consumer_tag)))
        return fault(f, NOT_ALLOWED, "attempt to reuse consumer tag '%.*s'",
                     SLICE_ARG(consume->consumer_tag));
    if (ch->subscriptions.size >= config->queues.consumers_max)
        return fault(f, NOT_ALLOWED, "reached maximum (%llu) of consumers per channel",
                     (unsigned long long)config->queues.consumers_max);
    if (!channel_queue_name(ch, consume->queue, &name, f) ||
        !channel_permits(ch, ACCESS_READ, name, "queue", f) || !channel_find_queue(ch, name, &q, f))
        return false;
    /* A quorum queue ignores the flag, unless its consumers take turns anyway. */
    bool exclusive = consume->exclusive && (q->kind.type != KIND_QUORUM || q->kind.single_active);
    struct resource what = {"queue", name, ch->conn->vhost->name};
    int64_t priority;
    if (!bounds_permit(channel_server(ch), "consumer", f) ||
        !arguments_check_consumer(consume->arguments, &what, &priority, f) ||
        !check_exclusive(ch, q, exclusive, f))
        return false;
    struct subscription *sub = subscribe(ch, consume, priority, exclusive);
    patience_begin(ch, &sub->patience, consume->no_ack ? 0 : timeout_of(ch, q, consume->arguments));
    if (!consume->no_wait) {
        struct method ok = {.id = METHOD_basic_consume_ok};
        ok.basic_consume_ok.consumer_tag = sub->tag;
        channel_send(ch, &ok);
    }
    consumer_enter(&sub->consumer, q);
    event_consumer(&sub->consumer, "consumer.created");
    return true;
}

/* Frees the subscription when nothing that it was handed is unacked any more. */
static void release_subscription(struct subscription *sub)
{
    if (sub->consumer.state != CONSUMER_GONE || sub->consumer.unacked > 0)
        return;
    slice_free(&sub->tag);
    slice_free(&sub->args);
    mem_free(sub);
}

static void drop_subscription(struct subscription *sub)
{
    event_consumer(&sub->consumer, "consumer.deleted");
    map_remove(&sub->channel->subscriptions, sub->tag);
    walk_leave(&channel_server(sub->channel)->control.walks, &sub->consumer.of_queue);
    bounds_remove(channel_server(sub->channel), bounds_of_consumer(sub->tag, sub->args));
    consumer_exit(&sub->consumer);
    sub->channel = NULL;
    release_subscription(sub);
}

void consume_stop(struct subscription *sub)
{
    struct vhost *v = sub->channel->conn->vhost;
    struct queue *q = sub->consumer.queue;
    drop_subscription(sub);
    vhost_consumer_gone(v, q);
}

void consume_queue_deleted(struct consumer *c)
{
    struct subscription *sub = container_of(c, struct subscription, consumer);
    struct channel *ch = sub->channel;
    if (ch->conn->capabilities.consumer_cancel_notify) {
        struct method cancel = {.id = METHOD_basic_cancel};
        cancel.basic_cancel.consumer_tag = sub->tag;
        cancel.basic_cancel.no_wait = true;
        channel_send(ch, &cancel);
    }
    drop_subscription(sub);
}

/* One walk over all; what moves to another slot meanwhile may be missed. True when it stopped something. */
static bool revoke_some(struct channel *ch)
{
    struct vhost *v = ch->conn->vhost;
    bool stopped = false;
    for (size_t i = ch->subscriptions.capacity; i-- > 0;) {
        struct subscription *sub = ch->subscriptions.slots[i].value;
        struct queue *q = sub ? sub->consumer.queue : NULL;
        struct fault f;
        if (!q || channel_permits(ch, ACCESS_READ, q->name, "queue", &f))
            continue;
        consume_queue_deleted(&sub->consumer);
        vhost_consumer_gone(v, q);
        stopped = true;
    }
    return stopped;
}

void consume_revoke(struct channel *ch)
{
    while (revoke_some(ch))
        ;
}

bool consume_cancel(struct channel *ch, const struct method *m, struct fault *f)
{
    (void)f;
    struct slice tag = m->basic_cancel.consumer_tag;
    struct subscription *sub = map_get(&ch->subscriptions, tag);
    if (sub)
        consume_stop(sub);
    else if (reply_has_tag(ch, tag))
        reply_end(ch);
    if (!m->basic_cancel.no_wait) {
        struct method ok = {.id = METHOD_basic_cancel_ok};
        ok.basic_cancel_ok.consumer_tag = tag;
        channel_send(ch, &ok);
    }
    return true;
}

void consume_credit(struct channel *ch, struct consumer *c)
{
    if (!c)
        return;
    assert(ch->consumer_unacked > 0);
    ch->consumer_unacked--;
    consumer_settled(c);
    release_subscription(container_of(c, struct subscription, consumer));
    consume_grant(ch);
}

/* One consumer a free slot, so that an ack costs the same however many wait. Whether it takes the
 * slot is known only when its queue was served: what is left over then is offered to the next, by
 * deliver_ready. */
void consume_grant(struct channel *ch)
{
    uint32_t used = ch->consumer_unacked;
    while (!list_empty(&ch->parked) && used < ch->unacked_max) {
        struct consumer *c = list_first(&ch->parked, struct consumer, place);
        consumer_unpark(c);
        used += queue_ready(c->queue) > 0;
    }
    if (!list_empty(&ch->parked) && !list_linked(&ch->slack))
        list_push_back(&channel_server(ch)->slack, &ch->slack);
}

/* Answers with the message; what does not fit the peer's frames goes back unseen. */
static bool send_got(struct channel *ch, struct queue *q, struct entry *entry, bool no_ack,
                     struct fault *f)
{
    struct method ok = {.id = METHOD_basic_get_ok};
    ok.basic_get_ok.delivery_tag = ch->delivery_tag + 1;
    ok.basic_get_ok.redelivered = entry->redelivered;
    ok.basic_get_ok.exchange = message_exchange(entry->message);
    ok.basic_get_ok.routing_key = message_key(entry->message);
    ok.basic_get_ok.message_count = (uint32_t)queue_ready(q);
    if (deliver_content(ch, &ok, entry->message, deliver_props(channel_server(ch), q, entry))) {
        if (ch->conn->vhost->traced)
            trace_deliver(ch, q, entry);
        ch->delivery_tag++;
        if (no_ack) {
            queue_settle(q, entry, false);
        } else {
            flow_hand_out(&ch->conn->flow, entry->message);
            unacked_put(&ch->unacked, ch->delivery_tag, &(struct unacked_item){*entry, q, NULL});
        }
        return true;
    }
    uint32_t size = entry->message->props_size;
    if (no_ack)
        q->unacked++; /* it goes back as if it had been handed out to be acked */
    queue_requeue(q, entry, false);
    return fault(f, CONTENT_TOO_LARGE,
                 "the message's %u bytes of properties do not fit the negotiated frame_max = %u", size,
                 ch->conn->frame_max);
}

/* The next message is on disk, and is asked for, or on its way back to the queue: the connection waits. */
static void await_next(struct channel *ch, struct queue *q, bool no_ack)
{
    struct pending_get *get = &ch->conn->get;
    get->queue = q;
    get->channel = ch->number;
    get->no_ack = no_ack;
    list_push_back(&channel_server(ch)->getting, &get->link);
    q->leaving.gets++;
    if (!hold_is_on(q))
        paging_await(lane_awaited(q));
    flow_pause(ch->conn, FLOW_GET);
}

static bool answer_get(struct channel *ch, struct queue *q, bool no_ack, struct fault *f)
{
    struct entry entry;
    expiry_before_get(q);
    if (queue_get(q, no_ack, &entry)) {
        uint64_t batch = no_ack ? 0 : queue_delivery_batch(q, &entry);
        if (batch)
            connection_bar(ch->conn, batch);
        return send_got(ch, q, &entry, no_ack, f);
    }
    if (hold_is_on(q) || lane_awaited(q))
        await_next(ch, q, no_ack);
    else
        channel_send(ch, &(struct method){.id = METHOD_basic_get_empty});
    return true;
}

bool consume_get(struct channel *ch, const struct method *m, struct fault *f)
{
    struct slice name;
    struct queue *q;
    if (!channel_queue_name(ch, m->basic_get.queue, &name, f) ||
        !channel_permits(ch, ACCESS_READ, name, "queue", f) || !channel_find_queue(ch, name, &q, f))
        return false;
    if (q->kind.type == KIND_QUORUM && q->kind.single_active)
        return fault(f, RESOURCE_LOCKED,
                     "cannot obtain access to locked queue '%.*s' in vhost '%.*s'. basic.get operations are "
                     "not supported by quorum queues with single active consumer",
                     SLICE_ARG(name), SLICE_ARG(ch->conn->vhost->name));
    if (!m->basic_get.no_ack && flow_is_full(ch->conn))
        return fault(f, PRECONDITION_FAILED,
                     "this connection has %llu bytes of unacknowledged messages, the maximum is %llu",
                     (unsigned long long)ch->conn->flow.unacked,
                     (unsigned long long)channel_server(ch)->config->connection_unacked_max);
    expire_used(channel_server(ch), q);
    return answer_get(ch, q, m->basic_get.no_ack, f);
}

void consume_forget_get(struct connection *conn)
{
    if (!list_linked(&conn->get.link))
        return;
    list_remove(&conn->get.link);
    assert(conn->get.queue->leaving.gets > 0);
    conn->get.queue->leaving.gets--;
}

/* Answers it, or lets it wait on. The answer may end a channel, with it a queue, and with that other gets. */
static void resume_get(struct connection *conn)
{
    struct fault f;
    struct channel *ch = connection_channel(conn, conn->get.channel);
    consume_forget_get(conn);
    fault_init(&f);
    f.class_id = METHOD_basic_get >> 16, f.method_id = (uint16_t)METHOD_basic_get;
    if (ch && ch->state == CHANNEL_OPEN && !answer_get(ch, conn->get.queue, conn->get.no_ack, &f))
        channel_fail(ch, &f);
    if (!list_linked(&conn->get.link))
        flow_resume(conn, FLOW_GET);
}

/* Each once: those that wait on go to the end. All are in server.getting meanwhile, where one is looked for
 * whose queue is deleted. */
void consume_resume_gets(struct server *s)
{
    size_t count = 0;
    list_each(node, &s->getting)
        count++;
    for (; count > 0 && !list_empty(&s->getting); count--)
        resume_get(list_first(&s->getting, struct connection, get.link));
}

void consume_empty_gets(struct server *s, const struct queue *q)
{
    if (q->leaving.gets == 0) /* as a rule: then the gets of others are not looked through */
        return;
    list_each_safe(node, &s->getting) {
        struct connection *conn = container_of(node, struct connection, get.link);
        struct channel *ch = connection_channel(conn, conn->get.channel);
        if (conn->get.queue != q)
            continue;
        consume_forget_get(conn);
        if (ch && ch->state == CHANNEL_OPEN)
            channel_send(ch, &(struct method){.id = METHOD_basic_get_empty});
        flow_resume(conn, FLOW_GET);
    }
}
