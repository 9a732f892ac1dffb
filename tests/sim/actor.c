/* actor.c - a user of the simulated broker: what it is told.
 *
 * Everything that was begun at the model is ended here: by its answer, by the end of its channel,
 * or when the server's end of the connection is gone. */
#include "tests/sim/actor.h"

#include <stdio.h>

#include "broker/channel.h"
#include "protocol/props.h"

static const struct client_events events;

void actor_init(struct actor *actor, struct world *world, struct model *model, unsigned index)
{
    *actor = (struct actor){.model = model, .world = world, .index = index};
    client_init(&actor->client, world, &events, actor);
    for (uint16_t i = 0; i < CLIENT_CHANNELS; i++)
        actor->channels[i] = (struct actor_channel){.actor = actor, .number = i};
}

void actor_free(struct actor *actor)
{
    assert(actor->client.state == CLIENT_OFF);
    for (int i = 0; i < CLIENT_CHANNELS; i++) {
        id_ring_free(&actor->channels[i].sent);
        mem_free(actor->channels[i].held);
        mem_free(actor->channels[i].fresh);
    }
    client_free(&actor->client);
}

static struct trace *trace_of(const struct actor *actor)
{
    return &actor->world->trace;
}

/* --- requests and answers --- */

struct pending *actor_expect(struct actor_channel *ch, uint32_t request, uint32_t reply)
{
    assert(ch->pending_count < ACTOR_PENDING);
    struct pending *p = &ch->pending[ch->pending_count++];
    *p = (struct pending){.request = request, .reply = reply, .queue = -1, .consumer = -1};
    p->fence = ch->mode == MODE_PLAIN ? ch->published : 0;
    return p;
}

void actor_send(struct actor_channel *ch, const struct method *m)
{
    client_send(&ch->actor->client, ch->number, m);
}

/* What the channel was doing with the subscriber's queue besides consuming is over. */
static void end_subscriber(struct actor_channel *ch, struct subscriber *sub)
{
    struct model *model = ch->actor->model;
    if (!sub->active)
        return;
    sub->active = false;
    if (sub->no_ack)
        model_leak(model, sub->queue, false);
    if (model->queues[sub->queue].auto_delete)
        model_end(model, &sub->removal, false);
}

static void finish_pending(struct actor_channel *ch, struct pending *p, bool answered)
{
    struct model *model = ch->actor->model;
    if (p->has_op)
        model_end(model, &p->op, answered);
    if (p->request == METHOD_queue_purge)
        model_purge(model, p->queue, false);
    if (p->request == METHOD_basic_get && p->no_ack)
        model_leak(model, p->queue, false);
    if (p->request == METHOD_basic_cancel)
        end_subscriber(ch, &ch->subscribers[p->consumer]);
    if (p->request == METHOD_basic_consume && !answered)
        end_subscriber(ch, &ch->subscribers[p->consumer]);
    if (p->request == METHOD_basic_recover)
        ch->recovering = false;
    if (p->request == METHOD_tx_commit || p->request == METHOD_tx_rollback)
        ch->committing = false;
}

static uint64_t open_batch(const struct actor *actor)
{
    return store_open_batch(actor->world->server.store);
}

/* Publishes up to this sequence have arrived. */
static void resolve(struct actor_channel *ch, uint64_t sequence, uint64_t batch)
{
    while (ch->resolved < sequence) {
        ch->resolved++;
        uint32_t id = id_ring_pop_front(&ch->sent);
        if (!(id & ACTOR_REPEATED))
            model_land(ch->actor->model, id, batch);
        else if (batch == 0)
            model_repeated(ch->actor->model, id & ~ACTOR_REPEATED);
    }
}

static void drop_held(struct actor_channel *ch, size_t i)
{
    ch->held[i] = ch->held[--ch->held_count];
}

static void after_commit(struct actor_channel *ch, bool committed)
{
    struct model *model = ch->actor->model;
    while (ch->sent.size) {
        uint32_t id = id_ring_pop_front(&ch->sent);
        if (committed)
            model_land(model, id, 0);
        else
            model_roll_back(model, id);
    }
    for (size_t i = ch->held_count; i-- > 0;) {
        struct held *held = &ch->held[i];
        if (held->state == HELD)
            continue;
        if (!committed) {
            held->state = HELD;
            continue;
        }
        if (held->state == HELD_TX_SETTLE)
            model_settled(model, held->queue, held->id, held->rejected, 0);
        drop_held(ch, i);
    }
}

/* The exclusive queue goes whenever the connection does: from now on it may be gone. */
static void own(struct actor *actor, int queue)
{
    if (actor->exclusives[queue])
        return;
    actor->exclusives[queue] = true;
    actor->exclusive_ops[queue] = (struct model_op){.kind = OP_QUEUE, .a = (uint8_t)queue};
    model_begin(actor->model, &actor->exclusive_ops[queue]);
}

static void on_reply(struct actor_channel *ch, const struct method *m)
{
    assertf(ch->pending_count > 0, "%s, but nothing was asked", method_name(m->id));
    struct pending p = ch->pending[0];
    bool good =
        m->id == p.reply || (m->id == METHOD_basic_get_empty && p.reply == METHOD_basic_get_ok);
    assertf(good, "%s in answer to %s", method_name(m->id), method_name(p.request));
    memmove(ch->pending, ch->pending + 1, --ch->pending_count * sizeof(p));
    finish_pending(ch, &p, true);
    if (p.fence)
        resolve(ch, p.fence, open_batch(ch->actor));
    if (m->id == METHOD_tx_commit_ok || m->id == METHOD_tx_rollback_ok)
        after_commit(ch, m->id == METHOD_tx_commit_ok);
    if (m->id == METHOD_queue_declare_ok && ch->actor->model->queues[p.queue].exclusive)
        own(ch->actor, p.queue);
}

/* --- the end of a channel --- */

/* Nothing more comes on it, and the server has let go of it. */
static void end_channel(struct actor_channel *ch)
{
    struct model *model = ch->actor->model;
    for (unsigned i = 0; i < ch->pending_count; i++)
        finish_pending(ch, &ch->pending[i], false);
    for (int i = 0; i < ACTOR_CONSUMERS; i++)
        end_subscriber(ch, &ch->subscribers[i]);
    while (ch->sent.size) {
        uint32_t id = id_ring_pop_front(&ch->sent);
        if (id & ACTOR_REPEATED)
            continue;
        if (model->messages[id].flying)
            model_lose(model, id);
        else
            model_roll_back(model, id);
    }
    for (size_t i = 0; i < ch->held_count; i++)
        if (ch->held[i].state != HELD)
            model_unsettled(model, ch->held[i].queue, ch->held[i].id);
    id_ring_free(&ch->sent);
    mem_free(ch->held);
    mem_free(ch->fresh);
    *ch = (struct actor_channel){.actor = ch->actor, .number = ch->number};
}

/* The answer to our close: all before it was dealt with, and answered. */
static void on_closed_channel(struct actor_channel *ch)
{
    assertf(ch->pending_count > 0 && ch->pending[0].request == METHOD_channel_close,
            "%s is not answered",
            ch->pending_count ? method_name(ch->pending[0].request) : "nothing");
    if (ch->mode != MODE_TX && ch->sent.size)
        resolve(ch, ch->published, open_batch(ch->actor));
    for (size_t i = ch->held_count; i-- > 0;) {
        if (ch->held[i].state != HELD_SETTLING)
            continue;
        const struct held *held = &ch->held[i];
        model_settled(ch->actor->model, held->queue, held->id, held->rejected, open_batch(ch->actor));
        drop_held(ch, i);
    }
    end_channel(ch);
}

/* A request may fail, but not for the lack of what was there all the time. */
static void judge_error(struct actor_channel *ch, const struct amqp_channel_close *close)
{
    uint32_t culprit = METHOD_ID(close->class_id, close->method_id);
    const struct pending *p = &ch->pending[0];
    if (ch->pending_count == 0 || p->request != culprit || close->reply_code != NOT_FOUND ||
        p->has_op)
        return;
    assertf(!p->op.clean || !model_was_there(ch->actor->model, &p->op), "%s: %.*s",
            method_name(culprit), SLICE_ARG(close->reply_text));
}

static void on_channel_close(struct actor_channel *ch, const struct amqp_channel_close *close)
{
    trace_line(trace_of(ch->actor), "client %u.%u: told to close: %.*s", ch->actor->index,
               ch->number, SLICE_ARG(close->reply_text));
    judge_error(ch, close);
    actor_send(ch, &(struct method){.id = METHOD_channel_close_ok});
    if (ch->state == CHANNEL_ENDING) { /* it crossed ours: the answer to that is still to come */
        struct pending last = ch->pending[ch->pending_count - 1];
        assert(last.request == METHOD_channel_close);
        ch->pending_count--;
        end_channel(ch);
        ch->state = CHANNEL_ENDING;
        *actor_expect(ch, METHOD_channel_close, METHOD_channel_close_ok) = last;
    } else {
        end_channel(ch);
    }
}

/* --- deliveries --- */

/* The server may have taken back what it sent: it has closed the channel, or we asked for it. */
static bool is_late(const struct actor_channel *ch)
{
    const struct connection *conn = client_peer(&ch->actor->client);
    const struct channel *server = conn ? connection_channel(conn, ch->number) : NULL;
    return ch->recovering || ch->state != CHANNEL_UP || !server || server->state != CHANNEL_OPEN;
}

static void hold(struct actor_channel *ch, const struct held *held)
{
    if (ch->held_count == ch->held_capacity) {
        ch->held_capacity = ch->held_capacity ? ch->held_capacity * 2 : 16;
        ch->held = mem_realloc(ch->held, ch->held_capacity * sizeof(*ch->held));
    }
    ch->held[ch->held_count++] = *held;
}

static void check_content(struct actor_channel *ch, uint32_t id, const struct content *content,
                          struct slice exchange)
{
    struct model *model = ch->actor->model;
    struct model_message *m = &model->messages[id];
    struct props props;
    struct fault f;
    bool good = props_decode(content->props, &props, &f);
    assert(good && (props.delivery_mode == 2) == m->persistent && props.flags & PROP_headers);
    assert(props.priority == m->priority);
    assert(slice_is(exchange, model->exchanges[m->exchange].name));
}

/* What comes for the first time comes in the order in which its publisher sent it. */
static void check_order(struct actor_channel *ch, int queue, uint32_t id)
{
    const struct model_message *m = &ch->actor->model->messages[id];
    uint32_t publisher = m->publisher;
    unsigned level = model_level(ch->actor->model, queue, id);
    for (size_t i = 0; i < ch->fresh_count; i++) {
        struct fresh *fresh = &ch->fresh[i];
        if (fresh->queue != queue || fresh->publisher != publisher || fresh->level != level)
            continue;
        assertf(fresh->id < id, "message %u came after %u", id, fresh->id);
        fresh->id = id;
        return;
    }
    ch->fresh = mem_realloc(ch->fresh, (ch->fresh_count + 1) * sizeof(*ch->fresh));
    ch->fresh[ch->fresh_count++] = (struct fresh){queue, publisher, id, level};
}

/* A message has come; `consumer` 0 = fetched. */
static void take(struct actor_channel *ch, int queue, uint32_t consumer, bool no_ack, uint64_t tag,
                 uint32_t id, bool redelivered)
{
    struct model *model = ch->actor->model;
    bool late = is_late(ch);
    assertf(tag == ch->last_tag + 1, "delivery tag %llu after %llu", (unsigned long long)tag,
            (unsigned long long)ch->last_tag);
    ch->last_tag = tag;
    trace_line(trace_of(ch->actor), "client %u.%u: message %u from %s, tag %llu%s%s",
               ch->actor->index, ch->number, id, model->queues[queue].name, (unsigned long long)tag,
               redelivered ? ", again" : "", late ? ", late" : "");
    enum manner manner = late ? MANNER_LATE : no_ack ? MANNER_NO_ACK : MANNER_TO_ACK;
    model_deliver(model, queue, id, redelivered, manner);
    if (!redelivered)
        check_order(ch, queue, id);
    if (no_ack)
        model_settled(model, queue, id, false, open_batch(ch->actor));
    else if (!ch->recovering && ch->state == CHANNEL_UP)
        hold(ch, &(struct held){.tag = tag, .id = id, .queue = queue, .consumer = consumer});
}

static void check_prefetch(const struct actor_channel *ch, const struct subscriber *sub)
{
    unsigned unacked = 0, prefetch = sub->prefetch;
    for (size_t i = 0; i < ch->held_count; i++)
        unacked += ch->held[i].consumer == sub->serial && ch->held[i].state == HELD;
    assertf(!prefetch || unacked <= prefetch, "%u unacked of a prefetch of %u", unacked, prefetch);
}

static void on_deliver(struct actor_channel *ch, const struct amqp_basic_deliver *deliver,
                       const struct content *content)
{
    uint32_t id = model_read_body(ch->actor->model, content->body);
    int consumer = ACTOR_CONSUMERS;
    while (consumer-- > 0) {
        char tag[32];
        snprintf(tag, sizeof(tag), "c-%u", ch->subscribers[consumer].serial);
        if (ch->subscribers[consumer].active && slice_is(deliver->consumer_tag, tag))
            break;
    }
    assertf(consumer >= 0, "a delivery for consumer %.*s", SLICE_ARG(deliver->consumer_tag));
    struct subscriber *sub = &ch->subscribers[consumer];
    check_content(ch, id, content, deliver->exchange);
    take(ch, sub->queue, sub->serial, sub->no_ack, deliver->delivery_tag, id, deliver->redelivered);
    check_prefetch(ch, sub);
}

static void on_get_ok(struct actor_channel *ch, const struct method *m,
                      const struct content *content)
{
    uint32_t id = model_read_body(ch->actor->model, content->body);
    assertf(ch->pending_count > 0 && ch->pending[0].request == METHOD_basic_get,
            "message %u was not asked for", id);
    struct pending *p = &ch->pending[0];
    check_content(ch, id, content, m->basic_get_ok.exchange);
    take(ch, p->queue, 0, p->no_ack, m->basic_get_ok.delivery_tag, id, m->basic_get_ok.redelivered);
    on_reply(ch, m);
}

static void on_confirm(struct actor_channel *ch, const struct amqp_basic_ack *ack)
{
    trace_line(trace_of(ch->actor), "client %u.%u: confirmed %llu", ch->actor->index, ch->number,
               (unsigned long long)ack->delivery_tag);
    assertf(ch->mode == MODE_CONFIRM && ack->delivery_tag > ch->resolved &&
                ack->delivery_tag <= ch->published,
            "confirm of %llu, %llu were sent, %llu confirmed",
            (unsigned long long)ack->delivery_tag, (unsigned long long)ch->published,
            (unsigned long long)ch->resolved);
    assert(ack->multiple || ack->delivery_tag == ch->resolved + 1);
    resolve(ch, ack->delivery_tag, 0);
}

static void on_cancel(struct actor_channel *ch, struct slice tag)
{
    for (int i = 0; i < ACTOR_CONSUMERS; i++) {
        char name[32];
        snprintf(name, sizeof(name), "c-%u", ch->subscribers[i].serial);
        if (slice_is(tag, name))
            end_subscriber(ch, &ch->subscribers[i]);
    }
}

/* --- dispatch --- */

static void on_channel_method(struct actor_channel *ch, const struct method *m,
                              const struct content *content)
{
    if (ch->state == CHANNEL_OFF)
        panic("%s on a channel that is closed", method_name(m->id));
    if (m->id == METHOD_channel_close)
        on_channel_close(ch, &m->channel_close);
    else if (m->id == METHOD_basic_deliver)
        on_deliver(ch, &m->basic_deliver, content);
    else if (m->id == METHOD_basic_get_ok)
        on_get_ok(ch, m, content);
    else if (m->id == METHOD_basic_return)
        model_return(ch->actor->model, model_read_body(ch->actor->model, content->body));
    else if (m->id == METHOD_basic_ack)
        on_confirm(ch, &m->basic_ack);
    else if (m->id == METHOD_basic_cancel)
        on_cancel(ch, m->basic_cancel.consumer_tag);
    else if (m->id == METHOD_channel_close_ok)
        on_closed_channel(ch);
    else
        on_reply(ch, m);
}

static void on_method(void *arg, uint16_t channel, const struct method *m,
                      const struct content *content)
{
    struct actor *actor = arg;
    if (channel > 0) {
        on_channel_method(&actor->channels[channel], m, content);
        return;
    }
    if (m->id == METHOD_connection_close) {
        trace_line(trace_of(actor), "client %u: told to close: %.*s", actor->index,
                   SLICE_ARG(m->connection_close.reply_text));
        client_send(&actor->client, 0, &(struct method){.id = METHOD_connection_close_ok});
        actor->closing = true;
    } else if (m->id == METHOD_connection_close_ok) {
        client_drop(&actor->client, false);
    }
}

static void on_ended(void *arg)
{
    struct actor *actor = arg;
    trace_line(trace_of(actor), "client %u: the connection ended", actor->index);
    actor->dying = true;
}

static const struct client_events events = {on_method, on_ended};

/* --- from outside --- */

void actor_turn(struct actor *actor)
{
    client_turn(&actor->client);
}

static void finish_dying(struct actor *actor)
{
    for (int i = 1; i < CLIENT_CHANNELS; i++)
        end_channel(&actor->channels[i]);
    for (int q = 0; q < MODEL_QUEUES; q++) {
        if (actor->exclusives[q])
            model_end(actor->model, &actor->exclusive_ops[q], true);
        actor->exclusives[q] = false;
    }
    actor->dying = actor->closing = false;
    client_forget(&actor->client);
}

static void look_at_channel(struct actor_channel *ch, uint64_t consumed)
{
    for (size_t i = ch->held_count; i-- > 0;) {
        struct held *held = &ch->held[i];
        if (held->state != HELD_SETTLING || held->offset > consumed)
            continue;
        model_settled(ch->actor->model, held->queue, held->id, held->rejected, open_batch(ch->actor));
        drop_held(ch, i);
    }
}

void actor_look(struct actor *actor)
{
    const struct connection *conn = client_peer(&actor->client);
    if (actor->dying && !conn) {
        finish_dying(actor);
        return;
    }
    if (!conn || conn->state != CONNECTION_OPEN)
        return;
    for (uint16_t i = 1; i < CLIENT_CHANNELS; i++) {
        const struct channel *server = connection_channel(conn, i);
        if (server && server->state == CHANNEL_OPEN)
            look_at_channel(&actor->channels[i], client_consumed(&actor->client));
    }
}

void actor_bury(struct actor *actor)
{
    client_drop(&actor->client, true);
    if (actor->dying)
        finish_dying(actor);
}

bool actor_is_quiet(const struct actor *actor)
{
    if (actor->client.state != CLIENT_OPEN || actor->closing)
        return false;
    for (int i = 1; i < CLIENT_CHANNELS; i++) {
        const struct actor_channel *ch = &actor->channels[i];
        if (ch->pending_count > 0 || (ch->mode == MODE_CONFIRM && ch->sent.size > 0))
            return false;
    }
    return true;
}

bool actor_is_off(const struct actor *actor)
{
    return actor->client.state == CLIENT_OFF;
}
