/* command_parameter.c - requests about policies and runtime parameters. */
#include <inttypes.h>

#include "auth/limits.h"
#include "broker/commands.h"
#include "broker/json_in.h"
#include "broker/json_out.h"
#include "broker/parameters.h"

/* A JSON value that came as a text, NULL and failed otherwise. */
static json_t *parse(struct request *r, const char *name)
{
    char error[256];
    json_t *value = json_in_parse(request_text(r, name), error, sizeof(error));
    if (!value)
        request_fail(r, REQUEST_INVALID, "JSON decoding error. Reason: %s", error);
    return value;
}

static void set_policy(struct request *r, bool of_operator)
{
    struct vhost *v = request_vhost(r);
    json_t *definition = v ? parse(r, "definition") : NULL;
    char reason[400];
    if (!definition)
        return;
    struct policy_given given = {.name = request_text(r, "name"),
                                 .pattern = request_text(r, "pattern"),
                                 .apply_to = request_text(r, "apply_to"),
                                 .definition = definition,
                                 .of_operator = of_operator};
    json_in_number(r->args, "priority", &given.priority);
    if (!policies_set(v, &given, true, reason, sizeof(reason)))
        request_fail(r, REQUEST_INVALID, "Validation failed: %s", reason);
    json_decref(definition);
}

static void clear_policy(struct request *r, bool of_operator)
{
    struct vhost *v = request_vhost(r);
    if (v && !policies_clear(v, request_text(r, "name"), of_operator))
        request_fail(r, REQUEST_MISSING, "Parameter does not exist");
}

static void put_policy(struct request *r, const struct vhost *v, const struct policy *policy)
{
    struct buf *out = &r->out;
    struct slice definition = json_in_dump(policy->definition);
    request_row_begin(r);
    json_out_key(out, "vhost");
    json_out_text(out, v->name);
    json_out_key(out, "name");
    json_out_text(out, policy->name);
    json_out_key(out, "pattern");
    json_out_text(out, policy->source);
    json_out_key(out, "apply-to");
    json_out_string(out, policy_target_name(policy->apply_to));
    json_out_key(out, "definition");
    json_out_raw(out, definition);
    json_out_key(out, "priority");
    json_out_number(out, policy->priority);
    request_row_end(r);
    slice_free(&definition);
}

static void list_policies(struct request *r, bool of_operator)
{
    const struct vhost *v = request_vhost(r);
    for (size_t i = 0; v && i < v->policies.counts[of_operator]; i++)
        put_policy(r, v, v->policies.lists[of_operator][i]);
}

void command_set_policy(struct request *r)
{
    set_policy(r, false);
}

void command_set_operator_policy(struct request *r)
{
    set_policy(r, true);
}

void command_clear_policy(struct request *r)
{
    clear_policy(r, false);
}

void command_clear_operator_policy(struct request *r)
{
    clear_policy(r, true);
}

void command_list_policies(struct request *r)
{
    list_policies(r, false);
}

void command_list_operator_policies(struct request *r)
{
    list_policies(r, true);
}

/* --- parameters --- */

static void put_parameter(struct request *r, struct slice component, struct slice name, struct slice value)
{
    request_row_begin(r);
    if (component.len) {
        json_out_key(&r->out, "component");
        json_out_text(&r->out, component);
    }
    json_out_key(&r->out, "name");
    json_out_text(&r->out, name);
    json_out_key(&r->out, "value");
    json_out_raw(&r->out, value);
    request_row_end(r);
}

static void set_parameter(struct request *r, struct slice vhost, struct slice component)
{
    bool idle = false;
    char reason[256];
    struct slice name = request_text(r, "name");
    json_t *value = parse(r, "value");
    if (!value)
        return;
    bool global = vhost.len == 0;
    struct parameter given = {.vhost = vhost, .component = component, .name = name};
    if (global && (name.len == 0 || name.len > 255 || memchr(name.at, 0, name.len)))
        request_fail(r, REQUEST_INVALID, "Validation failed: a parameter's name has 1 to 255 bytes");
    else if (!global && !parameters_check(r->server, &given, value, &idle, reason, sizeof(reason)))
        request_fail(r, REQUEST_INVALID, "Validation failed: %s", reason);
    if (!r->error) {
        given.value = json_in_dump(value);
        parameters_put(r->server, &given, true);
        slice_free(&given.value);
    }
    if (idle && !r->error)
        log_line(&r->server->log, LOG_WARNING, 0,
                 "parameter '%.*s' of component '%.*s' is kept, but this version does not act on it",
                 SLICE_ARG(name), SLICE_ARG(component));
    json_decref(value);
}

void command_set_parameter(struct request *r)
{
    const struct vhost *v = request_vhost(r);
    if (v)
        set_parameter(r, v->name, request_text(r, "component"));
}

void command_set_global_parameter(struct request *r)
{
    set_parameter(r, SLICE(""), SLICE("global"));
}

void command_clear_parameter(struct request *r)
{
    const struct vhost *v = request_vhost(r);
    struct slice component = request_text(r, "component"), name = request_text(r, "name");
    bool fits = component.len < 256 && name.len < 256;
    if (v && !(fits && parameters_remove(r->server, v->name, component, name)))
        request_fail(r, REQUEST_MISSING, "Parameter does not exist");
}

void command_clear_global_parameter(struct request *r)
{
    struct slice name = request_text(r, "name");
    if (name.len > 255 || !parameters_remove(r->server, SLICE(""), SLICE("global"), name))
        request_fail(r, REQUEST_MISSING, "Parameter does not exist");
}

static void list_parameters(struct request *r, struct slice vhost, bool global)
{
    list_each (node, &r->server->parameters.all) {
        const struct parameter *p = container_of(node, struct parameter, link);
        if (slice_equal(p->vhost, vhost))
            put_parameter(r, global ? SLICE("") : p->component, p->name, p->value);
    }
}

/* Limits and operator policies are parameters for RabbitMQ, too. */
void command_list_parameters(struct request *r)
{
    const struct vhost *v = request_vhost(r);
    struct buf json = {0};
    if (!v)
        return;
    limits_print(&v->limits, &json);
    if (!slice_is(buf_slice(&json), "{}"))
        put_parameter(r, SLICE("vhost-limits"), SLICE("limits"), buf_slice(&json));
    for (size_t i = 0; i < v->policies.counts[1]; i++) {
        json.len = 0;
        policy_print(v->policies.lists[1][i], &json);
        put_parameter(r, SLICE("operator_policy"), v->policies.lists[1][i]->name, buf_slice(&json));
    }
    buf_free(&json);
    list_parameters(r, v->name, false);
}

void command_list_global_parameters(struct request *r)
{
    list_parameters(r, SLICE(""), true);
}
