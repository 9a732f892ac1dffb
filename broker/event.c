/* event.c - the event exchange (semantics 2.3; RabbitMQ's plugin rabbitmq_event_exchange, whose keys and
 * header names these are).
 *
 * What RabbitMQ writes as Erlang terms is a table or plain text here: arguments, addresses, protocol. Events
 * go through the vhost's outbox, so that they may be told of in the midst of a deletion. */
#include "broker/event.h"

#include <stdio.h>

#include "auth/limits.h"
#include "broker/channel.h"
#include "broker/connection_info.h"
#include "broker/json_in.h"
#include "broker/term.h"
#include "protocol/props.h"
#include "protocol/table.h"

enum { PID_SIZE = SERVER_NODE_SIZE + 48 };

static const struct exchange *exchange_of(const struct server *s)
{
    return s->events.vhost ? vhost_find_exchange(s->events.vhost, SLICE(EVENT_EXCHANGE)) : NULL;
}

bool event_wanted(const struct server *s)
{
    const struct exchange *x = exchange_of(s);
    return x && x->binding_count > 0;
}

/* A client's arguments may be as deep as a table can be, or large: then they are left out. */
static void put_arguments(struct buf *headers, const char *name, struct slice table)
{
    bool fits = table.len <= EVENT_TABLE_MAX && table_fits_below(table, 1);
    table_put_table(headers, name, fits ? table : SLICE(""));
}

static void put_field(struct buf *headers, const struct event_field *field)
{
    switch (field->type) {
    case 0: break;
    case 'S': table_put_string(headers, field->name, field->text); break;
    case 'l': table_put_int(headers, field->name, field->number); break;
    case 't': table_put_bool(headers, field->name, field->number != 0); break;
    case 'F': put_arguments(headers, field->name, field->text); break;
    case 'A': table_put_array(headers, field->name, field->text); break;
    default: panic("event field of type %c", field->type);
    }
}

void event_emit(struct server *s, const char *key, const struct event_field *fields, size_t count)
{
    struct events *events = &s->events;
    if (!event_wanted(s))
        return;
    uint64_t now_ms = clock_wall_ms(&s->clock);
    const struct connection *actor = events->actor;
    events->headers.len = events->props.len = 0;
    for (size_t i = 0; i < count; i++)
        put_field(&events->headers, &fields[i]);
    table_put_int(&events->headers, "timestamp_in_ms", (int64_t)now_ms);
    table_put_string(&events->headers, "user_who_performed_action",
                     actor && actor->user ? actor->user->name
                     : events->by_ctl     ? SLICE("rmq-cli")
                                          : SLICE("rmq-internal"));
    struct props props = {.flags = PROP_headers | PROP_delivery_mode | PROP_timestamp,
                          .headers = buf_slice(&events->headers),
                          .delivery_mode = 2,
                          .timestamp = now_ms / 1000};
    props_encode(&events->props, &props);
    struct message *m = message_new(&s->messages, SLICE(EVENT_EXCHANGE), slice_of_string(key),
                                    buf_slice(&events->props), 0);
    m->persistent = m->has_headers = true;
    outbox_put(events->vhost, m);
}

void event_free(struct events *events)
{
    buf_free(&events->headers);
    buf_free(&events->props);
}

/* "<leveret@host.7.1>": a connection, or a channel of it, as the events name it. */
static struct slice write_pid(char pid[PID_SIZE], const struct connection *conn, unsigned channel)
{
    char node[SERVER_NODE_SIZE];
    server_node(node);
    int len = snprintf(pid, PID_SIZE, "<%s.%llu.%u>", node, (unsigned long long)conn->id, channel);
    assert(len > 0 && len < PID_SIZE);
    return slice_of(pid, (size_t)len);
}

static bool is_creation(const char *key)
{
    size_t len = strlen(key);
    return len > 8 && strcmp(key + len - 8, ".created") == 0;
}

/* An array, also of what RabbitMQ 3.10's rabbitmqctl wrote as one text. */
static void put_vhost_tags(const json_t *metadata, struct buf *items)
{
    const json_t *tags = json_object_get(metadata, "tags"), *tag;
    struct slice text = SLICE(""), one;
    size_t i;
    if (json_in_text(metadata, "tags", &text))
        while (tags_next(&text, &one))
            array_put_string(items, one);
    json_array_foreach(tags, i, tag)
        if (json_is_string(tag))
            array_put_string(items, slice_of(json_string_value(tag), json_string_length(tag)));
}

void event_vhost(const struct vhost *v, const char *key)
{
    char node[SERVER_NODE_SIZE], error[64];
    struct buf table = {0}, tags = {0}, state = {0};
    struct slice description = SLICE(""), type = v->default_queue_type;
    const char *reason = NULL;
    if (!event_wanted(v->server))
        return;
    json_t *metadata = v->metadata.len ? json_in_parse(v->metadata, error, sizeof(error)) : NULL;
    if (!json_in_table(metadata, &table, &reason))
        table.len = 0;
    json_in_text(metadata, "description", &description);
    put_vhost_tags(metadata, &tags);
    server_node(node);
    table_put_string(&state, node, SLICE("running"));
    event(v->server, key, EVENT_TEXT("name", v->name), EVENT_TEXT("description", description),
          EVENT_ARRAY("tags", buf_slice(&tags)),
          EVENT_TEXT("default_queue_type", type.len ? type : SLICE("undefined")),
          EVENT_TABLE("metadata", buf_slice(&table)), EVENT_FLAG("tracing", v->traced),
          EVENT_TABLE("cluster_state", buf_slice(&state)));
    json_decref(metadata);
    buf_free(&table);
    buf_free(&tags);
    buf_free(&state);
}

/* RabbitMQ stops a vhost's processes after it was deleted, and says that it did so itself. */
void event_vhost_down(const struct vhost *v)
{
    struct events *events = &v->server->events;
    struct events before = *events;
    char node[SERVER_NODE_SIZE];
    server_node(node);
    events->actor = NULL;
    events->by_ctl = false;
    event(v->server, "vhost.down", EVENT_TEXT("name", v->name), EVENT_TEXT("node", slice_of_string(node)));
    events->actor = before.actor;
    events->by_ctl = before.by_ctl;
}

void event_exchange(struct vhost *v, const struct exchange *x, const char *key)
{
    if (!is_creation(key))
        event(v->server, key, EVENT_TEXT("name", x->name), EVENT_TEXT("vhost", v->name));
    else
        event(v->server, key, EVENT_TEXT("name", x->name), EVENT_TEXT("vhost", v->name),
              EVENT_TEXT("type", slice_of_string(x->type->name)), EVENT_FLAG("durable", x->durable),
              EVENT_FLAG("auto_delete", x->auto_delete), EVENT_FLAG("internal", x->internal),
              EVENT_TABLE("arguments", x->args), EVENT_TEXT("policy", SLICE("")));
}

void event_queue(struct vhost *v, const struct queue *q, const char *key)
{
    char pid[PID_SIZE];
    const struct connection *owner = q->owner.connection;
    if (!event_wanted(v->server))
        return;
    if (!is_creation(key))
        event(v->server, key, EVENT_TEXT("name", q->name), EVENT_TEXT("vhost", v->name));
    else
        event(v->server, key, EVENT_TEXT("name", q->name), EVENT_TEXT("vhost", v->name),
              EVENT_FLAG("durable", q->durable), EVENT_FLAG("auto_delete", q->auto_delete),
              EVENT_FLAG("exclusive", owner != NULL),
              EVENT_TEXT("owner_pid", owner ? write_pid(pid, owner, 0) : SLICE("")),
              EVENT_TABLE("arguments", q->args));
}

void event_binding(struct vhost *v, const struct binding *binding, const char *key)
{
    bool to_queue = binding->dest->kind == DEST_QUEUE;
    event(v->server, key, EVENT_TEXT("source_name", binding->source->name),
          EVENT_TEXT("source_kind", SLICE("exchange")), EVENT_TEXT("destination_name", binding->dest->name),
          EVENT_TEXT("destination_kind", to_queue ? SLICE("queue") : SLICE("exchange")),
          EVENT_TEXT("routing_key", binding->key), EVENT_TABLE("arguments", binding->args),
          EVENT_TEXT("vhost", v->name));
}

/* What the client called itself, if it did. */
static struct event_field provided_name(const struct connection_info *info)
{
    struct field field;
    struct slice name;
    if (!table_find(info->properties, "connection_name", &field) || !field_string(&field, &name))
        return (struct event_field){0};
    return EVENT_TEXT("user_provided_name", name);
}

static void tell_connected(struct connection *conn, struct slice pid, struct slice node, struct slice terms)
{
    const struct connection_info *info = conn->login.info;
    const struct peer *peer = conn->peer;
    assert(conn->user && conn->vhost);
    event(conn->server, "connection.created", EVENT_TEXT("name", slice_of_string(conn->name)),
          EVENT_TEXT("pid", pid), EVENT_TEXT("node", node), EVENT_TEXT("type", SLICE("network")),
          EVENT_TEXT("protocol", SLICE("AMQP 0-9-1")), EVENT_TEXT("user", conn->user->name),
          EVENT_TEXT("vhost", conn->vhost->name), EVENT_TEXT("peer_host", slice_of_string(peer->peer_host)),
          EVENT_NUMBER("peer_port", peer->peer_port), EVENT_TEXT("host", slice_of_string(peer->host)),
          EVENT_NUMBER("port", peer->port), EVENT_NUMBER("channel_max", conn->channel_max),
          EVENT_NUMBER("frame_max", conn->frame_max), EVENT_NUMBER("timeout", conn->heartbeat.interval_s),
          EVENT_NUMBER("connected_at", info->connected_at_ms), EVENT_ARRAY("client_properties", terms),
          EVENT_TEXT("auth_mechanism", info->mechanism), provided_name(info));
}

void event_connection(struct connection *conn, const char *key)
{
    struct server *s = conn->server;
    char pid[PID_SIZE], node[SERVER_NODE_SIZE];
    const struct connection_info *info = conn->login.info;
    struct buf terms = {0};
    if (!event_wanted(s))
        return;
    assert(info);
    server_node(node);
    term_put_fields(&terms, info->properties);
    if (terms.len > EVENT_TABLE_MAX) /* with a large initial_frame_max */
        terms.len = 0;
    if (is_creation(key))
        tell_connected(conn, write_pid(pid, conn, 0), slice_of_string(node), buf_slice(&terms));
    else
        event(s, key, EVENT_TEXT("name", slice_of_string(conn->name)),
              EVENT_TEXT("pid", write_pid(pid, conn, 0)), EVENT_TEXT("node", slice_of_string(node)),
              EVENT_ARRAY("client_properties", buf_slice(&terms)),
              provided_name(info));
    buf_free(&terms);
}

void event_channel(struct channel *ch, const char *key)
{
    struct connection *conn = ch->conn;
    char pid[PID_SIZE], of[PID_SIZE];
    if (!event_wanted(conn->server))
        return;
    if (!is_creation(key)) {
        event(conn->server, key, EVENT_TEXT("pid", write_pid(pid, conn, ch->number)),
              EVENT_NUMBER("number", ch->number));
        return;
    }
    event(conn->server, key, EVENT_TEXT("pid", write_pid(pid, conn, ch->number)),
          EVENT_TEXT("connection", write_pid(of, conn, 0)), EVENT_NUMBER("number", ch->number),
          EVENT_TEXT("user", conn->user->name), EVENT_TEXT("vhost", conn->vhost->name));
}

void event_consumer(const struct consumer *c, const char *key)
{
    const struct subscription *sub = container_of((void *)(uintptr_t)c, struct subscription, consumer);
    struct connection *conn = sub->channel->conn;
    char pid[PID_SIZE];
    if (!event_wanted(conn->server))
        return;
    assert(c->queue);
    struct slice channel = write_pid(pid, conn, sub->channel->number);
    if (!is_creation(key))
        event(conn->server, key, EVENT_TEXT("consumer_tag", sub->tag), EVENT_TEXT("queue", c->queue->name),
              EVENT_TEXT("channel", channel), EVENT_TEXT("vhost", conn->vhost->name));
    else
        event(conn->server, key, EVENT_TEXT("consumer_tag", sub->tag), EVENT_TEXT("queue", c->queue->name),
              EVENT_TEXT("channel", channel), EVENT_TEXT("vhost", conn->vhost->name),
              EVENT_FLAG("ack_required", !c->no_ack), EVENT_FLAG("exclusive", c->exclusive),
              EVENT_NUMBER("prefetch_count", c->prefetch));
}

void event_login(struct connection *conn, struct slice name, struct slice mechanism, const char *why)
{
    const struct peer *peer = conn->peer;
    event(conn->server, why ? "user.authentication.failure" : "user.authentication.success",
          EVENT_TEXT("name", name), EVENT_TEXT("auth_mechanism", mechanism),
          EVENT_TEXT("connection_name", slice_of_string(conn->name)),
          EVENT_TEXT("connection_type", SLICE("network")), EVENT_TEXT("protocol", SLICE("AMQP 0-9-1")),
          EVENT_TEXT("peer_host", slice_of_string(peer->peer_host)),
          EVENT_NUMBER("peer_port", peer->peer_port), EVENT_TEXT("host", slice_of_string(peer->host)),
          EVENT_TEXT("error", why ? slice_of_string(why) : SLICE("")));
}

void event_alarm(struct server *s, const char *source, bool on)
{
    char node[SERVER_NODE_SIZE];
    server_node(node);
    event(s, on ? "alarm.set" : "alarm.cleared", EVENT_TEXT("source", slice_of_string(source)),
          EVENT_TEXT("node", slice_of_string(node)));
}

static struct event_field limit_field(const char *name, uint64_t max)
{
    return (struct event_field){name, max == UNLIMITED ? 0 : 'l', {0}, (int64_t)max};
}

void event_limits(struct server *s, const char *what, const struct event_field *owner,
                  const struct limits *limits)
{
    char key[32];
    snprintf(key, sizeof(key), "%s.%s", what, limits_are_set(limits) ? "set" : "cleared");
    event(s, key, EVENT_TEXT("name", SLICE("limits")), *owner,
          limit_field("max-connections", limits->max[LIMIT_CONNECTIONS]),
          limit_field("max-channels", limits->max[LIMIT_CHANNELS]),
          limit_field("max-queues", limits->max[LIMIT_QUEUES]));
}
