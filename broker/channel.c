/* channel.c - a channel: its methods, its soft errors, its end. */
#include "broker/channel.h"

#include "broker/ack.h"
#include "broker/confirm.h"
#include "broker/consume.h"
#include "broker/publish.h"
#include "broker/reply.h"
#include "broker/topology.h"
#include "broker/tx.h"

struct channel *channel_new(struct connection *conn, uint16_t number)
{
    struct channel *ch = mem_zalloc(sizeof(*ch));
    ch->conn = conn;
    ch->number = number;
    map_init(&ch->subscriptions, rand_u64(&conn->server->rand));
    unacked_init(&ch->unacked);
    list_init(&ch->parked);
    consume_limit(ch, UINT32_MAX);
    patience_begin(ch, &ch->patience, conn->server->config->queues.consumer_timeout_ms);
    conn->server->counters.channels_opened++;
    conn->user->channel_count++;
    event_channel(ch, "channel.created");
    return ch;
}

static void stop_consumers(struct channel *ch)
{
    while (ch->subscriptions.size) {
        /* From the end: consume_stop moves later slots back, which were visited already. */
        for (size_t i = ch->subscriptions.capacity; i-- > 0;)
            if (ch->subscriptions.slots[i].value)
                consume_stop(ch->subscriptions.slots[i].value);
    }
}

bool channel_release(struct channel *ch, bool fetched_too)
{
    ch->state = CHANNEL_CLOSING;
    publish_abandon(ch);
    patience_end(ch);
    reply_end(ch);
    stop_consumers(ch);
    list_unlink(&ch->confirming);
    list_unlink(&ch->slack);
    confirm_ring_free(&ch->confirms.waiting);
    assert(list_empty(&ch->parked));
    return giveback_end(ch, fetched_too ? GIVEBACK_ALL : GIVEBACK_CONSUMED);
}

/* It counts as closed. */
static void say_closed(struct channel *ch)
{
    event_channel(ch, "channel.closed");
    ch->conn->server->counters.channels_closed++;
    ch->conn->user->channel_count--;
}

void channel_detach(struct channel *ch)
{
    say_closed(ch);
    giveback_detach(ch);
}

void channel_free(struct channel **channel)
{
    struct channel *ch = *channel;
    *channel = NULL;
    assert(ch->giveback.given == GIVEBACK_ALL && !list_linked(&ch->giveback.link));
    unacked_free(&ch->unacked);
    map_free(&ch->subscriptions);
    slice_free(&ch->last_queue);
    buf_free(&ch->assembly.names);
    buf_free(&ch->memo.name);
    if (!ch->giveback.detached)
        say_closed(ch);
    mem_free(ch);
}

void channel_fail(struct channel *ch, const struct fault *f)
{
    struct connection *conn = ch->conn;
    chatter_line(conn->server, conn->peer->peer_host, LOG_ERROR, conn->id,
             "Channel error on connection (%s, vhost: '%.*s', user: '%.*s'), channel %u: %s (%s)",
             conn->name, SLICE_ARG(conn->vhost->name), SLICE_ARG(conn->user->name), ch->number,
             f->text, f->class_id ? method_name(METHOD_ID(f->class_id, f->method_id)) : "none");
    (void)channel_release(ch, false);
    struct method m = {.id = METHOD_channel_close};
    m.channel_close.reply_code = (uint16_t)f->code;
    m.channel_close.reply_text = slice_of_string(f->text);
    m.channel_close.class_id = f->class_id;
    m.channel_close.method_id = f->method_id;
    channel_send(ch, &m);
}

bool channel_queue_name(struct channel *ch, struct slice given, struct slice *name, struct fault *f)
{
    *name = given.len ? given : ch->last_queue;
    if (name->len == 0)
        return fault(f, NOT_FOUND, "no previously declared queue");
    return true;
}

bool channel_find_queue(struct channel *ch, struct slice name, struct queue **q, struct fault *f)
{
    struct vhost *v = ch->conn->vhost;
    *q = vhost_find_queue(v, name);
    if (!*q)
        return fault(f, NOT_FOUND, "no queue '%.*s' in vhost '%.*s'", SLICE_ARG(name),
                     SLICE_ARG(v->name));
    if ((*q)->owner.connection && (*q)->owner.connection != ch->conn)
        return fault(f, RESOURCE_LOCKED,
                     "cannot obtain exclusive access to locked queue '%.*s' in vhost '%.*s'. It could "
                     "be originally declared on another connection or the exclusive property value "
                     "does not match that of the original declaration.",
                     SLICE_ARG(name), SLICE_ARG(v->name));
    return true;
}

/* Semantics 1.1: flow can be turned on, not off. */
static bool flow(struct channel *ch, const struct method *m, struct fault *f)
{
    if (!m->channel_flow.active)
        return fault(f, NOT_IMPLEMENTED, "active=false");
    struct method ok = {.id = METHOD_channel_flow_ok};
    ok.channel_flow_ok.active = true;
    channel_send(ch, &ok);
    return true;
}

static bool request_access(struct channel *ch)
{
    struct method ok = {.id = METHOD_access_request_ok};
    ok.access_request_ok.ticket = 1;
    channel_send(ch, &ok);
    return true;
}

static bool recover(struct channel *ch, const struct method *m, struct fault *f)
{
    bool async = m->id == METHOD_basic_recover_async;
    if (!(async ? m->basic_recover_async.requeue : m->basic_recover.requeue))
        return fault(f, NOT_IMPLEMENTED, "requeue=false");
    if (!giveback_requeue(ch, ch->delivery_tag, SETTLE_RECOVER))
        return false;
    if (!async)
        channel_send(ch, &(struct method){.id = METHOD_basic_recover_ok});
    return true;
}

bool channel_end(struct channel *ch, bool tell)
{
    struct connection *conn = ch->conn;
    uint16_t number = ch->number;
    if (!channel_release(ch, true)) {
        giveback_await(conn);
        return false;
    }
    connection_remove_channel(conn, ch);
    channel_free(&ch);
    if (tell)
        connection_send(conn, number, &(struct method){.id = METHOD_channel_close_ok});
    return true;
}

static bool topology_method(struct channel *ch, const struct method *m, struct fault *f)
{
    switch (m->id) {
    case METHOD_exchange_declare: return topology_exchange_declare(ch, m, f);
    case METHOD_exchange_delete: return topology_exchange_delete(ch, m, f);
    case METHOD_exchange_bind: return topology_exchange_bind(ch, m, f);
    case METHOD_exchange_unbind: return topology_exchange_unbind(ch, m, f);
    case METHOD_queue_declare: return topology_queue_declare(ch, m, f);
    case METHOD_queue_delete: return topology_queue_delete(ch, m, f);
    case METHOD_queue_bind: return topology_queue_bind(ch, m, f);
    default:
        assertf(m->id == METHOD_queue_unbind, "method %x", m->id);
        return topology_queue_unbind(ch, m, f);
    }
}

/* A new binding may be handed what its exchange remembers. */
static bool topology(struct channel *ch, const struct method *m, struct fault *f)
{
    struct server *s = channel_server(ch);
    struct connection *conn = ch->conn;
    uint64_t before = s->company.copies;
    conn->share.effort += EFFORT_DECLARE;
    connection_defines(conn);
    bool done = topology_method(ch, m, f);
    conn->share.effort += (unsigned)(s->company.copies - before);
    return done;
}

/* All but those that publish and settle. */
static bool other_method(struct channel *ch, const struct method *m, struct fault *f)
{
    ch->conn->share.effort += EFFORT_METHOD;
    switch (m->id) {
    case METHOD_basic_get: return consume_get(ch, m, f);
    case METHOD_basic_consume: return consume_start(ch, m, f);
    case METHOD_basic_cancel: return consume_cancel(ch, m, f);
    case METHOD_basic_cancel_ok: return true; /* some clients answer our basic.cancel */
    case METHOD_basic_qos: return consume_qos(ch, m, f);
    case METHOD_basic_recover:
    case METHOD_basic_recover_async: return recover(ch, m, f);
    case METHOD_exchange_declare:
    case METHOD_exchange_delete:
    case METHOD_exchange_bind:
    case METHOD_exchange_unbind:
    case METHOD_queue_declare:
    case METHOD_queue_delete:
    case METHOD_queue_bind:
    case METHOD_queue_unbind: return topology(ch, m, f);
    case METHOD_queue_purge: return topology_queue_purge(ch, m, f);
    case METHOD_confirm_select: return confirm_select(ch, m, f);
    case METHOD_tx_select:
    case METHOD_tx_commit:
    case METHOD_tx_rollback: return tx_method(ch, m, f);
    case METHOD_channel_flow: return flow(ch, m, f);
    case METHOD_access_request: return request_access(ch);
    case METHOD_channel_close: return channel_end(ch, true);
    case METHOD_channel_flow_ok: return true;
    case METHOD_channel_open:
        return fault(f, CHANNEL_ERROR, "second 'channel.open' seen");
    default:
        return fault(f, COMMAND_INVALID, "unimplemented method");
    }
}

bool channel_method(struct channel *ch, const struct method *m, struct fault *f)
{
    switch (m->id) {
    case METHOD_basic_publish: return publish_method(ch, m, f);
    case METHOD_basic_ack:
    case METHOD_basic_nack:
    case METHOD_basic_reject: return ack_method(ch, m, f);
    default: return other_method(ch, m, f);
    }
}
