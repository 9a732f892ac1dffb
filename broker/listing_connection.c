/* listing_connection.c - the lists of clients: connections and channels. */
#include <inttypes.h>

#include "broker/channel.h"
#include "broker/connection_info.h"
#include "broker/json_out.h"
#include "broker/listing.h"
#include "broker/listing_pid.h"
#include "broker/tx.h"
#include "protocol/table.h"

void listing_put_pid(struct buf *out, const struct connection *conn, uint16_t channel)
{
    char node[SERVER_NODE_SIZE];
    struct buf text = {0};
    server_node(node);
    if (conn)
        buf_printf(&text, "<%s.%" PRIu64 ".%u>", node, conn->id, channel);
    json_out_text(out, buf_slice(&text));
    buf_free(&text);
}

static void put_pid(struct buf *out, const struct connection *conn)
{
    listing_put_pid(out, conn, 0);
}

static void put_channel_pid(struct buf *out, const struct channel *ch)
{
    listing_put_pid(out, ch->conn, ch->number);
}

static void put_channel_name(struct buf *out, const struct channel *ch)
{
    struct buf text = {0};
    buf_printf(&text, "%s (%u)", ch->conn->name, ch->number);
    json_out_text(out, buf_slice(&text));
    buf_free(&text);
}

static void put_connection_state(struct buf *out, const struct connection *conn)
{
    const char *state = "starting";
    if (conn->state == CONNECTION_TUNED)
        state = "tuning";
    else if (conn->state == CONNECTION_OPENING)
        state = "opening";
    else if (conn->state > CONNECTION_OPEN)
        state = conn->state == CONNECTION_CLOSED ? "closed" : "closing";
    else if (conn->state == CONNECTION_OPEN && conn->flow.paused & FLOW_ALARM)
        state = "blocked";
    else if (conn->state == CONNECTION_OPEN)
        state = conn->flow.paused ? "flow" : "running";
    json_out_string(out, state);
}

static void put_optional(struct buf *out, const char *text)
{
    json_out_string(out, text ? text : "");
}

static void put_provided_name(struct buf *out, const struct connection *conn)
{
    json_out_text(out, connection_info_name(conn->login.info));
}

#define CONNECTION(name, put, value)                                                                       \
    static void put_connections_##name(struct buf *out, const struct row *row)                             \
    {                                                                                                      \
        const struct connection *conn = row->object;                                                       \
        (void)conn;                                                                                        \
        put(out, value);                                                                                   \
    }
#define CHANNEL(name, put, value)                                                                          \
    static void put_channels_##name(struct buf *out, const struct row *row)                                \
    {                                                                                                      \
        const struct channel *ch = row->object;                                                            \
        put(out, value);                                                                                   \
    }
#include "broker/listing.def"

static const struct column connection_columns[] = {
#define CONNECTION(name, put, value) {#name, put_connections_##name},
#include "broker/listing.def"
};
static const struct column channel_columns[] = {
#define CHANNEL(name, put, value) {#name, put_channels_##name},
#include "broker/listing.def"
};

static struct connection *connection_at(struct request *r)
{
    struct walk *walk = &r->listing.walk;
    struct list *connections = &r->server->connections;
    if (!walk->at[0])
        walk->at[0] = connections->next;
    return walk->at[0] == connections ? NULL : container_of(walk->at[0], struct connection, link);
}

static enum listing_next next_connection(struct request *r, struct row *row)
{
    struct connection *conn = connection_at(r);
    row->object = conn;
    if (conn)
        r->listing.walk.at[0] = r->listing.walk.at[0]->next;
    return conn ? LISTING_ROW : LISTING_END;
}

/* The open channel with the least number above `number`, NULL when there is none. */
static struct channel *channel_above(const struct connection *conn, size_t number)
{
    struct channel *best = NULL;
    for (size_t i = 0; i < conn->channels.capacity; i++) {
        struct channel *ch = conn->channels.slots[i];
        if (ch && ch->number > number && (!best || ch->number < best->number))
            best = ch;
    }
    return best;
}

/* `position` is the number of the last channel that was listed, of the connection with the id `phase`. */
static enum listing_next next_channel(struct request *r, struct row *row)
{
    struct listing_state *state = &r->listing;
    struct slice vhost = request_text(r, "vhost");
    struct connection *conn = connection_at(r);
    if (!conn)
        return LISTING_END;
    if (state->phase != conn->id)
        state->phase = conn->id, state->position = 0;
    bool hidden = vhost.len && (!conn->vhost || !slice_equal(conn->vhost->name, vhost));
    struct channel *ch = hidden ? NULL : channel_above(conn, state->position);
    row->object = ch;
    if (ch)
        state->position = ch->number;
    else
        state->walk.at[0] = state->walk.at[0]->next;
    return ch ? LISTING_ROW : LISTING_PASSED;
}

void command_list_connections(struct request *r)
{
    static const struct listing listing = {connection_columns, array_size(connection_columns),
                                           "user peer_host peer_port state", false, next_connection};
    listing_start(r, &listing);
}

void command_list_channels(struct request *r)
{
    static const struct listing listing = {channel_columns, array_size(channel_columns),
                                           "pid user consumer_count messages_unacknowledged", false,
                                           next_channel};
    listing_start(r, &listing);
}
