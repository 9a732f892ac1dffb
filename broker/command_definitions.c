/* command_definitions.c - requests that take definitions in, or give them out, in RabbitMQ's JSON.
 *
 * Export: rows of one member each, {"queues": {...}}, those of a kind one after the other, so that whoever
 * asked can write the file while they come. Users and what belongs to them come at once: an administrator
 * made them. Queues, exchanges and bindings come in slices. */
#include "broker/commands.h"
#include "broker/definitions_import.h"
#include "broker/json_in.h"
#include "broker/json_out.h"
#include "broker/listing.h"
#include "broker/parameters.h"
#include "protocol/table.h"

/* --- import --- */

static void free_import(void *work)
{
    struct definitions_import *import = work;
    definitions_import_free(&import);
}

static void import_step(struct request *r)
{
    struct definitions_import *import = r->work;
    if (definitions_import_step(import, REQUEST_BATCH_ITEMS))
        return;
    r->step = NULL;
    if (import->error[0]) {
        request_fail(r, REQUEST_INVALID, "%s", import->error);
        return;
    }
    request_result(r, "imported", json_integer((json_int_t)(import->done - import->skipped)));
    request_result(r, "skipped", json_integer((json_int_t)import->skipped));
}

void command_import_definitions(struct request *r)
{
    char error[256];
    struct slice vhost = SLICE("");
    if (json_object_get(r->args, "vhost")) {
        if (!request_vhost(r))
            return;
        vhost = request_text(r, "vhost");
    }
    r->work = definitions_import_new(r->server, json_object_get(r->args, "definitions"), vhost, error,
                                     sizeof(error));
    if (!r->work) {
        request_fail(r, REQUEST_INVALID, "%s", error);
        return;
    }
    r->free_work = free_import;
    r->step = import_step;
}

/* --- export --- */

static void begin(struct request *r, const char *section)
{
    request_row_begin(r);
    json_out_key(&r->out, section);
    json_out_open(&r->out, '{');
}

static void end(struct request *r)
{
    json_out_close(&r->out, '}');
    request_row_end(r);
}

static void put_text(struct request *r, const char *name, struct slice text)
{
    json_out_key(&r->out, name);
    json_out_text(&r->out, text);
}

static void put_flag(struct request *r, const char *name, bool flag)
{
    json_out_key(&r->out, name);
    json_out_flag(&r->out, flag);
}

/* In definitions of one vhost no object names it. */
static void put_vhost(struct request *r, struct slice name)
{
    if (!json_object_get(r->args, "vhost"))
        put_text(r, "vhost", name);
}

static void put_user(struct request *r, const struct user *user)
{
    struct slice tags = user->tags, tag;
    begin(r, "users");
    put_text(r, "name", user->name);
    put_text(r, "password_hash", user->password_hash);
    put_text(r, "hashing_algorithm", slice_of_string(password_hashing_name(user->hashing)));
    json_out_key(&r->out, "tags");
    json_out_open(&r->out, '[');
    while (tags_next(&tags, &tag)) {
        json_out_next(&r->out);
        json_out_text(&r->out, tag);
    }
    json_out_close(&r->out, ']');
    json_out_key(&r->out, "limits");
    limits_print(&user->limits, &r->out);
    end(r);
}

/* Limits as RabbitMQ's own files have them here: pairs. What counts is the parameter vhost-limits. */
static void put_vhost_itself(struct request *r, const struct vhost *v)
{
    static const char *const names[] = {
        [LIMIT_CONNECTIONS] = "max-connections", [LIMIT_QUEUES] = "max-queues"};
    begin(r, "vhosts");
    put_text(r, "name", v->name);
    json_out_key(&r->out, "metadata");
    json_out_raw(&r->out, v->metadata);
    json_out_key(&r->out, "limits");
    json_out_open(&r->out, '[');
    for (size_t i = 0; i < array_size(names); i++) {
        if (!names[i] || v->limits.max[i] == UNLIMITED)
            continue;
        json_out_next(&r->out);
        json_out_open(&r->out, '[');
        json_out_string(&r->out, names[i]);
        buf_append(&r->out, ",", 1);
        json_out_number(&r->out, (int64_t)v->limits.max[i]);
        json_out_close(&r->out, ']');
    }
    json_out_close(&r->out, ']');
    end(r);
}

static void put_permissions(struct request *r, const struct user *user)
{
    map_each (&user->permissions, i) {
        const struct permission *permission = user->permissions.slots[i].value;
        begin(r, "permissions");
        put_text(r, "user", user->name);
        put_text(r, "vhost", permission->vhost);
        put_text(r, "configure", permission->source[ACCESS_CONFIGURE]);
        put_text(r, "write", permission->source[ACCESS_WRITE]);
        put_text(r, "read", permission->source[ACCESS_READ]);
        end(r);
    }
}

static void put_topic_permissions(struct request *r, const struct user *user)
{
    map_each (&user->topic_permissions, i) {
        const struct topic_permission *permission = user->topic_permissions.slots[i].value;
        begin(r, "topic_permissions");
        put_text(r, "user", user->name);
        put_text(r, "vhost", permission->vhost);
        put_text(r, "exchange", permission->exchange);
        put_text(r, "write", permission->source[ACCESS_WRITE]);
        put_text(r, "read", permission->source[ACCESS_READ]);
        end(r);
    }
}

/* Users, vhosts and permissions are of no use to another vhost. */
static void put_access(struct request *r)
{
    const struct server *s = r->server;
    map_each (&s->users.by_name, i)
        put_user(r, s->users.by_name.slots[i].value);
    map_each (&s->vhosts, i) {
        const struct vhost *v = s->vhosts.slots[i].value;
        if (!list_linked(&v->ending))
            put_vhost_itself(r, v);
    }
    map_each (&s->users.by_name, i)
        put_permissions(r, s->users.by_name.slots[i].value);
    map_each (&s->users.by_name, i)
        put_topic_permissions(r, s->users.by_name.slots[i].value);
}

static void put_parameter(struct request *r, struct slice vhost, struct slice component, struct slice name,
                          struct slice value)
{
    begin(r, vhost.len ? "parameters" : "global_parameters");
    if (vhost.len) {
        put_vhost(r, vhost);
        put_text(r, "component", component);
    }
    put_text(r, "name", name);
    json_out_key(&r->out, "value");
    json_out_raw(&r->out, value);
    end(r);
}

static void put_vhost_parameters(struct request *r, const struct vhost *v)
{
    struct buf json = {0};
    limits_print(&v->limits, &json);
    if (!slice_is(buf_slice(&json), "{}"))
        put_parameter(r, v->name, SLICE("vhost-limits"), SLICE("limits"), buf_slice(&json));
    for (size_t i = 0; i < v->policies.counts[1]; i++) {
        json.len = 0;
        policy_print(v->policies.lists[1][i], &json);
        put_parameter(r, v->name, SLICE("operator_policy"), v->policies.lists[1][i]->name,
                      buf_slice(&json));
    }
    buf_free(&json);
    list_each (node, &r->server->parameters.all) {
        const struct parameter *p = container_of(node, struct parameter, link);
        if (slice_equal(p->vhost, v->name))
            put_parameter(r, p->vhost, p->component, p->name, p->value);
    }
}

static void put_policies(struct request *r, const struct vhost *v)
{
    for (size_t i = 0; i < v->policies.counts[0]; i++) {
        const struct policy *policy = v->policies.lists[0][i];
        struct slice definition = json_in_dump(policy->definition);
        begin(r, "policies");
        put_vhost(r, v->name);
        put_text(r, "name", policy->name);
        put_text(r, "pattern", policy->source);
        put_text(r, "apply-to", slice_of_string(policy_target_name(policy->apply_to)));
        json_out_key(&r->out, "definition");
        json_out_raw(&r->out, definition);
        json_out_key(&r->out, "priority");
        json_out_number(&r->out, policy->priority);
        end(r);
        slice_free(&definition);
    }
}

/* What an administrator made. */
static void put_settings(struct request *r)
{
    const struct listing_state *state = &r->listing;
    bool all = !json_object_get(r->args, "vhost");
    if (all)
        put_access(r);
    for (size_t i = 0; i < state->vhost_count; i++)
        put_vhost_parameters(r, server_find_vhost(r->server, state->vhosts[i]));
    list_each (node, &r->server->parameters.all) {
        const struct parameter *p = container_of(node, struct parameter, link);
        if (all && p->vhost.len == 0 && !slice_is(p->name, DEFINITIONS_HASH_PARAMETER))
            put_parameter(r, p->vhost, p->component, p->name, p->value);
    }
    for (size_t i = 0; i < state->vhost_count; i++)
        put_policies(r, server_find_vhost(r->server, state->vhosts[i]));
}

/* What ends with its connection, or gets a new name every time, is no definition. */
static bool is_exported(const struct queue *q)
{
    return !q->owner.connection && !slice_starts_with(q->name, "amq.");
}

static void put_queue(struct request *r, const struct vhost *v, const struct queue *q)
{
    struct field field;
    struct slice type = SLICE("classic");
    if (table_find(q->args, "x-queue-type", &field))
        field_string(&field, &type);
    begin(r, "queues");
    put_text(r, "name", q->name);
    put_vhost(r, v->name);
    put_text(r, "type", type);
    put_flag(r, "durable", q->durable);
    put_flag(r, "auto_delete", q->auto_delete);
    json_out_key(&r->out, "arguments");
    json_out_table(&r->out, q->args);
    end(r);
}

static void put_exchange(struct request *r, const struct vhost *v, const struct exchange *x)
{
    begin(r, "exchanges");
    put_text(r, "name", x->name);
    put_vhost(r, v->name);
    put_text(r, "type", slice_of_string(x->type->name));
    put_flag(r, "durable", x->durable);
    put_flag(r, "auto_delete", x->auto_delete);
    if (x->internal)
        put_flag(r, "internal", true);
    json_out_key(&r->out, "arguments");
    json_out_table(&r->out, x->args);
    end(r);
}

static void put_binding(struct request *r, const struct vhost *v, const struct binding *binding)
{
    bool to_queue = binding->dest->kind == DEST_QUEUE;
    if (binding->implicit || (to_queue && !is_exported(queue_of_dest(binding->dest))))
        return;
    begin(r, "bindings");
    put_text(r, "source", binding->source->name);
    put_vhost(r, v->name);
    put_text(r, "destination", binding->dest->name);
    put_text(r, "destination_type", to_queue ? SLICE("queue") : SLICE("exchange"));
    put_text(r, "routing_key", binding->key);
    json_out_key(&r->out, "arguments");
    json_out_table(&r->out, binding->args);
    end(r);
}

enum export_part { PART_QUEUES, PART_EXCHANGES, PART_BINDINGS, PARTS };

/* The walk's next thing; false = it has come to the end of this vhost. */
static bool put_next(struct request *r)
{
    struct listing_state *state = &r->listing;
    struct walk *walk = &state->walk;
    const struct vhost *v = state->vhost;
    if (!walk->owner)
        return false;
    if (state->phase == PART_QUEUES) {
        const struct queue *q = listing_queue(r);
        if (q && is_exported(q))
            put_queue(r, v, q);
        walk->at[0] = walk->at[0]->next;
        return q;
    }
    const struct exchange *x = listing_exchange(r);
    if (!x)
        return false;
    if (state->phase == PART_EXCHANGES) {
        if (!x->is_default && !slice_starts_with(x->name, "amq."))
            put_exchange(r, v, x);
        walk->at[0] = walk->at[0]->next;
        return true;
    }
    const struct list *bindings = &x->binding_list;
    walk->at[1] = walk->at[1] ? walk->at[1] : bindings->next;
    if (walk->at[1] == bindings || x->is_default) {
        walk->at[0] = walk->at[0]->next;
        walk->at[1] = NULL;
        return true;
    }
    put_binding(r, v, container_of(walk->at[1], struct binding, by_source));
    walk->at[1] = walk->at[1]->next;
    return true;
}

/* On to the next vhost, or to the next part with the first vhost; false = all is done. */
static bool go_on(struct request *r)
{
    struct listing_state *state = &r->listing;
    size_t part = state->phase;
    while (!listing_enter_vhost(r)) {
        state->vhost_at = 0;
        if (++part == PARTS || state->vhost_count == 0)
            return false;
    }
    state->phase = part;
    return true;
}

static void export_step(struct request *r)
{
    size_t start = r->out.len;
    for (int i = 0; i < REQUEST_BATCH_ITEMS && r->out.len - start < REQUEST_BATCH_BYTES; i++) {
        if (put_next(r) || go_on(r))
            continue;
        r->step = NULL;
        return;
    }
}

void command_export_definitions(struct request *r)
{
    if (!listing_choose_vhosts(r))
        return;
    request_result(r, "rabbit_version", json_string(DEFINITIONS_RABBIT_VERSION));
    request_result(r, "rabbitmq_version", json_string(DEFINITIONS_RABBIT_VERSION));
    request_result(r, "product_name", json_string("Leveret"));
    request_result(r, "product_version", json_string(LEVERET_VERSION));
    put_settings(r);
    if (go_on(r))
        r->step = export_step;
}
