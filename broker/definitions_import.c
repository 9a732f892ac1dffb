/* definitions_import.c - definitions in RabbitMQ's JSON, taken in.
 *
 * Owner: a request, or the start of the server. Failure modes: the first object that cannot be ends it, and
 * is named; what was taken in before stays, and importing again does no harm. */
#include "broker/definitions_import.h"

#include "broker/delayed.h"

#include <stdarg.h>
#include <stdio.h>

#include "broker/admin.h"
#include "broker/arguments.h"
#include "broker/bounds.h"
#include "broker/duplicate.h"
#include "broker/json_in.h"
#include "broker/parameters.h"
#include "broker/vhost.h"
#include "protocol/table.h"

enum { NAME_MAX_BYTES = 255 };

__attribute__((format(printf, 2, 3))) static bool fail(struct definitions_import *import,
                                                       const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(import->error, sizeof(import->error), format, args);
    va_end(args);
    return false;
}

/* --- members --- */

static struct slice text_of(const json_t *object, const char *name)
{
    struct slice text;
    return json_in_text(object, name, &text) ? text : SLICE("");
}

static bool need_text(struct definitions_import *import, const char *kind, const json_t *object,
                      const char *name, struct slice *text)
{
    return json_in_text(object, name, text) || fail(import, "a %s has no text '%s'", kind, name);
}

/* The name of an exchange or queue, or a key: what AMQP can carry. */
static bool need_name(struct definitions_import *import, const char *kind, const json_t *object,
                      const char *name, struct slice *text)
{
    if (!need_text(import, kind, object, name, text))
        return false;
    return text->len <= NAME_MAX_BYTES ||
           fail(import, "%s '%.60s...': '%s' is longer than 255 bytes", kind, (const char *)text->at, name);
}

static struct slice vhost_name(const struct definitions_import *import, const json_t *object)
{
    struct slice name;
    return json_in_text(object, "vhost", &name) ? name : import->vhost;
}

static struct vhost *need_vhost(struct definitions_import *import, const char *kind, const json_t *object)
{
    struct slice name = vhost_name(import, object);
    struct vhost *v = server_find_vhost(import->server, name);
    if (!v)
        fail(import, "%s '%.*s': there is no vhost '%.*s'", kind, SLICE_ARG(text_of(object, "name")),
             SLICE_ARG(name));
    return v;
}

/* --- users, vhosts, permissions --- */

static bool finish(struct definitions_import *import, bool done, const char *kind, struct slice name,
                   const struct admin_error *e)
{
    return done || fail(import, "%s '%.*s': %s", kind, SLICE_ARG(name), e->text);
}

/* A list, or one text with commas as in older versions. */
static bool read_tags(const json_t *given, struct buf *tags)
{
    if (json_is_string(given))
        buf_append(tags, json_string_value(given), json_string_length(given));
    for (size_t i = 0; i < json_array_size(given); i++) {
        const json_t *tag = json_array_get(given, i);
        if (!json_is_string(tag) || strchr(json_string_value(tag), ','))
            return false;
        buf_printf(tags, "%s%s", tags->len ? "," : "", json_string_value(tag));
    }
    return true;
}

static bool set_user_limits(struct definitions_import *import, struct slice name, const json_t *limits,
                            struct admin_error *e)
{
    if (!json_is_object(limits))
        return true;
    struct slice text = json_in_dump(limits);
    struct limits checked = limits_none(); /* before those that there are go */
    bool done = limits_parse(&checked, LIMITS_OF_USER, text, e->text, sizeof(e->text)) &&
                admin_clear_user_limits(import->server, name, SLICE("all"), e) &&
                admin_set_user_limits(import->server, name, text, e);
    slice_free(&text);
    return done;
}

static bool import_user(struct definitions_import *import, const json_t *object)
{
    struct server *s = import->server;
    struct admin_error e;
    struct slice name, hash, password;
    struct buf tags = {0};
    bool done;
    if (!need_text(import, "user", object, "name", &name))
        return false;
    if (!read_tags(json_object_get(object, "tags"), &tags)) {
        buf_free(&tags);
        return fail(import, "user '%.*s': a tag is a text without a comma", SLICE_ARG(name));
    }
    if (json_in_text(object, "password_hash", &hash) || !json_in_text(object, "password", &password)) {
        done = admin_put_user(s, name, text_of(object, "password_hash"),
                              text_of(object, "hashing_algorithm"), buf_slice(&tags), &e);
    } else {
        done = user_find(&s->users, name) ? admin_change_password(s, name, password, &e) &&
                                                admin_set_tags(s, name, buf_slice(&tags), &e)
                                          : admin_add_user(s, name, password, buf_slice(&tags), &e);
    }
    done = done && set_user_limits(import, name, json_object_get(object, "limits"), &e);
    buf_free(&tags);
    return finish(import, done, "user", name, &e);
}

/* Newer files have an object of metadata, older ones its members beside the name. */
static struct slice read_metadata(const json_t *object)
{
    static const char *const members[] = {"description", "tags", "default_queue_type"};
    const json_t *given = json_object_get(object, "metadata");
    json_t *metadata = json_is_object(given) ? json_deep_copy(given) : json_object();
    for (size_t i = 0; i < array_size(members); i++) {
        json_t *value = json_object_get(object, members[i]);
        if (value && !json_object_get(metadata, members[i]))
            json_object_set(metadata, members[i], value);
    }
    struct slice text = json_object_size(metadata) ? json_in_dump(metadata) : (struct slice){0};
    json_decref(metadata);
    return text;
}

static bool import_vhost(struct definitions_import *import, const json_t *object)
{
    struct server *s = import->server;
    struct admin_error e;
    struct slice name;
    bool done = true;
    if (!need_text(import, "vhost", object, "name", &name))
        return false;
    struct slice metadata = read_metadata(object);
    const struct vhost *v = server_find_vhost(s, name);
    if (!v)
        done = admin_add_vhost(s, name, metadata, &e);
    else if (metadata.len && !slice_equal(metadata, v->metadata))
        done = admin_set_vhost_metadata(s, name, metadata, &e);
    slice_free(&metadata);
    return finish(import, done, "vhost", name, &e);
}

static bool read_patterns(struct definitions_import *import, const char *kind, const json_t *object,
                          struct slice patterns[3])
{
    return need_text(import, kind, object, "write", &patterns[ACCESS_WRITE]) &&
           need_text(import, kind, object, "read", &patterns[ACCESS_READ]);
}

static bool import_permission(struct definitions_import *import, const json_t *object)
{
    struct admin_error e;
    struct slice user, patterns[3];
    if (!need_text(import, "permission", object, "user", &user) ||
        !need_text(import, "permission", object, "configure", &patterns[ACCESS_CONFIGURE]) ||
        !read_patterns(import, "permission", object, patterns))
        return false;
    return finish(import,
                  admin_set_permissions(import->server, vhost_name(import, object), user, patterns, &e),
                  "permission of user", user, &e);
}

static bool import_topic_permission(struct definitions_import *import, const json_t *object)
{
    struct admin_error e;
    struct slice user, exchange, patterns[3] = {0};
    if (!need_text(import, "topic permission", object, "user", &user) ||
        !need_name(import, "topic permission", object, "exchange", &exchange) ||
        !read_patterns(import, "topic permission", object, patterns))
        return false;
    return finish(import,
                  admin_set_topic_permissions(import->server, vhost_name(import, object), user, exchange,
                                              patterns, &e),
                  "topic permission of user", user, &e);
}

/* --- parameters and policies --- */

static bool set_policy(struct definitions_import *import, struct vhost *v, struct slice name,
                       const json_t *value, bool of_operator)
{
    char reason[400];
    const char *kind = of_operator ? "operator policy" : "policy";
    struct policy_given given = {.name = name,
                                 .apply_to = text_of(value, "apply-to"),
                                 .definition = json_object_get(value, "definition"),
                                 .of_operator = of_operator};
    json_in_number(value, "priority", &given.priority);
    if (!need_text(import, kind, value, "pattern", &given.pattern))
        return false;
    return policies_set(v, &given, true, reason, sizeof(reason)) ||
           fail(import, "%s '%.*s' in vhost '%.*s': %s", kind, SLICE_ARG(name), SLICE_ARG(v->name), reason);
}

static bool import_policy(struct definitions_import *import, const json_t *object)
{
    struct slice name;
    struct vhost *v = need_vhost(import, "policy", object);
    return v && need_name(import, "policy", object, "name", &name) &&
           set_policy(import, v, name, object, false);
}

static bool put_parameter(struct definitions_import *import, struct slice vhost, struct slice component,
                          struct slice name, const json_t *value)
{
    struct slice text = json_in_dump(value);
    parameters_put(import->server,
                   &(struct parameter){.vhost = vhost, .component = component, .name = name, .value = text},
                   true);
    slice_free(&text);
    return true;
}

static bool import_parameter(struct definitions_import *import, const json_t *object)
{
    struct slice component, name;
    struct vhost *v = need_vhost(import, "parameter", object);
    const json_t *value = json_object_get(object, "value");
    char reason[256];
    bool idle;
    if (!v || !need_name(import, "parameter", object, "component", &component) ||
        !need_name(import, "parameter", object, "name", &name))
        return false;
    if (slice_is(component, "policy") || slice_is(component, "operator_policy"))
        return set_policy(import, v, name, value, slice_is(component, "operator_policy"));
    if (slice_is(component, "vhost-limits")) {
        struct admin_error e;
        struct slice text = value ? json_in_dump(value) : slice_copy(SLICE("{}"));
        bool done = admin_set_vhost_limits(import->server, v->name, text, &e);
        slice_free(&text);
        return finish(import, done, "limits of vhost", v->name, &e);
    }
    struct parameter given = {.vhost = v->name, .component = component, .name = name};
    if (!parameters_check(import->server, &given, value, &idle, reason, sizeof(reason)))
        return fail(import, "parameter '%.*s' in vhost '%.*s': %s", SLICE_ARG(name), SLICE_ARG(v->name),
                    reason);
    if (idle)
        log_line(&import->server->log, LOG_WARNING, 0,
                 "parameter '%.*s' of component '%.*s' is kept, but this version does not act on it",
                 SLICE_ARG(name), SLICE_ARG(component));
    return put_parameter(import, v->name, component, name, value);
}

static bool import_global_parameter(struct definitions_import *import, const json_t *object)
{
    struct slice name;
    const json_t *value = json_object_get(object, "value");
    if (!need_name(import, "global parameter", object, "name", &name))
        return false;
    if (name.len == 0 || memchr(name.at, 0, name.len))
        return fail(import, "the name of a global parameter is empty, or has a zero byte");
    return value ? put_parameter(import, SLICE(""), SLICE("global"), name, value)
                 : fail(import, "global parameter '%.*s' has no value", SLICE_ARG(name));
}

/* --- exchanges, queues, bindings --- */

static bool read_arguments(struct definitions_import *import, const struct resource *what,
                           const json_t *object, struct buf *args)
{
    const char *reason;
    return json_in_table(json_object_get(object, "arguments"), args, &reason) ||
           fail(import, RESOURCE_FORMAT ": %s", RESOURCE_ARG(what), reason);
}

/* An import is bounded like what clients declare: else one file could take all memory. */
static bool need_room(struct definitions_import *import, const struct resource *what)
{
    struct fault f;
    return bounds_permit_named(import->server, what, &f) ||
           fail(import, RESOURCE_FORMAT ": %s", RESOURCE_ARG(what), f.text);
}

static bool import_exchange(struct definitions_import *import, const json_t *object)
{
    struct vhost *v = need_vhost(import, "exchange", object);
    struct slice name, type;
    if (!v || !need_name(import, "exchange", object, "name", &name) ||
        !need_text(import, "exchange", object, "type", &type))
        return false;
    if (vhost_find_exchange(v, name))
        return true;
    struct resource what = {"exchange", name, v->name};
    struct buf args = {0};
    struct exchange_properties properties = {.type = exchange_type_find(type),
                                             .durable = json_in_flag_or(object, "durable", true),
                                             .auto_delete = json_in_flag_or(object, "auto_delete", false),
                                             .internal = json_in_flag_or(object, "internal", false)};
    bool good = properties.type || fail(import, RESOURCE_FORMAT ": unknown exchange type '%.*s'",
                                        RESOURCE_ARG(&what), SLICE_ARG(type));
    good = good && read_arguments(import, &what, object, &args);
    properties.args = buf_slice(&args);
    struct field alternate;
    struct fault f;
    if (good && table_find(properties.args, "alternate-exchange", &alternate) && alternate.type != 'S')
        good = fail(import, RESOURCE_FORMAT ": 'alternate-exchange' is no text", RESOURCE_ARG(&what));
    if (good && (!duplicate_check_args(properties.args, &f) || !delayed_check_args(properties.args, &f) ||
                 (properties.type->check_args && !properties.type->check_args(properties.args, &f))))
        good = fail(import, RESOURCE_FORMAT ": %s", RESOURCE_ARG(&what), f.text);
    if (good && (good = need_room(import, &what)))
        vhost_add_exchange(v, name, &properties, true);
    import->cost += policies_cost(&v->policies);
    buf_free(&args);
    return good;
}

/* In the store such names are those of what exchanges keep; clients cannot use them (amq.) either. */
static bool is_kept_by_exchange(struct slice name)
{
    return slice_starts_with(name, DELAYED_NAME_PREFIX) || slice_starts_with(name, DUPLICATE_NAME_PREFIX);
}

static bool import_queue(struct definitions_import *import, const json_t *object)
{
    struct vhost *v = need_vhost(import, "queue", object);
    struct slice name;
    if (!v || !need_name(import, "queue", object, "name", &name))
        return false;
    if (is_kept_by_exchange(name))
        return fail(import, "queue '%.*s': names that begin with " DELAYED_NAME_PREFIX " and "
                            DUPLICATE_NAME_PREFIX " are the server's", SLICE_ARG(name));
    if (vhost_find_queue(v, name))
        return true;
    if (name.len == 0 || json_in_flag_or(object, "exclusive", false)) {
        import->skipped++; /* its connection is not here */
        return true;
    }
    struct resource what = {"queue", name, v->name};
    struct buf args = {0};
    struct fault f;
    bool good = read_arguments(import, &what, object, &args);
    struct queue_properties properties = {.args = buf_slice(&args),
                                          .durable = json_in_flag_or(object, "durable", true),
                                          .auto_delete = json_in_flag_or(object, "auto_delete", false)};
    if (good && !arguments_check_queue(properties.args, &what, &f))
        good = fail(import, "%s", f.text);
    if (good && kind_of_args(properties.args).type == KIND_QUORUM &&
        (!properties.durable || properties.auto_delete))
        good = fail(import, "invalid property '%s' for queue '%.*s' in vhost '%.*s'",
                    properties.durable ? "auto-delete" : "non-durable", SLICE_ARG(name), SLICE_ARG(v->name));
    if (good && (good = need_room(import, &what)))
        vhost_add_queue(v, name, &properties, true);
    import->cost += policies_cost(&v->policies);
    buf_free(&args);
    return good;
}

/* RabbitMQ exports bindings of internal exchanges, but not these. */
static bool skip_binding(struct definitions_import *import, const struct vhost *v, struct slice source,
                         struct slice destination)
{
    log_line(&import->server->log, LOG_WARNING, 0,
             "definitions: the binding from '%.*s' to '%.*s' in vhost '%.*s' is left out: one of them is "
             "not there",
             SLICE_ARG(source), SLICE_ARG(destination), SLICE_ARG(v->name));
    import->skipped++;
    return true;
}

static bool import_binding(struct definitions_import *import, const json_t *object)
{
    struct vhost *v = need_vhost(import, "binding", object);
    struct slice source, destination, type, key;
    if (!v || !need_name(import, "binding", object, "source", &source) ||
        !need_name(import, "binding", object, "destination", &destination) ||
        !need_text(import, "binding", object, "destination_type", &type) ||
        !need_name(import, "binding", object, "routing_key", &key))
        return false;
    if (source.len == 0)
        return true; /* every queue has that one */
    struct exchange *from = vhost_find_exchange(v, source);
    struct queue *q = slice_is(type, "queue") ? vhost_find_queue(v, destination) : NULL;
    struct exchange *x = slice_is(type, "queue") ? NULL : vhost_find_exchange(v, destination);
    if (!from || !(q || (x && !x->is_default)))
        return skip_binding(import, v, source, destination);
    struct resource what = {"binding from", source, v->name};
    struct buf args = {0};
    struct fault f;
    bool good = read_arguments(import, &what, object, &args);
    if (good && !vhost_bind(v, from, q ? &q->dest : &x->dest, key, buf_slice(&args), true, &f))
        good = fail(import, RESOURCE_FORMAT " to '%.*s': %s", RESOURCE_ARG(&what), SLICE_ARG(destination),
                    f.text);
    buf_free(&args);
    return good;
}

/* --- the whole --- */

/* In the order in which one needs the other. */
static const struct {
    const char *name;
    bool (*import)(struct definitions_import *import, const json_t *object);
} sections[] = {
    {"vhosts", import_vhost},
    {"users", import_user},
    {"permissions", import_permission},
    {"parameters", import_parameter},
    {"global_parameters", import_global_parameter},
    {"policies", import_policy},
    {"exchanges", import_exchange},
    {"topic_permissions", import_topic_permission},
    {"queues", import_queue},
    {"bindings", import_binding},
};

struct definitions_import *definitions_import_new(struct server *s, json_t *root, struct slice vhost,
                                                  char *error, size_t error_size)
{
    if (!json_is_object(root)) {
        snprintf(error, error_size, "definitions are a JSON object");
        return NULL;
    }
    for (size_t i = 0; i < array_size(sections); i++) {
        const json_t *section = json_object_get(root, sections[i].name);
        if (section && !json_is_array(section)) {
            snprintf(error, error_size, "'%s' is no list", sections[i].name);
            return NULL;
        }
    }
    struct definitions_import *import = mem_zalloc(sizeof(*import));
    import->server = s;
    import->root = json_incref(root);
    import->vhost = slice_copy(vhost);
    return import;
}

bool definitions_import_step(struct definitions_import *import, size_t budget)
{
    while (import->section < array_size(sections)) {
        const json_t *section = json_object_get(import->root, sections[import->section].name);
        for (; import->index < json_array_size(section); import->index++, import->done++) {
            if (budget == 0)
                return true;
            import->cost = 1;
            const json_t *object = json_array_get(section, import->index);
            if (!json_is_object(object))
                return fail(import, "number %zu of '%s' is no object", import->index + 1,
                            sections[import->section].name);
            if (!sections[import->section].import(import, object))
                return false;
            budget -= import->cost < budget ? import->cost : budget;
        }
        import->index = 0;
        import->section++;
    }
    return false;
}

void definitions_import_free(struct definitions_import **import)
{
    json_decref((*import)->root);
    slice_free(&(*import)->vhost);
    mem_free(*import);
    *import = NULL;
}
