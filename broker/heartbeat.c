/* heartbeat.c - heartbeats both ways (specification, section 4.2.7; RabbitMQ's heartbeats page): a frame
 * when nothing was sent for half the interval; a peer that is silent for two to three intervals is gone. */
#include "broker/connection.h"

/* Half intervals of silence until the peer is taken for dead. */
enum { SILENT_TICKS_MAX = 5 };

/* Output that waits for the disk may do so for long when that is full: the heartbeat passes it. */
static void send_heartbeat(struct connection *conn)
{
    uint8_t frame[FRAME_OVERHEAD];
    *frame_write_head(frame, FRAME_HEARTBEAT, 0, 0) = FRAME_END;
    struct slice bytes = slice_of(frame, sizeof(frame));
    if (conn->stream.output.pending == 0)
        stream_write(&conn->stream, bytes);
    else
        stream_pass(&conn->stream, bytes);
}

static void schedule(struct connection *conn)
{
    struct server *s = conn->server;
    timer_set(&s->timers, &conn->timer, server_now_ms(s) + conn->heartbeat.interval_s * 500u);
}

/* It was heard, or is not read for reasons of ours. One that is not read because it does not read our answers
 * cannot be heard: it gives a sign while it takes some of them, if they do not wait for the disk. */
static bool gives_a_sign(const struct connection *conn)
{
    const struct stream *stream = &conn->stream;
    if (stream->received != conn->heartbeat.received)
        return true;
    if (conn->flow.paused != FLOW_OUTPUT)
        return stream->paused;
    return stream->sent != conn->heartbeat.sent || stream->sent == stream->limit;
}

static void tick(struct timer *timer)
{
    struct connection *conn = container_of(timer, struct connection, timer);
    struct heartbeat *h = &conn->heartbeat;
    if (gives_a_sign(conn)) {
        h->received = conn->stream.received;
        h->silent_ticks = 0;
    } else if (++h->silent_ticks >= SILENT_TICKS_MAX) {
        chatter_line(conn->server, conn->peer->peer_host, LOG_ERROR, conn->id,
                 "closing AMQP connection (%s): missed heartbeats from client, timeout: %us",
                 conn->name, h->interval_s);
        connection_release(conn);
        conn->state = CONNECTION_CLOSED;
        stream_abort(&conn->stream, 0);
        return;
    }
    if (conn->stream.sent == h->sent)
        send_heartbeat(conn);
    if (conn->stream.state == STREAM_CLOSED)
        return;
    h->sent = conn->stream.sent;
    schedule(conn);
}

void connection_start_heartbeat(struct connection *conn)
{
    timer_clear(&conn->server->timers, &conn->timer);
    if (conn->heartbeat.interval_s == 0)
        return;
    conn->timer.fire = tick;
    schedule(conn);
}
