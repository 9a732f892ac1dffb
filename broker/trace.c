/* trace.c - the firehose: copies of what is published and delivered (semantics 2.3).
 *
 * Off, it costs a look at a flag of the vhost. On, each message is copied for the trace exchange, whether
 * somebody is bound to it or not; with nobody bound it ends there. What the server itself publishes is not
 * traced, so a trace makes no trace. */
#include "broker/trace.h"

#include "protocol/props.h"
#include "protocol/table.h"

enum { TRACE_QUEUES_BYTES = 32 * 1024 }; /* of names that are told, where a message went to very many */

void trace_set(struct vhost *v, bool on)
{
    v->traced = on;
    log_line(&v->server->log, LOG_INFO, 0, "tracing of vhost '%.*s' is %s", SLICE_ARG(v->name),
             on ? "on" : "off");
}

static void put_u8(struct buf *table, const char *name, uint8_t value)
{
    table_put_int(table, name, value);
}

static void put_u64(struct buf *table, const char *name, uint64_t value)
{
    table_put_int(table, name, (int64_t)value);
}

/* Headers as deep as a table can be are left out: here they are two levels deeper. So are large ones. */
static void put_headers(struct buf *table, const char *name, struct slice headers)
{
    if (headers.len <= EVENT_TABLE_MAX && table_fits_below(headers, 2))
        table_put_table(table, name, headers);
}

/* The properties that the message has, as a table. */
static void put_props(struct buf *table, const struct props *props)
{
    struct buf all = {0};
#define sstr table_put_string
#define table put_headers
#define u8 put_u8
#define u64 put_u64
#define PROPERTY(bit, type, name)   \
    if (props->flags & PROP_##name) \
        type(&all, #name, props->name);
#include "protocol/properties.def"
#undef PROPERTY
#undef u64
#undef u8
#undef table
#undef sstr
    table_put_table(table, "properties", buf_slice(&all));
    buf_free(&all);
}

/* One longstr of an array under construction. */
static void add_string(struct buf *array, struct slice text)
{
    uint8_t head[5] = {'S', (uint8_t)(text.len >> 24), (uint8_t)(text.len >> 16), (uint8_t)(text.len >> 8),
                       (uint8_t)text.len};
    buf_append(array, head, sizeof(head));
    buf_append_slice(array, text);
}

static void add_header_keys(struct buf *array, struct slice headers, const char *name)
{
    struct field field, item;
    struct slice key;
    if (!table_find(headers, name, &field) || field.type != 'A')
        return;
    struct slice rest = field.bytes;
    while (array_next(&rest, &item))
        if (field_string(&item, &key))
            add_string(array, key);
}

/* What both kinds of trace say of the message and of who has to do with it. */
static void put_common(struct buf *headers, const struct channel *ch, const struct message *m)
{
    const struct connection *conn = ch->conn;
    struct props props;
    struct buf keys = {0};
    struct fault f;
    char node[SERVER_NODE_SIZE];
    server_node(node);
    bool good = props_decode(message_props(m), &props, &f);
    assertf(good, "properties were checked when they came: %s", f.text);
    add_string(&keys, message_key(m));
    add_header_keys(&keys, props.headers, "CC");
    table_put_string(headers, "exchange_name", message_exchange(m));
    table_put_array(headers, "routing_keys", buf_slice(&keys));
    put_props(headers, &props);
    table_put_string(headers, "node", slice_of_string(node));
    table_put_string(headers, "vhost", conn->vhost->name);
    table_put_string(headers, "connection", slice_of_string(conn->name));
    table_put_int(headers, "channel", ch->number);
    table_put_string(headers, "user", conn->user->name);
    buf_free(&keys);
}

/* Publishes "<what>.<name>", cut to what a key can be. */
static void emit(struct vhost *v, const char *what, struct slice name, const struct buf *headers,
                 const struct message *traced)
{
    struct server *s = v->server;
    struct buf key = {0}, bytes = {0};
    struct props props = {.flags = PROP_headers, .headers = buf_slice(headers)};
    buf_printf(&key, "%s.", what);
    size_t room = 255 - key.len;
    buf_append(&key, name.at, name.len < room ? name.len : room);
    props_encode(&bytes, &props);
    struct slice body = message_body(traced);
    struct message *m =
        message_new(&s->messages, SLICE(TRACE_EXCHANGE), buf_slice(&key), buf_slice(&bytes), body.len);
    if (body.len)
        memcpy(message_body_at(m), body.at, body.len);
    m->has_headers = true;
    outbox_put(v, m);
    buf_free(&key);
    buf_free(&bytes);
}

void trace_publish(struct channel *ch, const struct message *m, const struct route_set *set)
{
    struct buf headers = {0}, queues = {0};
    assert(ch->conn->vhost->traced);
    put_common(&headers, ch, m);
    for (size_t i = 0; i < set->size && queues.len < TRACE_QUEUES_BYTES; i++)
        add_string(&queues, set->queues[i]->name);
    table_put_array(&headers, "routed_queues", buf_slice(&queues));
    emit(ch->conn->vhost, "publish", message_exchange(m), &headers, m);
    buf_free(&headers);
    buf_free(&queues);
}

void trace_deliver(struct channel *ch, const struct queue *q, const struct entry *entry)
{
    struct buf headers = {0};
    assert(ch->conn->vhost->traced);
    if (slice_is(message_exchange(entry->message), TRACE_EXCHANGE))
        return; /* else each trace that is read would make another, with the first one in its headers */
    put_common(&headers, ch, entry->message);
    table_put_int(&headers, "redelivered", entry->redelivered);
    emit(ch->conn->vhost, "deliver", q->name, &headers, entry->message);
    buf_free(&headers);
}
