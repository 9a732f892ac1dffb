/* connection.c - one AMQP connection: frames in, methods out, faults, and its end.
 *
 * Input is cut in place. A body frame that is not complete yet is taken in pieces (body.c). Nothing is
 * freed here while a frame may still name it: the connection and its channels go at the end of the turn or
 * when the client cannot name them any more. */
#include "broker/connection.h"

#include <stdio.h>

#include "broker/body.h"
#include "broker/channel.h"
#include "broker/consume.h"
#include "broker/expire.h"
#include "broker/pace.h"
#include "broker/publish.h"

/* How long a peer gets to answer our close, or to close after it. */
enum { CLOSE_PATIENCE_MS = 3000 };

/* Publishers are not read while the journal has this many bytes to write: a batch then fits a segment. */
enum { JOURNAL_HIGH_WATER = 12 * 1024 * 1024 };

/* The same of definitions in a batch, some hundreds: all who wait for a confirm wait for them, too. */
enum { DEFINITIONS_HIGH_WATER = 32 * 1024 };

static size_t on_bytes(struct stream *stream, struct slice in);
static void on_drained(struct stream *stream);
static void on_closed(struct stream *stream, int error);

static const struct stream_events events = {
    .bytes = on_bytes, .place = body_place, .placed = body_placed, .drained = on_drained,
    .closed = on_closed};

/* --- life --- */

static void handshake_timeout(struct timer *timer)
{
    struct connection *conn = container_of(timer, struct connection, timer);
    chatter_line(conn->server, conn->peer->peer_host, LOG_ERROR, conn->id,
                 "closing AMQP connection (%s): handshake_timeout", conn->name);
    connection_hang_up(conn);
}

struct connection *connection_new(struct server *s, const struct transport *transport, void *io,
                                  const struct peer *peer)
{
    struct connection *conn = mem_zalloc(sizeof(*conn));
    conn->server = s;
    conn->id = ++s->next_connection_id;
    conn->frame_max = s->config->initial_frame_max;
    conn->channel_max = (uint16_t)s->config->channel_max;
    conn->peer = mem_copy(peer, sizeof(*peer));
    struct buf name = {0};
    buf_printf(&name, "%s:%u -> %s:%u", peer->peer_host, peer->peer_port, peer->host, peer->port);
    conn->name = mem_copy(name.at, name.len);
    buf_free(&name);
    flow_init(&conn->flow);
    list_init(&conn->parked);
    list_init(&conn->exclusive_queues);
    list_push_back(&s->connections, &conn->link);
    s->counters.connections_opened++;
    conn->timer.fire = handshake_timeout;
    timer_set(&s->timers, &conn->timer, server_now_ms(s) + s->config->handshake_timeout_ms);
    stream_init(&conn->stream, &s->net, transport, io, &events);
    chatter_line(s, peer->peer_host, LOG_INFO, conn->id, "accepting AMQP connection (%s)%s%s%s%s", conn->name,
             peer->tls ? ", " : "", peer->tls ? peer->tls_version : "", peer->tls ? " " : "",
             peer->tls ? peer->tls_cipher : "");
    gate_enter(conn);
    return conn;
}

void connection_free(struct connection **connection)
{
    struct connection *conn = *connection;
    *connection = NULL;
    assert(conn->state == CONNECTION_CLOSED && conn->channels.size == 0);
    assert(!list_linked(&conn->get.link) && !list_linked(&conn->flow.throttled) && conn->flow.detached == 0);
    assert(conn->flow.held == 0 && conn->flow.unacked == 0 && !list_linked(&conn->flow.publishing));
    stream_free(&conn->stream);
    timer_clear(&conn->server->timers, &conn->timer);
    walk_leave(&conn->server->control.walks, &conn->link);
    list_remove(&conn->link);
    list_unlink(&conn->barred);
    conn->server->counters.connections_closed++;
    if (conn->user)
        user_drop(&conn->user);
    barrier_ring_free(&conn->barriers);
    mem_free(conn->channels.slots);
    certificate_free(&conn->peer->certificate);
    mem_free(conn->peer);
    mem_free(conn->login.info);
    mem_free(conn->name);
    mem_free(conn);
}

/* Releases all channels; true when that is through. */
static bool release_channels(struct connection *conn)
{
    bool through = true;
    pace_stop(conn);
    consume_forget_get(conn);
    for (size_t i = 0; i < conn->channels.capacity; i++) {
        struct channel *ch = conn->channels.slots[i];
        if (ch)
            through &= channel_release(ch, true);
    }
    return through;
}

void connection_release(struct connection *conn)
{
    (void)release_channels(conn);
    for (size_t i = 0; i < conn->channels.capacity; i++) {
        struct channel *ch = conn->channels.slots[i];
        if (!ch)
            continue;
        conn->channels.slots[i] = NULL;
        conn->channels.size--;
        if (giveback_is_through(&ch->giveback))
            channel_free(&ch);
        else
            channel_detach(ch);
    }
    assert(conn->channels.size == 0);
    conn->last_channel = NULL;
    while (!list_empty(&conn->exclusive_queues))
        vhost_delete_queue(conn->vhost,
                           list_first(&conn->exclusive_queues, struct queue, owner.link));
    assert(list_empty(&conn->parked) && list_empty(&conn->flow.parked));
    login_leave(conn);
    flow_end(conn);
    if (conn->announced)
        event_connection(conn, "connection.closed");
    conn->announced = false;
    if (conn->flow.detached == 0) /* else when the last of those channels is through: giveback.c */
        conn->vhost = NULL;
}

static void on_closed(struct stream *stream, int error)
{
    struct connection *conn = connection_of_stream(stream);
    struct server *s = conn->server;
    if (conn->state == CONNECTION_OPEN)
        chatter_line(s, conn->peer->peer_host, LOG_WARNING, conn->id,
                 "closing AMQP connection (%s, vhost: '%.*s', user: '%.*s'): "
                 "client unexpectedly closed TCP connection%s%s",
                 conn->name, SLICE_ARG(conn->vhost->name), SLICE_ARG(conn->user->name),
                 error ? ": " : "", error ? strerror(-error) : "");
    s->events.actor = conn;
    connection_release(conn);
    gate_leave(conn);
    s->events.actor = NULL;
    conn->state = CONNECTION_CLOSED;
    timer_clear(&s->timers, &conn->timer);
    if (!list_linked(&conn->doomed))
        list_push_back(&s->doomed, &conn->doomed);
}

static void close_timeout(struct timer *timer)
{
    struct connection *conn = container_of(timer, struct connection, timer);
    stream_abort(&conn->stream, 0);
}

void connection_hang_up(struct connection *conn)
{
    struct server *s = conn->server;
    connection_release(conn);
    conn->state = CONNECTION_CLOSED;
    conn->timer.fire = close_timeout;
    timer_set(&s->timers, &conn->timer, server_now_ms(s) + CLOSE_PATIENCE_MS);
    stream_close(&conn->stream);
}

/* --- output --- */

void connection_send(struct connection *conn, uint16_t channel, const struct method *m)
{
    enum { ROOM = 2048 }; /* most methods are a few dozen bytes; only start and close-like ones carry more */
    uint8_t *at = stream_reserve(&conn->stream, ROOM);
    struct writer w = writer_of(at + FRAME_HEAD_SIZE, ROOM - FRAME_OVERHEAD);
    method_encode(&w, m);
    assertf(!w.bad, "%s does not fit %d bytes", method_name(m->id), ROOM);
    size_t size = (size_t)(w.at - at) - FRAME_HEAD_SIZE;
    frame_write_head(at, FRAME_METHOD, channel, (uint32_t)size);
    *w.at = FRAME_END;
    stream_commit(&conn->stream, size + FRAME_OVERHEAD);
    flow_replied(conn, size + FRAME_OVERHEAD);
}

static void send_close(struct connection *conn, const struct fault *f)
{
    struct method m = {.id = METHOD_connection_close};
    m.connection_close.reply_code = (uint16_t)f->code;
    m.connection_close.reply_text = slice_of_string(f->text);
    m.connection_close.class_id = f->class_id;
    m.connection_close.method_id = f->method_id;
    connection_send(conn, 0, &m);
}

void connection_fail(struct connection *conn, const struct fault *f)
{
    struct server *s = conn->server;
    if (conn->state >= CONNECTION_CLOSING)
        return;
    const char *by = f->class_id ? method_name(METHOD_ID(f->class_id, f->method_id)) : NULL;
    if (f->code != CONNECTION_FORCED)
        chatter_line(s, conn->peer->peer_host, LOG_ERROR, conn->id,
                     "Error on AMQP connection (%s): %s%s%s%s", conn->name, f->text,
                     by ? " (" : "", by ? by : "", by ? ")" : "");
    connection_release(conn);
    send_close(conn, f);
    conn->state = CONNECTION_CLOSING;
    conn->body_left = 0;
    conn->timer.fire = close_timeout;
    timer_set(&s->timers, &conn->timer, server_now_ms(s) + CLOSE_PATIENCE_MS);
}

void connection_force_close(struct connection *conn, const char *reason)
{
    struct fault f = {0};
    if (conn->state == CONNECTION_CLOSING || conn->state == CONNECTION_CLOSED)
        return;
    if (conn->state == CONNECTION_HEADER || conn->state == CONNECTION_SILENT) {
        connection_hang_up(conn); /* this one knows no connection.close, or is not to hear one */
        return;
    }
    fault(&f, CONNECTION_FORCED, "%s", reason);
    connection_fail(conn, &f);
}

void connection_bar(struct connection *conn, uint64_t batch)
{
    struct barrier_ring *ring = &conn->barriers;
    if (ring->size && barrier_ring_at(ring, ring->size - 1)->batch >= batch)
        return;
    if (ring->size == 0) {
        stream_limit(&conn->stream, stream_queued(&conn->stream));
        list_push_back(&conn->server->barred, &conn->barred);
    }
    barrier_ring_push_back(ring, (struct barrier){stream_queued(&conn->stream), batch});
}

void connection_lift_barriers(struct server *s, uint64_t durable)
{
    list_each_safe(node, &s->barred) {
        struct connection *conn = container_of(node, struct connection, barred);
        struct barrier_ring *ring = &conn->barriers;
        while (ring->size && barrier_ring_at(ring, 0)->batch <= durable)
            barrier_ring_pop_front(ring);
        stream_limit(&conn->stream, ring->size ? barrier_ring_at(ring, 0)->offset : UINT64_MAX);
        if (ring->size == 0)
            list_remove(&conn->barred);
    }
}

static void throttle(struct connection *conn, enum flow_reason reason)
{
    if (conn->state >= CONNECTION_CLOSING)
        return;
    flow_pause(conn, reason);
    if (!list_linked(&conn->flow.throttled))
        list_push_back(&conn->server->throttled, &conn->flow.throttled);
}

void connection_throttle(struct connection *conn)
{
    size_t pending = store_pending_bytes(conn->server->store);
    if (pending < COMPANY_BATCH)
        return;
    if (pending >= JOURNAL_HIGH_WATER)
        throttle(conn, FLOW_JOURNAL);
    else if (company_crowds(conn))
        throttle(conn, FLOW_CROWD);
}

static size_t definitions_max(const struct server *s)
{
    return s->company.present ? COMPANY_DEFINITIONS : DEFINITIONS_HIGH_WATER;
}

void connection_defines(struct connection *conn)
{
    if (store_definition_bytes(conn->server->store) >= definitions_max(conn->server))
        throttle(conn, FLOW_DEFINE);
}

void connection_unthrottle_all(struct server *s)
{
    if (store_pending_bytes(s->store) >= JOURNAL_HIGH_WATER / 2 ||
        store_definition_bytes(s->store) >= definitions_max(s) ||
        (s->company.present && store_open_bytes(s->store) >= COMPANY_BATCH))
        return;
    for (struct list *node; (node = list_pop_front(&s->throttled));) {
        struct connection *conn = container_of(node, struct connection, flow.throttled);
        flow_resume(conn, FLOW_JOURNAL);
        flow_resume(conn, FLOW_DEFINE);
        flow_resume(conn, FLOW_CROWD);
    }
}

static void on_drained(struct stream *stream)
{
    struct connection *conn = connection_of_stream(stream);
    flow_drained(conn);
    while (!list_empty(&conn->parked))
        consumer_unpark(list_first(&conn->parked, struct consumer, place));
}

/* --- channels by number --- */

/* Numbers that follow each other are spread by the golden ratio: a thousand full slots in a row would all be
 * looked at when one of them is emptied. */
static size_t channel_slot(const struct channel_table *table, uint16_t number)
{
    size_t i = (size_t)(uint16_t)(number * 40503u) * table->capacity >> 16;
    while (table->slots[i] && table->slots[i]->number != number)
        i = (i + 1) & (table->capacity - 1);
    return i;
}

struct channel *connection_channel(const struct connection *conn, uint16_t number)
{
    if (conn->last_channel && conn->last_channel->number == number)
        return conn->last_channel;
    if (conn->channels.size == 0)
        return NULL;
    return conn->channels.slots[channel_slot(&conn->channels, number)];
}

static void rehash(struct channel_table *table, size_t capacity)
{
    struct channel_table old = *table;
    table->capacity = capacity;
    table->slots = mem_zalloc(capacity * sizeof(struct channel *));
    for (size_t i = 0; i < old.capacity; i++)
        if (old.slots[i])
            table->slots[channel_slot(table, old.slots[i]->number)] = old.slots[i];
    mem_free(old.slots);
}

void connection_add_channel(struct connection *conn, struct channel *ch)
{
    struct channel_table *table = &conn->channels;
    if ((table->size + 1) * 4 > table->capacity * 3)
        rehash(table, table->capacity ? table->capacity * 2 : 2);
    size_t i = channel_slot(table, ch->number);
    assert(table->slots[i] == NULL);
    table->slots[i] = ch;
    table->size++;
}

void connection_remove_channel(struct connection *conn, struct channel *ch)
{
    struct channel_table *table = &conn->channels;
    size_t mask = table->capacity - 1;
    size_t i = channel_slot(table, ch->number);
    assert(table->slots[i] == ch);
    table->slots[i] = NULL;
    table->size--;
    if (conn->last_channel == ch)
        conn->last_channel = NULL;
    /* Those behind it may have stepped over its slot. */
    for (size_t j = (i + 1) & mask; table->slots[j]; j = (j + 1) & mask) {
        struct channel *moved = table->slots[j];
        table->slots[j] = NULL;
        table->slots[channel_slot(table, moved->number)] = moved;
    }
}

/* --- input --- */

void connection_fault(struct connection *conn, struct channel *ch, const struct fault *f)
{
    if (ch && !reply_code_is_hard(f->code))
        channel_fail(ch, f);
    else
        connection_fail(conn, f);
}

static bool close_method(struct connection *conn, const struct method *m)
{
    struct server *s = conn->server;
    if (m->id == METHOD_connection_close) {
        if (!release_channels(conn)) {
            giveback_await(conn);
            return false;
        }
        if (conn->state == CONNECTION_OPEN)
            chatter_line(s, conn->peer->peer_host, LOG_INFO, conn->id,
                     "closing AMQP connection (%s, vhost: '%.*s', user: '%.*s')", conn->name,
                     SLICE_ARG(conn->vhost->name), SLICE_ARG(conn->user->name));
        connection_release(conn);
        connection_send(conn, 0, &(struct method){.id = METHOD_connection_close_ok});
        connection_hang_up(conn);
        return true;
    }
    if (m->id == METHOD_connection_close_ok && conn->state == CONNECTION_CLOSING) {
        connection_hang_up(conn);
        if (s->stopping) /* it has heard us: nothing is left to linger for */
            stream_abort(&conn->stream, 0);
    }
    return conn->state >= CONNECTION_CLOSING; /* all else is dropped then */
}

/* channel_max_per_node, a key of RabbitMQ 4. */
static bool check_channels_of_all(const struct server *s, struct fault *f)
{
    char node[SERVER_NODE_SIZE];
    uint64_t open = s->counters.channels_opened - s->counters.channels_closed;
    if (open < s->config->tcp.channel_max)
        return true;
    server_node(node);
    return fault(f, NOT_ALLOWED,
                 "number of channels opened on node '%s' has reached the maximum allowed limit of (%llu)",
                 node, (unsigned long long)s->config->tcp.channel_max);
}

/* Opens a channel; semantics 1.1: the limit is on the count, not on the number (K09-K11). */
static bool open_channel(struct connection *conn, uint16_t number, struct fault *f)
{
    if (conn->channels.size >= conn->channel_max)
        return fault(f, NOT_ALLOWED,
                     "number of channels opened (%zu) has reached the negotiated channel_max (%u)",
                     conn->channels.size, conn->channel_max);
    if (limits_reached(&conn->user->limits, LIMIT_CHANNELS, conn->user->channel_count))
        return fault(f, NOT_ALLOWED,
                     "number of channels opened for user '%.*s' has reached the maximum allowed user "
                     "limit of (%llu)",
                     SLICE_ARG(conn->user->name),
                     (unsigned long long)conn->user->limits.max[LIMIT_CHANNELS]);
    if (!check_channels_of_all(conn->server, f))
        return false;
    connection_add_channel(conn, channel_new(conn, number));
    connection_send(conn, number, &(struct method){.id = METHOD_channel_open_ok});
    return true;
}

static bool method_without_channel(struct connection *conn, uint16_t number,
                                   const struct method *m, struct fault *f)
{
    if (m->id == METHOD_channel_open)
        return open_channel(conn, number, f);
    if (m->id == METHOD_channel_close_ok)
        return true; /* late answer to a close that crossed the client's */
    if (m->id == METHOD_channel_close) {
        connection_send(conn, number, &(struct method){.id = METHOD_channel_close_ok});
        return true;
    }
    return fault(f, CHANNEL_ERROR, "expected 'channel.open'");
}

static bool closing_channel_method(struct channel *ch, const struct method *m)
{
    if (m->id != METHOD_channel_close_ok && m->id != METHOD_channel_close)
        return true;
    return channel_end(ch, m->id == METHOD_channel_close);
}

static bool dispatch(struct connection *conn, struct channel *ch, uint16_t number,
                     const struct method *m, struct fault *f)
{
    f->class_id = (uint16_t)(m->id >> 16), f->method_id = (uint16_t)m->id;
    bool on_connection = m->id >> 16 == METHOD_connection_start >> 16;
    if (number == 0) {
        if (on_connection)
            return close_method(conn, m) || (!conn->share.again && connection_handshake(conn, m, f));
        if (conn->state != CONNECTION_OPEN)
            return conn->state >= CONNECTION_CLOSING ||
                   fault(f, COMMAND_INVALID, "%s before the connection is open", method_name(m->id));
        return fault(f, CHANNEL_ERROR, "unexpected method in connection state running");
    }
    if (conn->state != CONNECTION_OPEN)
        return conn->state >= CONNECTION_CLOSING ||
               fault(f, CHANNEL_ERROR, "channel %u before the connection is open", number);
    if (on_connection)
        return fault(f, COMMAND_INVALID, "unimplemented method");
    if (!ch || ch->state == CHANNEL_CLOSING) {
        conn->share.effort += EFFORT_METHOD;
        return ch ? closing_channel_method(ch, m) : method_without_channel(conn, number, m, f);
    }
    if (ch->assembly.state != ASSEMBLY_IDLE)
        return publish_out_of_place(ch, f);
    return channel_method(ch, m, f);
}

static bool content_frame(struct connection *conn, struct channel *ch, const struct frame *frame,
                          struct fault *f)
{
    if (frame->channel == 0 || conn->state != CONNECTION_OPEN)
        return conn->state >= CONNECTION_CLOSING ||
               fault(f, UNEXPECTED_FRAME, "content frame on channel %u", frame->channel);
    if (!ch)
        return fault(f, CHANNEL_ERROR, "expected 'channel.open'");
    if (ch->state == CHANNEL_CLOSING)
        return true;
    if (ch->assembly.state != ASSEMBLY_IDLE)
        f->class_id = METHOD_basic_publish >> 16, f->method_id = (uint16_t)METHOD_basic_publish;
    if (frame->type == FRAME_HEADER)
        return publish_header(ch, frame->payload, f);
    return publish_body(ch, frame->payload, f) && publish_body_end(ch, f);
}

bool connection_is_asked(struct connection *conn, uint16_t channel, const struct fault *f)
{
    if (f->code != 0)
        return false;
    assertf(conn->login.asked, "a method failed without a fault");
    conn->login.asked_channel = channel;
    return true;
}

/* False: the frame is to be handled again, when a backend has answered or in the next turn. */
static bool handle_frame(struct connection *conn, const struct frame *frame)
{
    struct fault f;
    fault_init(&f);
    struct channel *ch = frame->channel ? connection_channel(conn, frame->channel) : NULL;
    conn->last_channel = ch ? ch : conn->last_channel;
    bool ok;
    if (frame->type == FRAME_HEARTBEAT) {
        ok = frame->channel == 0 || conn->state >= CONNECTION_CLOSING ||
             fault(&f, UNEXPECTED_FRAME, "type %u, all octets = <<>>", frame->type);
    } else if (frame->type == FRAME_METHOD) {
        struct method m;
        ok = method_decode(frame->payload, &m, &f) && dispatch(conn, ch, frame->channel, &m, &f);
        if (!ok && conn->state >= CONNECTION_CLOSING)
            return true; /* rubbish after our close */
    } else {
        ok = content_frame(conn, ch, frame, &f);
    }
    if (ok)
        return true;
    if (conn->share.again) {
        conn->share.again = false;
        return false;
    }
    if (connection_is_asked(conn, frame->channel, &f))
        return frame->type != FRAME_METHOD; /* of content, the whole message waits in its channel */
    connection_fault(conn, ch, &f);
    return true;
}

/* Handles one frame, or a piece of one, from the front of `in`; 0 = more is needed. */
static size_t step(struct connection *conn, struct slice in)
{
    struct frame frame;
    struct fault f;
    size_t used = 0;
    if (conn->body_left)
        return body_take(conn, in);
    fault_init(&f);
    switch (frame_cut(in, conn->frame_max, &frame, &used, &f)) {
    case FRAME_COMPLETE:
        return handle_frame(conn, &frame) ? used : 0;
    case FRAME_NEEDS_MORE:
        return body_start(conn, in);
    case FRAME_BAD:
        connection_fail(conn, &f);
        return in.len;
    }
    panic("frame status");
}

static size_t on_bytes(struct stream *stream, struct slice in)
{
    struct connection *conn = connection_of_stream(stream);
    size_t used = 0;
    uint64_t published = conn->server->counters.published;
    unsigned effort_max = conn->server->company.effort_max;
    conn->share.effort = 0;
    expire_input(conn->server);
    conn->server->events.actor = conn;
    if (conn->state == CONNECTION_HEADER)
        used = connection_protocol_header(conn, in);
    if (conn->stream.output.pending < STREAM_LOW_WATER)
        flow_drained(conn);
    while (used < in.len && conn->state > CONNECTION_HEADER && conn->state < CONNECTION_SILENT &&
           !(conn->flow.paused & FLOW_AT_ONCE) && conn->share.effort < effort_max) {
        size_t taken = step(conn, slice_of(in.at + used, in.len - used));
        if (taken == 0)
            break;
        used += taken;
    }
    conn->server->events.actor = NULL;
    if (conn->pace.behind)
        pace_start(conn);
    if (used < in.len && conn->share.effort >= effort_max)
        stream_yield(stream);
    company_note(conn, conn->server->counters.published != published);
    return conn->state >= CONNECTION_SILENT ? in.len : used;
}
