/* actor_ops.c - a user of the simulated broker: what it does. */
#include <stdio.h>

#include "protocol/props.h"
#include "protocol/table.h"
#include "tests/sim/actor.h"

enum { PUBLISH_BURST = 12, FLOOD = 5000, DEAF_TURNS = 200 };

static uint64_t pick(const struct actor_channel *ch, uint64_t bound)
{
    return world_pick(ch->actor->world, bound);
}

static bool chance(const struct actor_channel *ch, uint64_t bound)
{
    return world_chance(ch->actor->world, bound);
}

#define SAY(ch, format, ...)                                                                       \
    trace_line(&(ch)->actor->world->trace, "client %u.%u: " format, (ch)->actor->index,            \
               (ch)->number, __VA_ARGS__)

static struct slice queue_name(const struct actor_channel *ch, int queue)
{
    return slice_of_string(ch->actor->model->queues[queue].name);
}

static struct slice exchange_name(const struct actor_channel *ch, int exchange)
{
    return slice_of_string(ch->actor->model->exchanges[exchange].name);
}

/* One that is probably there and not another's; now and then any. */
static int pick_queue(const struct actor_channel *ch)
{
    const struct model *model = ch->actor->model;
    int q = (int)pick(ch, MODEL_QUEUES);
    for (int tries = 0; tries < 6 && !chance(ch, 30); tries++) {
        const struct model_queue *queue = &model->queues[q];
        if (queue->exclusive ? ch->actor->exclusives[q] : queue->entity.known != ABSENT)
            break;
        q = (int)pick(ch, MODEL_QUEUES);
    }
    return q;
}

static int pick_exchange(const struct actor_channel *ch)
{
    int x = 1 + (int)pick(ch, MODEL_EXCHANGES - 1);
    for (int tries = 0; tries < 6 && !chance(ch, 30); tries++) {
        if (ch->actor->model->exchanges[x].entity.known != ABSENT)
            break;
        x = 1 + (int)pick(ch, MODEL_EXCHANGES - 1);
    }
    return x;
}

/* The request fails only if the queue was not there all the time. */
static void needs_queue(struct actor_channel *ch, struct pending *p, int queue)
{
    const struct entity *entity = &ch->actor->model->queues[queue].entity;
    p->queue = queue;
    p->op = (struct model_op){.kind = OP_QUEUE, .add = true, .a = (uint8_t)queue};
    p->op.clean = entity->known == PRESENT;
    p->op.snapshot = entity->removed;
}

static void changes(struct actor_channel *ch, struct pending *p, struct model_op op)
{
    p->has_op = true;
    p->op = op;
    model_begin(ch->actor->model, &p->op);
}

/* --- topology --- */

/* Two of the queues have deadlines that never come, and dead-letter what is rejected: one to nowhere, one to
 * a queue that nobody but the judge looks at. */
static void put_arguments(int q, struct buf *args)
{
    if (q == MODEL_QUORUM)
        table_put_int(args, "x-delivery-limit", 1000000);
    if (q == MODEL_MORTAL || q == MODEL_HAUNTED)
        table_put_int(args, "x-message-ttl", 300000000000);
    if (q == MODEL_MORTAL)
        table_put_string(args, "x-dead-letter-exchange", SLICE("nowhere"));
    if (q == MODEL_HAUNTED) {
        table_put_string(args, "x-dead-letter-exchange", SLICE(""));
        table_put_string(args, "x-dead-letter-routing-key", SLICE(MODEL_TOMB));
    }
}

static void declare_queue(struct actor_channel *ch)
{
    struct method m = {.id = METHOD_queue_declare};
    struct buf args = {0};
    int q = (int)pick(ch, MODEL_QUEUES);
    for (; ch->actor->model->queues[q].exclusive && chance(ch, 2); q = (int)pick(ch, MODEL_QUEUES))
        ;
    const struct model_queue *queue = &ch->actor->model->queues[q];
    m.queue_declare.queue = queue_name(ch, q);
    m.queue_declare.durable = queue->entity.durable;
    m.queue_declare.auto_delete = queue->auto_delete;
    m.queue_declare.exclusive = queue->exclusive;
    if (queue->quorum)
        table_put_string(&args, queue->limit, SLICE("quorum"));
    else if (queue->limit && strcmp(queue->limit, "x-single-active-consumer") == 0)
        table_put_bool(&args, queue->limit, true);
    else if (queue->limit)
        table_put_int(&args, queue->limit, queue->limit_value);
    put_arguments(q, &args);
    m.queue_declare.arguments = buf_slice(&args);
    SAY(ch, "declare %s", queue->name);
    struct pending *p = actor_expect(ch, METHOD_queue_declare, METHOD_queue_declare_ok);
    p->queue = q;
    changes(ch, p, (struct model_op){.kind = OP_QUEUE, .add = true, .a = (uint8_t)q});
    actor_send(ch, &m);
    buf_free(&args);
}

static void delete_queue_of(struct actor_channel *ch, int q, bool always)
{
    struct method m = {.id = METHOD_queue_delete};
    m.queue_delete.queue = queue_name(ch, q);
    m.queue_delete.if_unused = !always && chance(ch, 4);
    m.queue_delete.if_empty = !always && chance(ch, 4);
    SAY(ch, "delete %s%s%s", ch->actor->model->queues[q].name,
        m.queue_delete.if_unused ? " if unused" : "", m.queue_delete.if_empty ? " if empty" : "");
    struct pending *p = actor_expect(ch, METHOD_queue_delete, METHOD_queue_delete_ok);
    changes(ch, p, (struct model_op){.kind = OP_QUEUE, .a = (uint8_t)q});
    actor_send(ch, &m);
}

static void delete_queue(struct actor_channel *ch)
{
    int q = pick_queue(ch);
    if (q != MODEL_ONCE)
        delete_queue_of(ch, q, false);
}

static void purge_queue(struct actor_channel *ch)
{
    struct method m = {.id = METHOD_queue_purge};
    int q = pick_queue(ch);
    m.queue_purge.queue = queue_name(ch, q);
    SAY(ch, "purge %s", ch->actor->model->queues[q].name);
    needs_queue(ch, actor_expect(ch, METHOD_queue_purge, METHOD_queue_purge_ok), q);
    model_purge(ch->actor->model, q, true);
    actor_send(ch, &m);
}

static void declare_exchange(struct actor_channel *ch)
{
    struct method m = {.id = METHOD_exchange_declare};
    int x = 1 + (int)pick(ch, MODEL_EXCHANGES - 1);
    const struct model_exchange *exchange = &ch->actor->model->exchanges[x];
    m.exchange_declare.exchange = exchange_name(ch, x);
    m.exchange_declare.type = slice_of_string(exchange->type);
    m.exchange_declare.durable = exchange->entity.durable;
    m.exchange_declare.auto_delete = exchange->auto_delete;
    SAY(ch, "declare %s", exchange->name);
    struct pending *p = actor_expect(ch, METHOD_exchange_declare, METHOD_exchange_declare_ok);
    changes(ch, p, (struct model_op){.kind = OP_EXCHANGE, .add = true, .a = (uint8_t)x});
    actor_send(ch, &m);
}

static void delete_exchange(struct actor_channel *ch)
{
    struct method m = {.id = METHOD_exchange_delete};
    int x = 1 + (int)pick(ch, MODEL_EXCHANGES - 1);
    m.exchange_delete.exchange = exchange_name(ch, x);
    m.exchange_delete.if_unused = chance(ch, 4);
    SAY(ch, "delete %s", ch->actor->model->exchanges[x].name);
    struct pending *p = actor_expect(ch, METHOD_exchange_delete, METHOD_exchange_delete_ok);
    changes(ch, p, (struct model_op){.kind = OP_EXCHANGE, .a = (uint8_t)x});
    actor_send(ch, &m);
}

/* bind or unbind, of a queue or an exchange. */
static void bind(struct actor_channel *ch, bool add)
{
    struct model *model = ch->actor->model;
    int source = pick_exchange(ch);
    int dest =
        chance(ch, 4) ? MODEL_QUEUES + 1 + (int)pick(ch, MODEL_EXCHANGES - 2) : pick_queue(ch);
    int key = (int)pick(ch, MODEL_KEYS);
    bool to_queue = dest < MODEL_QUEUES;
    struct buf args = {0};
    struct method m = {0};
    model_binding_args(model, source, key, &args);
    struct slice to = to_queue ? queue_name(ch, dest) : exchange_name(ch, dest - MODEL_QUEUES);
    struct slice from = exchange_name(ch, source), with = slice_of_string(model_binding_key(key));
    SAY(ch, "%s %.*s to %.*s by %.*s", add ? "bind" : "unbind", SLICE_ARG(to), SLICE_ARG(from),
        SLICE_ARG(with));
    if (to_queue && add) {
        m.id = METHOD_queue_bind;
        m.queue_bind = (struct amqp_queue_bind){0, to, from, with, false, buf_slice(&args)};
    } else if (to_queue) {
        m.id = METHOD_queue_unbind;
        m.queue_unbind = (struct amqp_queue_unbind){0, to, from, with, buf_slice(&args)};
    } else if (add) {
        m.id = METHOD_exchange_bind;
        m.exchange_bind = (struct amqp_exchange_bind){0, to, from, with, false, buf_slice(&args)};
    } else {
        m.id = METHOD_exchange_unbind;
        m.exchange_unbind =
            (struct amqp_exchange_unbind){0, to, from, with, false, buf_slice(&args)};
    }
    uint32_t ok = m.id == METHOD_exchange_unbind ? (uint32_t)METHOD_exchange_unbind_ok : m.id + 1;
    struct model_op op = {.kind = OP_BINDING,
                          .add = add,
                          .a = (uint8_t)source,
                          .b = (uint8_t)dest,
                          .key = (uint8_t)key};
    changes(ch, actor_expect(ch, m.id, ok), op);
    actor_send(ch, &m);
    buf_free(&args);
}

/* --- publishing --- */

static const char *const routes[MODEL_ROUTES] = {"k.0", "k.1", "j.0.1"};

static uint32_t pick_size(const struct actor_channel *ch)
{
    if (chance(ch, 40))
        return 8 + (uint32_t)pick(ch, chance(ch, 3) ? 120000 : 40000); /* more than STREAM_PLACE_MIN, too */
    return 8 + (uint32_t)pick(ch, chance(ch, 8) ? 3000 : 200);
}

static uint32_t invent(struct actor_channel *ch)
{
    struct model *model = ch->actor->model;
    uint32_t id = model_new_message(model);
    struct model_message *msg = &model->messages[id];
    msg->publisher = ch->publisher;
    msg->size = pick_size(ch);
    msg->exchange = chance(ch, 2) ? 0 : (uint8_t)pick_exchange(ch);
    msg->route = (uint8_t)pick(ch, MODEL_ROUTES);
    msg->queue = (uint8_t)pick_queue(ch);
    msg->persistent = !chance(ch, 3);
    msg->mandatory = chance(ch, 4);
    msg->priority = chance(ch, 2) ? 0 : (uint8_t)pick(ch, chance(ch, 2) ? 5 : 256);
    return id;
}

static void send_message(struct actor_channel *ch, uint32_t id, bool again)
{
    struct model *model = ch->actor->model;
    struct model_message *msg = &model->messages[id];
    int exchange = again ? 0 : msg->exchange, queue = again ? MODEL_ONCE : msg->queue;
    SAY(ch, "publish message %u of %u bytes to '%s' as %s%s%s", id, msg->size,
        model->exchanges[exchange].name, exchange ? routes[msg->route] : model->queues[queue].name,
        msg->persistent ? "" : ", transient", again ? ", again" : "");
    char name[32];
    struct buf headers = {0}, bytes = {0}, body = {0};
    table_put_int(&headers, "h", msg->route);
    struct props props = {.flags = PROP_headers | PROP_delivery_mode | PROP_message_id};
    snprintf(name, sizeof(name), "message %u", id);
    props.message_id = slice_of_string(name);
    props.delivery_mode = msg->persistent ? 2 : 1;
    props.priority = msg->priority;
    if (msg->priority)
        props.flags |= PROP_priority;
    props.headers = buf_slice(&headers);
    props_encode(&bytes, &props);
    model_body(id, msg->size, &body);
    struct method m = {.id = METHOD_basic_publish};
    m.basic_publish.exchange = exchange_name(ch, exchange);
    m.basic_publish.routing_key = exchange ? slice_of_string(routes[msg->route]) : queue_name(ch, queue);
    m.basic_publish.mandatory = msg->mandatory && !again;
    if (ch->mode != MODE_TX && !again)
        model_fly(model, id);
    ch->published++;
    id_ring_push_back(&ch->sent, again ? id | ACTOR_REPEATED : id);
    client_publish(&ch->actor->client, ch->number, &m,
                   &(struct content){buf_slice(&bytes), buf_slice(&body)});
    buf_free(&headers);
    buf_free(&bytes);
    buf_free(&body);
}

static void publish(struct actor_channel *ch, uint32_t id)
{
    send_message(ch, id, false);
}

/* As a publisher does that did not hear of a confirm. */
static void repeat(struct actor_channel *ch)
{
    const struct model *model = ch->actor->model;
    for (int tries = 0; ch->mode != MODE_TX && tries < 40 && model->message_count > 1; tries++) {
        uint32_t id = 1 + (uint32_t)pick(ch, model->message_count - 1);
        if (model_may_repeat(model, id)) {
            send_message(ch, id, true);
            return;
        }
    }
}

static void publish_some(struct actor_channel *ch)
{
    for (uint64_t i = 1 + pick(ch, PUBLISH_BURST); i > 0; i--)
        publish(ch, invent(ch));
}

static void finish_tx(struct actor_channel *ch)
{
    static uint32_t const methods[] = {METHOD_tx_commit, METHOD_tx_rollback};
    struct model *model = ch->actor->model;
    bool commit = !chance(ch, 4);
    uint32_t group = (uint32_t)model->stamp + 1;
    SAY(ch, "%s of %zu messages", commit ? "commit" : "rollback", ch->sent.size);
    for (size_t i = 0; commit && i < ch->sent.size; i++) {
        uint32_t id = *id_ring_at(&ch->sent, i);
        model->messages[id].group = group;
        model_fly(model, id);
    }
    for (size_t i = 0; commit && i < ch->held_count; i++)
        if (ch->held[i].state == HELD_TX_SETTLE)
            model_settling(model, ch->held[i].queue, ch->held[i].id);
    ch->committing = true;
    actor_expect(ch, methods[!commit], methods[!commit] + 1);
    actor_send(ch, &(struct method){.id = methods[!commit]});
}

/* --- consuming --- */

static bool is_awaited(const struct actor_channel *ch, int consumer)
{
    for (unsigned i = 0; i < ch->pending_count; i++)
        if (ch->pending[i].consumer == consumer)
            return true;
    return false;
}

static void consume_from(struct actor_channel *ch, int q)
{
    struct model *model = ch->actor->model;
    int i = 0;
    while (i < ACTOR_CONSUMERS && (ch->subscribers[i].active || is_awaited(ch, i)))
        i++;
    if (i == ACTOR_CONSUMERS)
        return;
    struct subscriber *sub = &ch->subscribers[i];
    *sub = (struct subscriber){.active = true, .queue = q, .serial = (uint32_t)++model->stamp};
    sub->no_ack = model->queues[q].leaky && chance(ch, 2);
    sub->prefetch = sub->no_ack ? 0 : ch->prefetch;
    struct method m = {.id = METHOD_basic_consume};
    char tag[32];
    snprintf(tag, sizeof(tag), "c-%u", sub->serial);
    m.basic_consume.queue = queue_name(ch, q);
    m.basic_consume.consumer_tag = slice_of_string(tag);
    m.basic_consume.no_ack = sub->no_ack;
    m.basic_consume.exclusive = chance(ch, 10);
    struct buf args = {0};
    if (chance(ch, 3))
        table_put_int(&args, "x-priority", (int64_t)pick(ch, 5) - 2);
    m.basic_consume.arguments = buf_slice(&args);
    SAY(ch, "consume %s as %s%s, prefetch %u", model->queues[q].name, tag,
        sub->no_ack ? " without acks" : "", sub->prefetch);
    struct pending *p = actor_expect(ch, METHOD_basic_consume, METHOD_basic_consume_ok);
    needs_queue(ch, p, q);
    p->consumer = i;
    if (sub->no_ack)
        model_leak(model, q, true);
    if (model->queues[q].auto_delete) {
        sub->removal = (struct model_op){.kind = OP_QUEUE, .a = (uint8_t)q};
        model_begin(model, &sub->removal);
    }
    actor_send(ch, &m);
    buf_free(&args);
}

static void consume(struct actor_channel *ch)
{
    consume_from(ch, pick_queue(ch));
}

/* So much to a queue with a slow consumer that its publisher is slowed down; and then perhaps the
 * queue goes. */
static void flood(struct actor_channel *ch)
{
    int q = pick_queue(ch);
    if (ch->mode == MODE_TX || ch->actor->model->floods == 0)
        return;
    ch->actor->model->floods--;
    ch->prefetch = 1;
    struct method m = {.id = METHOD_basic_qos, .basic_qos.prefetch_count = 1};
    actor_expect(ch, METHOD_basic_qos, METHOD_basic_qos_ok);
    actor_send(ch, &m);
    consume_from(ch, q);
    for (int i = 0; i < FLOOD; i++) {
        uint32_t id = invent(ch);
        struct model_message *msg = &ch->actor->model->messages[id];
        msg->exchange = 0, msg->queue = (uint8_t)q, msg->size = 8, msg->mandatory = false;
        publish(ch, id);
    }
    if (chance(ch, 2) && q != MODEL_ONCE)
        delete_queue_of(ch, q, true);
}

static void cancel(struct actor_channel *ch)
{
    int i = (int)pick(ch, ACTOR_CONSUMERS);
    if (!ch->subscribers[i].active || is_awaited(ch, i))
        return;
    struct method m = {.id = METHOD_basic_cancel};
    char tag[32];
    snprintf(tag, sizeof(tag), "c-%u", ch->subscribers[i].serial);
    m.basic_cancel.consumer_tag = slice_of_string(tag);
    SAY(ch, "cancel %s", tag);
    actor_expect(ch, METHOD_basic_cancel, METHOD_basic_cancel_ok)->consumer = i;
    actor_send(ch, &m);
}

static void get(struct actor_channel *ch)
{
    struct model *model = ch->actor->model;
    struct method m = {.id = METHOD_basic_get};
    int q = pick_queue(ch);
    m.basic_get.queue = queue_name(ch, q);
    m.basic_get.no_ack = model->queues[q].leaky && chance(ch, 2);
    SAY(ch, "get from %s%s", model->queues[q].name, m.basic_get.no_ack ? " without ack" : "");
    struct pending *p = actor_expect(ch, METHOD_basic_get, METHOD_basic_get_ok);
    needs_queue(ch, p, q);
    p->no_ack = m.basic_get.no_ack;
    if (p->no_ack)
        model_leak(model, q, true);
    actor_send(ch, &m);
}

static void qos(struct actor_channel *ch)
{
    struct method m = {.id = METHOD_basic_qos};
    m.basic_qos.prefetch_count = (uint16_t)pick(ch, chance(ch, 2) ? 4 : 40);
    m.basic_qos.global = chance(ch, 3);
    if (!m.basic_qos.global)
        ch->prefetch = m.basic_qos.prefetch_count;
    SAY(ch, "prefetch %u%s", m.basic_qos.prefetch_count,
        m.basic_qos.global ? " of the channel" : "");
    actor_expect(ch, METHOD_basic_qos, METHOD_basic_qos_ok);
    actor_send(ch, &m);
}

static void recover(struct actor_channel *ch)
{
    if (ch->mode == MODE_TX || ch->recovering)
        return;
    SAY(ch, "recover %zu", ch->held_count);
    for (size_t i = ch->held_count; i-- > 0;)
        if (ch->held[i].state == HELD)
            ch->held[i] = ch->held[--ch->held_count];
    ch->recovering = true;
    struct method m = {.id = METHOD_basic_recover};
    m.basic_recover.requeue = true;
    actor_expect(ch, METHOD_basic_recover, METHOD_basic_recover_ok);
    actor_send(ch, &m);
}

/* --- settling --- */

static bool settle_one(struct actor_channel *ch, size_t i, bool requeue, bool reject)
{
    struct held *held = &ch->held[i];
    if (ch->mode == MODE_TX) {
        held->rejected = reject;
        held->state = requeue ? HELD_TX_REQUEUE : HELD_TX_SETTLE;
    } else if (requeue) {
        *held = ch->held[--ch->held_count];
    } else {
        model_settling(ch->actor->model, held->queue, held->id);
        held->rejected = reject;
        held->state = HELD_SETTLING;
        held->offset = ch->actor->client.encoded;
    }
    return true;
}

static void settle(struct actor_channel *ch)
{
    size_t chosen = ch->held_count ? (size_t)pick(ch, ch->held_count) : 0;
    if (ch->held_count == 0 || ch->held[chosen].state != HELD || ch->recovering)
        return;
    uint64_t tag = ch->held[chosen].tag;
    bool multiple = chance(ch, 3), ack = !chance(ch, 3),
         reject = !ack && !multiple && chance(ch, 2);
    bool requeue = !ack && chance(ch, 2);
    struct method m = {.id = ack      ? METHOD_basic_ack
                             : reject ? METHOD_basic_reject
                                      : METHOD_basic_nack};
    if (ack)
        m.basic_ack = (struct amqp_basic_ack){tag, multiple};
    else if (reject)
        m.basic_reject = (struct amqp_basic_reject){tag, requeue};
    else
        m.basic_nack = (struct amqp_basic_nack){tag, multiple, requeue};
    SAY(ch, "%s %llu%s%s", method_name(m.id), (unsigned long long)tag,
        multiple ? " and before" : "", requeue ? ", back to the queue" : "");
    actor_send(ch, &m);
    for (size_t i = ch->held_count; i-- > 0;)
        if (ch->held[i].state == HELD &&
            (ch->held[i].tag == tag || (multiple && ch->held[i].tag < tag)))
            settle_one(ch, i, requeue, !ack);
}

/* --- channels, connections, mistakes --- */

static void open_channel(struct actor_channel *ch)
{
    SAY(ch, "%s", "open");
    ch->state = CHANNEL_UP;
    ch->publisher = (uint32_t)++ch->actor->model->publishers;
    actor_expect(ch, METHOD_channel_open, METHOD_channel_open_ok);
    actor_send(ch, &(struct method){.id = METHOD_channel_open});
    if (chance(ch, 2)) {
        ch->mode = MODE_CONFIRM;
        actor_expect(ch, METHOD_confirm_select, METHOD_confirm_select_ok);
        actor_send(ch, &(struct method){.id = METHOD_confirm_select});
    } else if (chance(ch, 2)) {
        ch->mode = MODE_TX;
        actor_expect(ch, METHOD_tx_select, METHOD_tx_select_ok);
        actor_send(ch, &(struct method){.id = METHOD_tx_select});
    }
}

static void close_channel(struct actor_channel *ch)
{
    SAY(ch, "%s", "close");
    ch->state = CHANNEL_ENDING;
    actor_expect(ch, METHOD_channel_close, METHOD_channel_close_ok);
    actor_send(ch, &(struct method){.id = METHOD_channel_close, .channel_close.reply_code = 200});
}

void actor_leave(struct actor *actor)
{
    uint64_t how = world_pick(actor->world, 4);
    trace_line(&actor->world->trace, "client %u: leaves (%llu)", actor->index,
               (unsigned long long)how);
    if (how < 2) {
        client_drop(&actor->client, how == 0);
    } else {
        actor->closing = true;
        client_send(
            &actor->client, 0,
            &(struct method){.id = METHOD_connection_close, .connection_close.reply_code = 200});
    }
}

/* What ends the channel, or the whole connection. */
static void blunder(struct actor_channel *ch)
{
    static const uint8_t rubbish[] = {1, 0, 1, 0, 0, 0, 4, 0, 60, 0, 200, 0xCE};
    struct method m = {0};
    uint64_t what = pick(ch, 6);
    SAY(ch, "blunder %llu", (unsigned long long)what);
    if (what == 0) {
        m.id = METHOD_basic_ack;
        m.basic_ack.delivery_tag = 1u << 20;
    } else if (what == 1) {
        m.id = METHOD_queue_declare;
        m.queue_declare.queue = SLICE("amq.mine");
    } else if (what == 2) {
        m.id = METHOD_exchange_declare;
        m.exchange_declare.exchange = SLICE("amq.topic");
        m.exchange_declare.type = SLICE("fanout");
    } else if (what == 3) {
        m.id = METHOD_channel_open;
    } else if (what == 4) {
        client_raw(&ch->actor->client, rubbish, sizeof(rubbish));
        return;
    } else {
        m.id = METHOD_basic_publish; /* and no content: the next method is out of place */
        actor_send(ch, &m);
        m = (struct method){.id = METHOD_basic_qos};
    }
    actor_send(ch, &m);
}

static const struct {
    unsigned weight;
    void (*act)(struct actor_channel *ch);
    bool asks; /* adds to the pending requests */
} deeds[] = {
    {30, publish_some, false},
    {60, settle, false},
    {10, declare_queue, true},
    {6, declare_exchange, true},
    {1, delete_queue, true},
    {1, delete_exchange, true},
    {1, purge_queue, true},
    {10, consume, true},
    {4, cancel, true},
    {6, get, true},
    {3, qos, true},
    {2, recover, true},
    {2, close_channel, true},
    {1, flood, true},
    {10, repeat, false},
};

static void act(struct actor_channel *ch)
{
    bool may_ask = ch->pending_count < ACTOR_PENDING - 4;
    uint64_t dice = pick(ch, 171);
    for (size_t i = 0; i < array_size(deeds); i++) {
        if (dice < deeds[i].weight) {
            if (may_ask || !deeds[i].asks)
                deeds[i].act(ch);
            return;
        }
        dice -= deeds[i].weight;
    }
    if (dice < 12 && may_ask)
        bind(ch, !chance(ch, 5));
    else if (dice < 22 && may_ask && ch->mode == MODE_TX)
        finish_tx(ch);
    else if (dice == 22 && chance(ch, 3))
        blunder(ch);
}

void actor_step(struct actor *actor)
{
    struct world *world = actor->world;
    if (actor->client.state == CLIENT_OFF) {
        if (!world->server.stopping && world_chance(world, 4)) {
            trace_line(&world->trace, "client %u: connects", actor->index);
            client_connect(&actor->client);
        }
        return;
    }
    if (actor->client.state != CLIENT_OPEN || actor->closing)
        return;
    if (world_chance(world, 400))
        actor->client.deaf = 1 + (unsigned)world_pick(world, DEAF_TURNS);
    if (world_chance(world, 250)) {
        actor_leave(actor);
        return;
    }
    struct actor_channel *ch = &actor->channels[1 + world_pick(world, CLIENT_CHANNELS - 1)];
    if (ch->state == CHANNEL_OFF)
        open_channel(ch);
    else if (ch->state == CHANNEL_UP && !ch->committing && actor->client.out.len < 256 * 1024)
        act(ch);
}
