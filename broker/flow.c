/* flow.c - when a connection is not read, and how many bytes it may make the server hold.
 *
 * Owner: the connection that embeds it. Invariants: the stream is paused iff there is a reason; `parked`
 * has consumers only while `unacked` is above three quarters of its limit. */
#include "broker/flow.h"

#include "broker/connection.h"

static const struct config *config_of(struct flow *flow)
{
    return container_of(flow, struct connection, flow)->server->config;
}

void flow_init(struct flow *flow)
{
    list_init(&flow->parked);
}

void flow_pause(struct connection *conn, enum flow_reason reason)
{
    if (conn->state >= CONNECTION_CLOSING)
        return;
    conn->flow.paused |= reason;
    stream_pause(&conn->stream);
}

void flow_resume(struct connection *conn, enum flow_reason reason)
{
    struct flow *flow = &conn->flow;
    if (!(flow->paused & reason))
        return;
    flow->paused &= ~(unsigned)reason;
    if (!flow->paused)
        stream_resume(&conn->stream);
}

void flow_end(struct connection *conn)
{
    struct flow *flow = &conn->flow;
    alarm_forget(conn);
    list_unlink(&flow->throttled);
    flow->paused = 0;
    flow->replied = 0; /* a connection.close is to follow, and to be answered */
    stream_resume(&conn->stream);
}

/* --- answers --- */

void flow_replied(struct connection *conn, uint64_t bytes)
{
    struct flow *flow = &conn->flow;
    flow->replied += bytes;
    if (flow->replied <= FLOW_REPLIES_MAX)
        return;
    size_t pending = conn->stream.output.pending;
    static_assert((size_t)FLOW_REPLIES_MAX >= (size_t)STREAM_HIGH_WATER, "else `drained` may never come");
    if (pending < STREAM_LOW_WATER)
        flow->replied = 0;
    else if (pending > FLOW_REPLIES_MAX)
        flow_pause(conn, FLOW_OUTPUT);
}

void flow_drained(struct connection *conn)
{
    conn->flow.replied = 0;
    flow_resume(conn, FLOW_OUTPUT);
}

/* --- messages that are not complete --- */

/* 506: "a client creating too many of some type of entity", says the specification; and what is too much is
 * the sum of the connection's channels, so that no single one is to blame and closing one would cure
 * nothing. */
bool flow_hold_more(struct flow *flow, uint64_t bytes, struct fault *f)
{
    uint64_t max = 2 * config_of(flow)->max_message_size;
    if (max < FLOW_HELD_MIN)
        max = FLOW_HELD_MIN;
    if (flow->held <= max)
        return true;
    flow->held -= bytes;
    return fault(f, RESOURCE_ERROR,
                 "messages that this connection has begun or not committed take more than %llu bytes",
                 (unsigned long long)max);
}

/* --- messages that wait for an ack --- */

bool flow_is_full(const struct connection *conn)
{
    uint64_t max = conn->server->config->connection_unacked_max;
    return max > 0 && conn->flow.unacked >= max;
}

/* All at once, and not at the first ack: so each of many consumers is set aside once for many acks. */
void flow_unpark(struct flow *flow)
{
    uint64_t max = config_of(flow)->connection_unacked_max;
    if (flow->unacked > max - max / 4)
        return;
    while (!list_empty(&flow->parked))
        consumer_unpark(list_first(&flow->parked, struct consumer, place));
}
