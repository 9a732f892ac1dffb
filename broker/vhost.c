/* vhost.c - a virtual host: its exchanges and queues, and their lives. */
#include "broker/bounds.h"
#include "broker/vhost.h"

#include "broker/consume.h"
#include "broker/delayed.h"
#include "broker/duplicate.h"
#include "broker/expire.h"
#include "broker/history.h"
#include "broker/json_in.h"
#include "broker/pace.h"
#include "protocol/table.h"

enum { ENDINGS_TURN = 512 }; /* things of a vhost that is deleted, in a turn */

/* Semantics 1.3, pre-declared exchanges. */
static const struct {
    const char *name, *type;
    bool internal;
} predeclared[] = {
    {"amq.direct", "direct", false},   {"amq.fanout", "fanout", false},
    {"amq.topic", "topic", false},     {"amq.headers", "headers", false},
    {"amq.match", "headers", false},   {"amq.rabbitmq.trace", "topic", true},
};

/* The store's next batch carries the change; whoever must answer for it waits for that batch. */
static void define(struct server *s, struct definition definition)
{
    store_define(s->store, &definition);
    s->defined_batch = store_open_batch(s->store);
}

static void undefine(struct server *s, struct definition definition)
{
    store_undefine(s->store, &definition);
    s->defined_batch = store_open_batch(s->store);
}

struct vhost *vhost_new(struct server *s, struct slice name)
{
    struct vhost *v = mem_zalloc(sizeof(*v));
    v->server = s;
    v->name = slice_copy(name);
    map_init(&v->exchanges, rand_u64(&s->rand));
    map_init(&v->queues, rand_u64(&s->rand));
    list_init(&v->exchange_list);
    map_init(&v->replies, rand_u64(&s->rand));
    router_init(&v->router, &v->exchanges);
    v->limits = limits_none();
    list_init(&v->connections);
    map_put(&s->vhosts, v->name, v);

    struct exchange_properties properties = {.durable = true};
    properties.type = exchange_type_find(SLICE("direct"));
    v->default_exchange = vhost_add_exchange(v, SLICE(""), &properties, false);
    v->default_exchange->is_default = true;
    for (size_t i = 0; i < array_size(predeclared); i++) {
        properties.type = exchange_type_find(slice_of_string(predeclared[i].type));
        properties.internal = predeclared[i].internal;
        vhost_add_exchange(v, slice_of_string(predeclared[i].name), &properties, false);
    }
    if (slice_is(name, s->config->default_vhost)) {
        properties.type = exchange_type_find(SLICE("topic"));
        properties.internal = true;
        vhost_add_exchange(v, SLICE(EVENT_EXCHANGE), &properties, false);
        s->events.vhost = v;
    }
    return v;
}

static void unbind(struct vhost *v, struct binding *binding)
{
    bounds_remove(v->server, bounds_of_binding(binding));
    exchange_unbind(&binding);
}

static void free_queues(struct vhost *v)
{
    map_each(&v->queues, i) {
        struct queue *q = v->queues.slots[i].value;
        assert(q->consumers.count == 0);
        while (!list_empty(&q->dest.bindings)) {
            struct binding *binding = list_first(&q->dest.bindings, struct binding, by_dest);
            unbind(v, binding);
        }
        q->leaving.vhost = NULL; /* nothing is dead-lettered there any more */
        expire_forget(v->server, q);
        policies_release(&q->dest);
        bounds_remove(v->server, bounds_of_queue(q));
        v->server->bounds.queues--;
        queue_delete(&q);
    }
    map_free(&v->queues);
}

void vhost_free(struct vhost **vhost)
{
    struct vhost *v = *vhost;
    *vhost = NULL;
    walk_end_all(&v->server->control.walks, v);
    if (v->server->events.vhost == v)
        v->server->events.vhost = NULL;
    list_unlink(&v->ending);
    outbox_free(v);
    free_queues(v);
    map_each(&v->exchanges, i) {
        struct exchange *x = v->exchanges.slots[i].value;
        while (!list_empty(&x->binding_list)) {
            struct binding *binding = list_first(&x->binding_list, struct binding, by_source);
            unbind(v, binding);
        }
    }
    map_each(&v->exchanges, i) {
        struct exchange *x = v->exchanges.slots[i].value;
        policies_release(&x->dest);
        delayed_forget(v, x, false);
        duplicate_forget(v, x, false);
        bounds_remove(v->server, bounds_of_exchange(x));
        v->server->bounds.exchanges--;
        exchange_free(&x);
    }
    map_free(&v->exchanges);
    policies_free(v);
    assertf(v->replies.size == 0, "%zu reply consumers left", v->replies.size);
    map_free(&v->replies);
    router_free(&v->router);
    slice_free(&v->metadata);
    slice_free(&v->name);
    slice_free(&v->default_queue_type);
    mem_free(v);
}

static struct definition exchange_definition(struct vhost *v, const struct exchange *x)
{
    return (struct definition){.kind = DEFINITION_EXCHANGE,
                               .vhost = v->name,
                               .name = x->name,
                               .type = slice_of_string(x->type->name),
                               .args = x->args,
                               .auto_delete = x->auto_delete,
                               .internal = x->internal};
}

struct exchange *vhost_add_exchange(struct vhost *v, struct slice name,
                                    const struct exchange_properties *properties, bool stored)
{
    struct server *s = v->server;
    struct exchange *x =
        exchange_new(name, properties->type, properties->args, ++s->last_exchange_id, rand_u64(&s->rand));
    x->durable = properties->durable;
    x->auto_delete = properties->auto_delete;
    x->internal = properties->internal;
    bounds_add(s, bounds_of_exchange(x));
    s->bounds.exchanges++;
    map_put(&v->exchanges, x->name, x);
    list_push_back(&v->exchange_list, &x->of_vhost);
    delayed_govern(x, false);
    if (name.len)
        policies_govern(v, &x->dest);
    duplicate_remember(v, x, stored);
    router_changed(&v->router);
    if (stored && x->durable)
        define(v->server, exchange_definition(v, x));
    if (stored)
        event_exchange(v, x, "exchange.created");
    return x;
}

static struct definition binding_definition(struct vhost *v, const struct binding *binding)
{
    return (struct definition){.kind = DEFINITION_BINDING,
                               .vhost = v->name,
                               .source = binding->source->name,
                               .to_queue = binding->dest->kind == DEST_QUEUE,
                               .name = binding->dest->name,
                               .key = binding->key,
                               .args = binding->args};
}

/* Removes one binding; true when its source is an auto-delete exchange that has none left. */
static bool drop_binding(struct vhost *v, struct binding *binding)
{
    struct exchange *source = binding->source;
    if (binding->durable)
        undefine(v->server, binding_definition(v, binding));
    walk_leave(&v->server->control.walks, &binding->by_source);
    walk_leave(&v->server->control.walks, &binding->by_dest);
    if (!binding->implicit)
        event_binding(v, binding, "binding.deleted");
    unbind(v, binding);
    router_changed(&v->router);
    return source->auto_delete && source->binding_count == 0;
}

/* Removes all bindings that lead to `dest`; auto-delete sources that are left without one are appended to
 * `orphans` (struct exchange *). */
static void drop_bindings_to(struct vhost *v, struct dest *dest, struct buf *orphans)
{
    while (!list_empty(&dest->bindings)) {
        struct binding *binding = list_first(&dest->bindings, struct binding, by_dest);
        struct exchange *source = binding->source;
        if (drop_binding(v, binding))
            buf_append(orphans, &source, sizeof(struct exchange *));
    }
}

static void drop_exchange(struct vhost *v, struct exchange *x, struct buf *orphans)
{
    exchange_close(x);
    while (!list_empty(&x->binding_list))
        drop_binding(v, list_first(&x->binding_list, struct binding, by_source));
    drop_bindings_to(v, &x->dest, orphans);
    if (x->durable)
        undefine(v->server, exchange_definition(v, x));
    event_exchange(v, x, "exchange.deleted");
    map_remove(&v->exchanges, x->name);
    walk_leave(&v->server->control.walks, &x->of_vhost);
    list_remove(&x->of_vhost);
    router_changed(&v->router);
    policies_release(&x->dest);
    delayed_forget(v, x, true);
    duplicate_forget(v, x, true);
    bounds_remove(v->server, bounds_of_exchange(x));
    v->server->bounds.exchanges--;
    exchange_free(&x);
}

/* Deletes auto-delete exchanges that lost their last binding, and those that lose theirs by that: a list,
 * not a recursion, however long the chain. One that is listed has no binding left, so it is listed once. */
static void drop_orphans(struct vhost *v, struct buf *orphans)
{
    while (orphans->len) {
        struct exchange *x;
        orphans->len -= sizeof(struct exchange *);
        memcpy(&x, orphans->at + orphans->len, sizeof(struct exchange *));
        drop_exchange(v, x, orphans);
    }
    buf_free(orphans);
}

void vhost_delete_exchange(struct vhost *v, struct exchange *x)
{
    assert(!x->is_default);
    struct buf orphans = {0};
    drop_exchange(v, x, &orphans);
    drop_orphans(v, &orphans);
}

static struct definition queue_definition(struct vhost *v, const struct queue *q)
{
    return (struct definition){.kind = DEFINITION_QUEUE,
                               .id = q->id,
                               .vhost = v->name,
                               .name = q->name,
                               .args = q->args,
                               .auto_delete = q->auto_delete};
}

void vhost_define_keeper(struct vhost *v, const struct exchange *x, const char *prefix, const char *argument,
                         uint64_t id, bool there)
{
    struct buf name = {0}, args = {0};
    buf_append_slice(&name, slice_of_string(prefix));
    buf_append_slice(&name, x->name);
    table_put_string(&args, argument, x->name);
    struct definition definition = {.kind = DEFINITION_QUEUE,
                                    .id = id,
                                    .vhost = v->name,
                                    .name = buf_slice(&name),
                                    .args = buf_slice(&args)};
    if (there)
        define(v->server, definition);
    else
        undefine(v->server, definition);
    buf_free(&name);
    buf_free(&args);
}

void vhost_define_calendar(struct vhost *v, const struct exchange *x, uint64_t id, bool there)
{
    vhost_define_keeper(v, x, DELAYED_NAME_PREFIX, DELAYED_ARGUMENT, id, there);
}

struct queue *vhost_add_queue(struct vhost *v, struct slice name,
                              const struct queue_properties *properties, bool stored)
{
    struct server *s = v->server;
    uint64_t id = properties->id ? properties->id : s->next_queue_id++;
    assert(id > 0);
    struct queue *q = queue_new(&s->home, name, properties->args, id);
    bounds_add(s, bounds_of_queue(q));
    s->bounds.queues++;
    q->auto_delete = properties->auto_delete;
    q->owner.connection = properties->exclusive_owner;
    if (properties->durable && !q->owner.connection)
        queue_make_durable(q);
    q->leaving.vhost = v;
    expire_used(s, q);
    expire_watch(s, q);
    map_put(&v->queues, q->name, q);
    exchange_bind_implicit(v->default_exchange, &q->dest, q->name);
    policies_govern(v, &q->dest);
    router_changed(&v->router);
    if (stored && queue_is_stored(q))
        define(v->server, queue_definition(v, q));
    if (stored)
        event_queue(v, q, "queue.created");
    return q;
}

void vhost_expect_queues(struct vhost *v, size_t count)
{
    map_reserve(&v->queues, v->queues.size + count);
    exchange_expect(v->default_exchange, count);
}

void vhost_set_metadata(struct vhost *v, struct slice metadata)
{
    char error[128];
    struct slice type, old = v->metadata;
    enum kind_type known;
    v->metadata = slice_copy(metadata);
    slice_free(&old);
    slice_free(&v->default_queue_type);
    json_t *json = metadata.len ? json_in_parse(metadata, error, sizeof(error)) : NULL;
    if (json && json_in_text(json, "default_queue_type", &type) && kind_type_find(type, &known))
        v->default_queue_type = slice_copy(type); /* RabbitMQ writes "undefined" when there is none */
    json_decref(json);
}

void vhost_configure_queue(struct vhost *v, struct queue *q, const struct settings *settings)
{
    bool patient = q->settings.consumer_timeout_ms == settings->consumer_timeout_ms;
    queue_configure(q, settings);
    if (!patient)
        consume_retime(q);
    expire_watch(v->server, q);
}

void vhost_delete_queue(struct vhost *v, struct queue *q)
{
    while (!list_empty(&q->consumers.all))
        consume_queue_deleted(list_first(&q->consumers.all, struct consumer, of_queue));
    pace_release(q);
    expire_forget(v->server, q);
    consume_empty_gets(v->server, q);
    struct buf orphans = {0};
    drop_bindings_to(v, &q->dest, &orphans);
    drop_orphans(v, &orphans);
    if (queue_is_stored(q))
        undefine(v->server, queue_definition(v, q));
    event_queue(v, q, "queue.deleted");
    map_remove(&v->queues, q->name);
    router_changed(&v->router);
    policies_release(&q->dest);
    bounds_remove(v->server, bounds_of_queue(q));
    v->server->bounds.queues--;
    queue_delete(&q);
}

void vhost_consumer_gone(struct vhost *v, struct queue *q)
{
    if (q->consumers.count == 0)
        expire_used(v->server, q);
    if (q->auto_delete && q->consumers.count == 0 && q->consumers.had_some)
        vhost_delete_queue(v, q);
}

/* Removes one thing of those that bind the queue or exchange, or itself when nothing does any more.
 */
static void end_queue(struct vhost *v, struct queue *q)
{
    struct binding *binding = container_of(q->dest.bindings.prev, struct binding, by_dest);
    struct exchange *source = binding->source;
    struct buf orphans = {0};
    if (source->is_default) { /* the first of its bindings, and so the last one here */
        vhost_delete_queue(v, q);
        return;
    }
    if (drop_binding(v, binding))
        buf_append(&orphans, &source, sizeof(struct exchange *));
    drop_orphans(v, &orphans);
}

static void end_exchange(struct vhost *v, struct exchange *x)
{
    bool is_source = !list_empty(&x->binding_list);
    if (!is_source && list_empty(&x->dest.bindings)) {
        vhost_delete_exchange(v, x);
        return;
    }
    struct binding *binding = is_source ? list_first(&x->binding_list, struct binding, by_source)
                                        : list_first(&x->dest.bindings, struct binding, by_dest);
    struct exchange *source = binding->source;
    struct buf orphans = {0};
    if (drop_binding(v, binding))
        buf_append(&orphans, &source, sizeof(struct exchange *));
    drop_orphans(v, &orphans);
}

/* One more thing is gone; false when only the default exchange is left. */
static bool end_something(struct vhost *v)
{
    struct list *queues = &v->default_exchange->binding_list;
    struct list *first = v->exchange_list.next;
    if (!list_empty(queues)) {
        end_queue(v, queue_of_dest(list_first(queues, struct binding, by_source)->dest));
        return true;
    }
    if (first == &v->default_exchange->of_vhost)
        first = first->next;
    if (first == &v->exchange_list)
        return false;
    end_exchange(v, container_of(first, struct exchange, of_vhost));
    return true;
}

/* True when the vhost is gone. */
static bool end_slice(struct vhost **vhost, size_t things)
{
    struct vhost *v = *vhost;
    struct server *s = v->server;
    while (things > 0 && end_something(v))
        things--;
    if (things == 0 || v->detached > 0)
        return false;
    assert(v->queues.size == 0 && v->exchanges.size == 1);
    for (int kind = 0; kind < 2; kind++)
        while (v->policies.counts[kind] > 0)
            policies_clear(v, v->policies.lists[kind][0]->name, kind);
    parameters_remove_vhost(s, v->name);
    undefine(s, (struct definition){.kind = DEFINITION_VHOST, .name = v->name});
    map_remove(&s->vhosts, v->name);
    vhost_free(vhost);
    return true;
}

void vhost_delete(struct vhost **vhost)
{
    struct vhost *v = *vhost;
    assert(v->connection_count == 0 && list_empty(&v->connections) && !list_linked(&v->ending));
    policies_stop(v);
    list_push_back(&v->server->ending, &v->ending);
    *vhost = NULL;
    (void)end_slice(&v, ENDINGS_TURN);
}

void vhost_end_some(struct server *s, bool all)
{
    while (!list_empty(&s->ending)) {
        struct vhost *v = list_first(&s->ending, struct vhost, ending);
        if (!end_slice(&v, all ? SIZE_MAX : ENDINGS_TURN) || !all)
            return;
    }
}

static bool dest_is_durable(const struct dest *dest)
{
    if (dest->kind == DEST_QUEUE)
        return container_of((void *)(uintptr_t)dest, struct queue, dest)->durable;
    return container_of((void *)(uintptr_t)dest, struct exchange, dest)->durable;
}

bool vhost_bind(struct vhost *v, struct exchange *source, struct dest *dest, struct slice key,
                struct slice args, bool stored, struct fault *f)
{
    if (exchange_find_binding(source, dest, key, args))
        return true;
    /* What is recovered is not asked. */
    struct binding *binding = stored && (!bounds_permit(v->server, "binding", f) ||
                                         !history_permits(v, source, f))
                                  ? NULL
                                  : exchange_bind(source, dest, key, args, f);
    if (!binding)
        return false;
    bounds_add(v->server, bounds_of_binding(binding));
    router_changed(&v->router);
    binding->durable = source->durable && dest_is_durable(dest);
    if (stored && binding->durable)
        define(v->server, binding_definition(v, binding));
    if (stored) {
        event_binding(v, binding, "binding.created");
        history_replay(v, source, dest);
    }
    return true;
}

void vhost_unbind(struct vhost *v, struct binding *binding)
{
    struct exchange *source = binding->source;
    if (drop_binding(v, binding))
        vhost_delete_exchange(v, source);
}

void vhost_check(const struct vhost *v)
{
    map_each(&v->queues, i) {
        struct queue *q = v->queues.slots[i].value;
        queue_check(q);
        list_each(node, &q->dest.bindings) {
            struct binding *binding = container_of(node, struct binding, by_dest);
            assert(binding->dest == &q->dest && list_linked(&binding->by_source));
        }
    }
    map_each(&v->exchanges, i) {
        struct exchange *x = v->exchanges.slots[i].value;
        size_t shown = 0;
        list_each(node, &x->binding_list) {
            struct binding *binding = container_of(node, struct binding, by_source);
            assert(binding->source == x && list_linked(&binding->by_dest));
            shown += !binding->implicit;
        }
        assert(shown == x->binding_count);
    }
}
