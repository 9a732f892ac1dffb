/* client.c - one end of a simulated connection. */
#include "tests/sim/client.h"

#include "broker/connection.h"
#include "protocol/props.h"
#include "protocol/table.h"

enum { METHOD_ROOM = 4096, READ_SIZE = 16 * 1024 };

void client_init(struct client *client, struct world *world, const struct client_events *events,
                 void *arg)
{
    *client = (struct client){.world = world, .events = events, .arg = arg};
}

static void clear(struct client *client)
{
    buf_free(&client->out);
    buf_free(&client->in);
    for (int i = 0; i < CLIENT_CHANNELS; i++) {
        struct client_inbox *inbox = &client->inboxes[i];
        buf_free(&inbox->method);
        buf_free(&inbox->header);
        buf_free(&inbox->body);
        *inbox = (struct client_inbox){0};
    }
}

void client_free(struct client *client)
{
    assert(client->link == NULL);
    clear(client);
}

void client_connect(struct client *client)
{
    struct world *world = client->world;
    struct peer peer = {
        .host = "127.0.0.1", .peer_host = "127.0.0.1", .port = 5672, .loopback = true};
    assert(client->state == CLIENT_OFF && world->up);
    client->link = fakenet_connect(world->net);
    struct connection *conn =
        server_accept(&world->server, &fakenet_transport, client->link, &peer);
    fakenet_attach(client->link, &conn->stream);
    client->server_id = conn->id;
    client->state = CLIENT_HANDSHAKE;
    client->encoded = 0;
    client->frame_max = world_chance(world, 2) ? 4096 : 4096 + (uint32_t)world_pick(world, 126976);
    client->heartbeat_s = world_chance(world, 8) ? 1 : 0;
    client->deaf = 0;
    client_raw(client, "AMQP\0\0\x09\x01", 8);
}

/* --- out --- */

void client_raw(struct client *client, const void *bytes, size_t size)
{
    if (client->state == CLIENT_OFF || client->state == CLIENT_ENDED)
        return;
    buf_append(&client->out, bytes, size);
    client->encoded += size;
}

static void send_frame(struct client *client, enum frame_type type, uint16_t channel,
                       struct slice payload)
{
    uint8_t head[FRAME_HEAD_SIZE], end = FRAME_END;
    frame_write_head(head, type, channel, (uint32_t)payload.len);
    client_raw(client, head, sizeof(head));
    client_raw(client, payload.at, payload.len);
    client_raw(client, &end, 1);
}

void client_send(struct client *client, uint16_t channel, const struct method *m)
{
    uint8_t room[METHOD_ROOM];
    struct writer w = writer_of(room, sizeof(room));
    method_encode(&w, m);
    assert(!w.bad);
    send_frame(client, FRAME_METHOD, channel, slice_of(room, (size_t)(w.at - room)));
}

void client_publish(struct client *client, uint16_t channel, const struct method *m,
                    const struct content *content)
{
    uint8_t room[METHOD_ROOM];
    struct writer w = writer_of(room, sizeof(room));
    write_u16(&w, METHOD_basic_publish >> 16);
    write_u16(&w, 0);
    write_u64(&w, content->body.len);
    write_bytes(&w, content->props);
    assert(!w.bad);
    client_send(client, channel, m);
    send_frame(client, FRAME_HEADER, channel, slice_of(room, (size_t)(w.at - room)));
    size_t most = client->frame_max - FRAME_OVERHEAD;
    for (size_t at = 0; at < content->body.len;) {
        size_t piece = content->body.len - at < most ? content->body.len - at : most;
        if (world_chance(client->world, 8))
            piece = 1 + (size_t)world_pick(client->world, piece);
        send_frame(client, FRAME_BODY, channel, slice_of(content->body.at + at, piece));
        at += piece;
    }
}

/* --- in --- */

static void send_start_ok(struct client *client)
{
    struct buf capabilities = {0}, properties = {0};
    table_put_bool(&capabilities, "consumer_cancel_notify", true);
    table_put_bool(&capabilities, "authentication_failure_close", true);
    table_put_table(&properties, "capabilities", buf_slice(&capabilities));
    struct method m = {.id = METHOD_connection_start_ok};
    m.connection_start_ok.client_properties = buf_slice(&properties);
    m.connection_start_ok.mechanism = SLICE("PLAIN");
    m.connection_start_ok.response = SLICE("\0guest\0guest");
    m.connection_start_ok.locale = SLICE("en_US");
    client_send(client, 0, &m);
    buf_free(&capabilities);
    buf_free(&properties);
}

static void send_tune_ok(struct client *client)
{
    struct method m = {.id = METHOD_connection_tune_ok};
    m.connection_tune_ok.channel_max = 2047;
    m.connection_tune_ok.frame_max = client->frame_max;
    m.connection_tune_ok.heartbeat = client->heartbeat_s;
    client_send(client, 0, &m);
    m = (struct method){.id = METHOD_connection_open};
    m.connection_open.virtual_host = SLICE("/");
    client_send(client, 0, &m);
}

static void on_method(struct client *client, uint16_t channel, const struct method *m)
{
    if (client->state == CLIENT_HANDSHAKE && m->id == METHOD_connection_start) {
        send_start_ok(client);
    } else if (client->state == CLIENT_HANDSHAKE && m->id == METHOD_connection_tune) {
        send_tune_ok(client);
    } else {
        if (m->id == METHOD_connection_open_ok)
            client->state = CLIENT_OPEN;
        client->events->method(client->arg, channel, m, NULL);
    }
}

static void finish_content(struct client *client, uint16_t channel)
{
    struct client_inbox *inbox = &client->inboxes[channel];
    struct method m;
    struct fault f;
    struct content_header header;
    bool good = method_decode(buf_slice(&inbox->method), &m, &f) &&
                content_header_decode(buf_slice(&inbox->header), &header);
    assert(good);
    inbox->state = INBOX_IDLE;
    struct content content = {header.props, buf_slice(&inbox->body)};
    client->events->method(client->arg, channel, &m, &content);
}

static void keep(struct buf *buf, struct slice payload)
{
    buf->len = 0;
    buf_append_slice(buf, payload);
}

static void on_method_frame(struct client *client, const struct frame *frame)
{
    struct method m;
    struct fault f;
    struct client_inbox *inbox = &client->inboxes[frame->channel];
    bool good = method_decode(frame->payload, &m, &f);
    assertf(good, "the server sent what cannot be read: %s", f.text);
    assertf(inbox->state == INBOX_IDLE, "%s inside content", method_name(m.id));
    if (!method_has_content(m.id)) {
        on_method(client, frame->channel, &m);
        return;
    }
    keep(&inbox->method, frame->payload);
    inbox->state = INBOX_HEADER;
}

static void on_content_frame(struct client *client, const struct frame *frame)
{
    struct client_inbox *inbox = &client->inboxes[frame->channel];
    struct content_header header;
    if (frame->type == FRAME_HEADER) {
        bool good = inbox->state == INBOX_HEADER && content_header_decode(frame->payload, &header);
        assertf(good, "a header that was not expected");
        keep(&inbox->header, frame->payload);
        inbox->body.len = 0;
        inbox->left = header.body_size;
        inbox->state = INBOX_BODY;
    } else {
        assert(frame->type == FRAME_BODY && inbox->state == INBOX_BODY);
        assert(frame->payload.len > 0 && frame->payload.len <= inbox->left);
        buf_append_slice(&inbox->body, frame->payload);
        inbox->left -= frame->payload.len;
    }
    if (inbox->left == 0)
        finish_content(client, frame->channel);
}

/* Frames of what has come; an event may drop the connection. */
static void cut_frames(struct client *client)
{
    size_t done = 0;
    while (client->state == CLIENT_HANDSHAKE || client->state == CLIENT_OPEN) {
        struct frame frame;
        struct fault f;
        size_t used = 0;
        struct slice in = slice_of(client->in.at + done, client->in.len - done);
        uint32_t most = client->state == CLIENT_OPEN ? client->frame_max : 8192;
        enum frame_status status =
            in.len ? frame_cut(in, most, &frame, &used, &f) : FRAME_NEEDS_MORE;
        assertf(status != FRAME_BAD, "the server sent a bad frame: %s", f.text);
        if (status == FRAME_NEEDS_MORE)
            break;
        assertf(frame.channel < CLIENT_CHANNELS, "channel %u", frame.channel);
        assert(used <= client->frame_max || client->state == CLIENT_HANDSHAKE);
        if (frame.type == FRAME_METHOD)
            on_method_frame(client, &frame);
        else if (frame.type != FRAME_HEARTBEAT)
            on_content_frame(client, &frame);
        done += used;
    }
    if (client->link)
        buf_consume(&client->in, done);
}

static void end(struct client *client)
{
    if (client->state == CLIENT_ENDED)
        return;
    client->state = CLIENT_ENDED;
    fakenet_client_close(&client->link);
    client->events->ended(client->arg);
}

void client_turn(struct client *client)
{
    if (!client->link)
        return;
    if (client->out.len) {
        size_t part = client->out.len;
        if (world_chance(client->world, 3))
            part = 1 + (size_t)world_pick(client->world, part);
        size_t put = fakenet_client_write(client->link, client->out.at, part);
        buf_consume(&client->out, put);
    }
    if (client->deaf > 0) {
        client->deaf--;
        return;
    }
    uint8_t *room = buf_reserve(&client->in, READ_SIZE);
    client->in.len +=
        fakenet_client_read(client->link, room, 1 + (size_t)world_pick(client->world, READ_SIZE));
    cut_frames(client);
    if (client->link && fakenet_client_at_end(client->link))
        end(client);
    if (client->heartbeat_s && client->state == CLIENT_OPEN && world_chance(client->world, 16))
        client_raw(client, "\x08\0\0\0\0\0\0\xCE", 8);
}

void client_drop(struct client *client, bool reset)
{
    if (!client->link)
        return;
    if (reset)
        fakenet_client_reset(client->link);
    end(client);
}

void client_forget(struct client *client)
{
    assert(client->state == CLIENT_ENDED && client->link == NULL);
    clear(client);
    client->state = CLIENT_OFF;
    client->server_id = 0;
}

/* --- the other end --- */

struct connection *client_peer(const struct client *client)
{
    return client->server_id ? world_connection(client->world, client->server_id) : NULL;
}

uint64_t client_consumed(const struct client *client)
{
    const struct connection *conn = client_peer(client);
    return conn ? conn->stream.received - conn->stream.tail_size : 0;
}
