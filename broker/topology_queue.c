/* topology_queue.c - queue.declare, delete, purge, bind and unbind (semantics 1.4). */
#include "broker/arguments.h"
#include "broker/bounds.h"
#include "broker/expire.h"
#include "broker/history.h"
#include "broker/reply.h"
#include "broker/topology.h"
#include "protocol/table.h"

struct slice topology_clean_name(struct slice name, uint8_t *clean)
{
    size_t len = 0;
    assert(name.len <= 255);
    for (size_t i = 0; i < name.len; i++)
        if (name.at[i] != '\r' && name.at[i] != '\n')
            clean[len++] = name.at[i];
    return slice_of(clean, len);
}

void topology_send(struct channel *ch, const struct method *m)
{
    struct server *s = channel_server(ch);
    if (s->defined_batch > s->durable_seen)
        connection_bar(ch->conn, s->defined_batch);
    channel_send(ch, m);
}

void topology_answer(struct channel *ch, uint32_t method_id)
{
    topology_send(ch, &(struct method){.id = method_id});
}

static void remember_name(struct channel *ch, struct slice name)
{
    struct slice copy = slice_copy(name);
    slice_free(&ch->last_queue);
    ch->last_queue = copy;
}

/* The type that a queue declared without one is given: the vhost's default, else the server's; "" when that
 * is classic anyway, or not what this queue can be (semantics 2.2, default queue type). */
static struct slice default_type(const struct channel *ch, const struct amqp_queue_declare *declare)
{
    const struct vhost *v = ch->conn->vhost;
    struct slice type = slice_of_string(channel_server(ch)->config->queues.default_type);
    bool lasting = declare->durable && !declare->exclusive && !declare->auto_delete && declare->queue.len;
    if (v->default_queue_type.len)
        return lasting || slice_is(v->default_queue_type, "classic") ? v->default_queue_type : SLICE("");
    return lasting && !slice_is(type, "classic") ? type : SLICE("");
}

static bool compare(const struct queue *q, const struct amqp_queue_declare *declare,
                    const struct resource *what, struct fault *f)
{
    bool durable = declare->durable && !declare->exclusive;
    return arguments_compare_flag("durable", durable, q->durable, what, f) &&
           arguments_compare_flag("auto_delete", declare->auto_delete, q->auto_delete, what, f) &&
           arguments_compare_queue(declare->arguments, q->args, what, f);
}

/* 405 also when the exclusive property alone differs (K40). */
static bool check_same_owner(struct channel *ch, const struct queue *q, bool exclusive,
                             struct fault *f)
{
    if (q->owner.connection == (exclusive ? ch->conn : NULL))
        return true;
    return fault(f, RESOURCE_LOCKED,
                 "cannot obtain exclusive access to locked queue '%.*s' in vhost '%.*s'. It could be "
                 "originally declared on another connection or the exclusive property value does not "
                 "match that of the original declaration.",
                 SLICE_ARG(q->name), SLICE_ARG(ch->conn->vhost->name));
}

/* A new queue that dead-letters needs the right to read it and to write there (K111). */
static bool check_dead_letter(struct channel *ch, struct slice name, struct slice args,
                              struct fault *f)
{
    struct field field;
    struct slice exchange;
    if (!table_find(args, "x-dead-letter-exchange", &field) || !field_string(&field, &exchange))
        return true;
    return channel_permits(ch, ACCESS_READ, name, "queue", f) &&
           channel_permits(ch, ACCESS_WRITE, exchange, "exchange", f);
}

/* What a quorum queue cannot be (K107), in RabbitMQ's words. */
static bool check_quorum(const struct amqp_queue_declare *declare, const struct resource *what,
                         struct fault *f)
{
    const char *property = NULL;
    if (kind_of_args(declare->arguments).type != KIND_QUORUM)
        return true;
    if (declare->exclusive)
        property = "exclusive-owner";
    else if (!declare->durable)
        property = "non-durable";
    else if (declare->auto_delete)
        property = "auto-delete";
    if (property)
        return fault(f, PRECONDITION_FAILED, "invalid property '%s' for " RESOURCE_FORMAT, property,
                     RESOURCE_ARG(what));
    if (declare->queue.len == 0)
        return fault(f, PRECONDITION_FAILED,
                     "Cannot declare a server-named queue for type rabbit_quorum_queue");
    return true;
}

static struct queue *create(struct channel *ch, struct slice name,
                            const struct amqp_queue_declare *declare, struct fault *f)
{
    struct connection *conn = ch->conn;
    struct resource what = {"queue", name, conn->vhost->name};
    if (declare->queue.len && slice_starts_with(name, "amq.")) {
        fault(f, ACCESS_REFUSED, "queue name '%.*s' contains reserved prefix 'amq.*'",
              SLICE_ARG(name));
        return NULL;
    }
    if (limits_reached(&conn->vhost->limits, LIMIT_QUEUES, conn->vhost->queues.size)) {
        fault(f, PRECONDITION_FAILED,
              "cannot declare queue '%.*s': queue limit in vhost '%.*s' (%llu) is reached",
              SLICE_ARG(name), SLICE_ARG(conn->vhost->name),
              (unsigned long long)conn->vhost->limits.max[LIMIT_QUEUES]);
        return NULL;
    }
    if (!bounds_permit_named(conn->server, &what, f) ||
        !arguments_check_queue(declare->arguments, &what, f) || !check_quorum(declare, &what, f) ||
        !check_dead_letter(ch, name, declare->arguments, f))
        return NULL;
    const char *idle = arguments_without_effect(declare->arguments);
    if (idle)
        chatter_line(conn->server, conn->peer->peer_host, LOG_WARNING, conn->id,
                     RESOURCE_FORMAT ": argument '%s' is kept, but this version does not act on it",
                     RESOURCE_ARG(&what), idle);
    struct queue_properties properties = {
        .args = declare->arguments,
        .durable = declare->durable,
        .auto_delete = declare->auto_delete,
        .exclusive_owner = declare->exclusive ? conn : NULL,
    };
    struct queue *q = vhost_add_queue(conn->vhost, name, &properties, true);
    if (declare->exclusive)
        list_push_back(&conn->exclusive_queues, &q->owner.link);
    return q;
}

/* The queue after an active declaration, NULL and *f set when it is refused. */
static struct queue *declare_active(struct channel *ch, struct slice name,
                                    const struct amqp_queue_declare *declare, struct fault *f)
{
    struct vhost *v = ch->conn->vhost;
    struct resource what = {"queue", name, v->name};
    struct amqp_queue_declare full = *declare;
    struct buf args = {0};
    struct field field;
    if (!channel_permits(ch, ACCESS_CONFIGURE, name, "queue", f))
        return NULL;
    struct queue *q = vhost_find_queue(v, name);
    struct slice type = default_type(ch, declare);
    if (type.len && !table_find(declare->arguments, "x-queue-type", &field)) {
        /* A default never makes a difference to a queue that is there. */
        buf_append_slice(&args, declare->arguments);
        if (!q || table_find(q->args, "x-queue-type", &field))
            table_put_string(&args, "x-queue-type", q ? slice_of_string(kind_type_name(q->kind.type)) : type);
        full.arguments = buf_slice(&args);
    }
    if (!q)
        q = create(ch, name, &full, f);
    else if (!check_same_owner(ch, q, declare->exclusive, f) || !compare(q, &full, &what, f))
        q = NULL;
    else
        expire_used(v->server, q);
    buf_free(&args);
    return q;
}

/* A new name, or the one that a backend was asked about. */
static void generate_name(struct channel *ch, char generated[LOGIN_NAME_SIZE])
{
    char *asked = ch->conn->login.generated;
    if (asked[0])
        memcpy(generated, asked, LOGIN_NAME_SIZE);
    else
        rand_name(&channel_server(ch)->rand, "amq.gen-", generated);
    asked[0] = 0;
}

/* The name of a reply consumer, passive or not: it is there or it is not (K99). */
static bool declare_reply(struct channel *ch, struct slice name, bool no_wait, struct fault *f)
{
    const struct vhost *v = ch->conn->vhost;
    if (!reply_exists(v, name))
        return fault(f, NOT_FOUND, "no queue '%.*s' in vhost '%.*s'", SLICE_ARG(name), SLICE_ARG(v->name));
    remember_name(ch, name);
    struct method ok = {.id = METHOD_queue_declare_ok};
    ok.queue_declare_ok.queue = name;
    ok.queue_declare_ok.consumer_count = 1;
    if (!no_wait)
        channel_send(ch, &ok);
    return true;
}

bool topology_queue_declare(struct channel *ch, const struct method *m, struct fault *f)
{
    const struct amqp_queue_declare *declare = &m->queue_declare;
    uint8_t clean[256];
    char generated[LOGIN_NAME_SIZE] = "";
    struct slice name = topology_clean_name(declare->queue, clean);
    struct queue *q = NULL;
    if (reply_is_name(name))
        return declare_reply(ch, name, declare->no_wait, f);
    if (declare->passive) {
        if (!channel_permits_any(ch, name, "queue", f) || !channel_find_queue(ch, name, &q, f))
            return false;
        expire_used(channel_server(ch), q); /* who asks for it uses it, in RabbitMQ too */
    } else {
        if (name.len == 0) {
            generate_name(ch, generated);
            name = slice_of_string(generated);
        }
        q = declare_active(ch, name, declare, f);
        if (!q) {
            if (f->code == 0) /* it will be asked about by this name */
                memcpy(ch->conn->login.generated, generated, sizeof(generated));
            return false;
        }
    }
    remember_name(ch, name);
    if (declare->no_wait)
        return true;
    struct method ok = {.id = METHOD_queue_declare_ok};
    ok.queue_declare_ok.queue = q->name;
    ok.queue_declare_ok.message_count = (uint32_t)queue_ready(q);
    ok.queue_declare_ok.consumer_count = (uint32_t)q->consumers.count;
    topology_send(ch, &ok);
    return true;
}

static bool check_deletable(const struct amqp_queue_delete *delete, const struct queue *q,
                            const struct vhost *v, struct fault *f)
{
    if (delete->if_unused && q->consumers.count > 0)
        return fault(f, PRECONDITION_FAILED, "queue '%.*s' in vhost '%.*s' in use",
                     SLICE_ARG(q->name), SLICE_ARG(v->name));
    if (delete->if_empty && queue_ready(q) > 0)
        return fault(f, PRECONDITION_FAILED, "queue '%.*s' in vhost '%.*s' not empty",
                     SLICE_ARG(q->name), SLICE_ARG(v->name));
    return true;
}

bool topology_queue_delete(struct channel *ch, const struct method *m, struct fault *f)
{
    const struct amqp_queue_delete *delete = &m->queue_delete;
    struct vhost *v = ch->conn->vhost;
    struct slice name;
    struct queue *q = NULL;
    struct method ok = {.id = METHOD_queue_delete_ok};
    bool found;
    if (!channel_queue_name(ch, delete->queue, &name, f) ||
        !channel_permits(ch, ACCESS_CONFIGURE, name, "queue", f))
        return false;
    found = vhost_find_queue(v, name);
    if (found) {
        if (!channel_find_queue(ch, name, &q, f) || !check_deletable(delete, q, v, f))
            return false;
        ok.queue_delete_ok.message_count = (uint32_t)queue_ready(q);
        if (queue_is_stored(q) && !delete->no_wait) /* the deletion below is in this batch */
            connection_bar(ch->conn, store_open_batch(channel_server(ch)->store));
    }
    if (!delete->no_wait)
        topology_send(ch, &ok);
    if (found) /* after the answer: consumers on this channel are told then, as RabbitMQ does */
        vhost_delete_queue(v, q);
    return true;
}

bool topology_queue_purge(struct channel *ch, const struct method *m, struct fault *f)
{
    struct slice name;
    struct queue *q;
    if (!channel_queue_name(ch, m->queue_purge.queue, &name, f) ||
        !channel_permits(ch, ACCESS_READ, name, "queue", f) || !channel_find_queue(ch, name, &q, f))
        return false;
    struct method ok = {.id = METHOD_queue_purge_ok};
    ok.queue_purge_ok.message_count = (uint32_t)queue_purge(q);
    if (!m->queue_purge.no_wait)
        channel_send(ch, &ok);
    return true;
}

/* The names of a queue.bind or unbind: "" is the last declared queue, and with an empty key the key too. */
static bool binding_names(struct channel *ch, struct slice queue, struct slice *name,
                          struct slice *key, struct fault *f)
{
    if (!channel_queue_name(ch, queue, name, f))
        return false;
    if (queue.len == 0 && key->len == 0)
        *key = *name;
    return true;
}

bool topology_check_source(struct channel *ch, struct slice exchange, struct slice key,
                           struct fault *f)
{
    if (exchange.len == 0)
        return fault(f, ACCESS_REFUSED, "operation not permitted on the default exchange");
    if (!channel_permits(ch, ACCESS_READ, exchange, "exchange", f))
        return false;
    const struct exchange *x = vhost_find_exchange(ch->conn->vhost, exchange);
    return !x || channel_permits_key(ch, ACCESS_READ, x, key, f);
}

static bool check_binding(struct channel *ch, struct slice queue, struct slice exchange,
                          struct slice key, struct fault *f)
{
    return channel_permits(ch, ACCESS_WRITE, queue, "queue", f) &&
           topology_check_source(ch, exchange, key, f);
}

bool topology_queue_bind(struct channel *ch, const struct method *m, struct fault *f)
{
    const struct amqp_queue_bind *bind = &m->queue_bind;
    struct vhost *v = ch->conn->vhost;
    struct slice name, key = bind->routing_key;
    struct queue *q;
    if (!binding_names(ch, bind->queue, &name, &key, f) ||
        !check_binding(ch, name, bind->exchange, key, f))
        return false;
    struct exchange *x = vhost_find_exchange(v, bind->exchange);
    if (!x)
        return fault(f, NOT_FOUND, "no exchange '%.*s' in vhost '%.*s'", SLICE_ARG(bind->exchange),
                     SLICE_ARG(v->name));
    if (!channel_find_queue(ch, name, &q, f))
        return false;
    ch->conn->share.effort += exchange_cost(x, key) + history_cost(x);
    if (!vhost_bind(v, x, &q->dest, key, bind->arguments, true, f))
        return false;
    if (!bind->no_wait)
        topology_answer(ch, METHOD_queue_bind_ok);
    return true;
}

bool topology_queue_unbind(struct channel *ch, const struct method *m, struct fault *f)
{
    const struct amqp_queue_unbind *unbind = &m->queue_unbind;
    struct vhost *v = ch->conn->vhost;
    struct slice name, key = unbind->routing_key;
    if (!binding_names(ch, unbind->queue, &name, &key, f) ||
        !check_binding(ch, name, unbind->exchange, key, f))
        return false;
    struct exchange *x = vhost_find_exchange(v, unbind->exchange);
    struct queue *q = vhost_find_queue(v, name);
    struct binding *binding =
        x && q ? exchange_find_binding(x, &q->dest, key, unbind->arguments) : NULL;
    if (binding) { /* what is not there is not locked either, as in RabbitMQ */
        if (!channel_find_queue(ch, name, &q, f))
            return false;
        ch->conn->share.effort += exchange_cost(x, key);
        vhost_unbind(v, binding);
    }
    topology_answer(ch, METHOD_queue_unbind_ok);
    return true;
}
