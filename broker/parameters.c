/* parameters.c - runtime parameters.
 *
 * Owner: the server. They are an administrator's, some dozens: whoever wants those of one component walks
 * through all. */
#include "broker/parameters.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/assert.h"
#include "base/buf.h"
#include "broker/server.h"

enum { KEY_MAX = 3 * 256 };

/* Those but the policies' are idle: whoever moves here from RabbitMQ keeps them for the day when Leveret has
 * links to other brokers. */
static const char *const components[COMPONENT_COUNT] = {
    [COMPONENT_POLICY] = "policy",
    [COMPONENT_OPERATOR_POLICY] = "operator_policy",
    [COMPONENT_SHOVEL] = "shovel",
    [COMPONENT_FEDERATION] = "federation",
    [COMPONENT_UPSTREAM] = "federation-upstream",
    [COMPONENT_UPSTREAM_SET] = "federation-upstream-set",
};

/* COMPONENT_COUNT when it is none of these. */
static enum config_component component_of(struct slice name)
{
    enum config_component component = 0;
    while (component < COMPONENT_COUNT && !slice_is(name, components[component]))
        component++;
    return component;
}

/* Global ones have a component of their own, without a limit. */
static void count(struct parameters *parameters, const struct parameter *p, bool more)
{
    enum config_component component = component_of(p->component);
    if (component == COMPONENT_COUNT || p->vhost.len == 0)
        return;
    assert(component > COMPONENT_OPERATOR_POLICY && (more || parameters->counts[component] > 0));
    parameters->counts[component] += more ? 1 : (size_t)-1;
}

void parameters_init(struct parameters *parameters, uint64_t seed)
{
    map_init(&parameters->by_key, seed);
    list_init(&parameters->all);
    list_init(&parameters->settling);
}

static void free_parameter(struct parameters *parameters, struct parameter *p)
{
    count(parameters, p, false);
    map_remove(&parameters->by_key, p->key);
    list_remove(&p->link);
    slice_free(&p->key);
    slice_free(&p->value);
    mem_free(p);
}

void parameters_free(struct parameters *parameters)
{
    while (!list_empty(&parameters->all))
        free_parameter(parameters, list_first(&parameters->all, struct parameter, link));
    map_free(&parameters->by_key);
}

/* No part of one that there is has a zero byte: names are UTF-8 without one. */
static struct slice make_key(struct slice vhost, struct slice component, struct slice name,
                             char key[KEY_MAX])
{
    assert(vhost.len < 256 && component.len < 256 && name.len < 256);
    const struct slice parts[] = {vhost, component, name};
    size_t len = 0;
    for (size_t i = 0; i < array_size(parts); i++) {
        if (i > 0)
            key[len++] = 0;
        if (parts[i].len)
            memcpy(key + len, parts[i].at, parts[i].len);
        len += parts[i].len;
    }
    assert(len <= KEY_MAX);
    return slice_of(key, len);
}

static struct parameter *find(const struct server *s, struct slice vhost, struct slice component,
                              struct slice name)
{
    char key[KEY_MAX];
    return map_get(&s->parameters.by_key, make_key(vhost, component, name, key));
}

const struct parameter *parameters_find(const struct server *s, struct slice vhost, struct slice component,
                                        struct slice name)
{
    return find(s, vhost, component, name);
}

static struct definition definition_of(const struct parameter *p)
{
    return (struct definition){.kind = DEFINITION_PARAMETER,
                               .vhost = p->vhost,
                               .type = p->component,
                               .name = p->name,
                               .args = p->value};
}

static struct parameter *add(struct server *s, const struct parameter *given)
{
    char key[KEY_MAX];
    struct parameter *p = mem_zalloc(sizeof(*p));
    p->key = slice_copy(make_key(given->vhost, given->component, given->name, key));
    const uint8_t *at = p->key.at;
    p->vhost = slice_of(at, given->vhost.len);
    p->component = slice_of(at + p->vhost.len + 1, given->component.len);
    p->name = slice_of(p->component.at + p->component.len + 1, given->name.len);
    assert(p->name.at + p->name.len == at + p->key.len);
    map_put(&s->parameters.by_key, p->key, p);
    list_push_back(&s->parameters.all, &p->link);
    count(&s->parameters, p, true);
    return p;
}

void parameters_put(struct server *s, const struct parameter *given, bool stored)
{
    struct parameter *p = find(s, given->vhost, given->component, given->name);
    if (!p)
        p = add(s, given);
    struct slice value = slice_copy(given->value);
    slice_free(&p->value);
    p->value = value;
    if (!stored)
        return;
    struct definition definition = definition_of(p);
    store_define(s->store, &definition);
    s->defined_batch = store_open_batch(s->store);
    event(s, "parameter.set", EVENT_TEXT("component", p->component), EVENT_TEXT("name", p->name),
          EVENT_TEXT("vhost", p->vhost));
}

static void remove_parameter(struct server *s, struct parameter *p)
{
    struct definition definition = definition_of(p);
    store_undefine(s->store, &definition);
    s->defined_batch = store_open_batch(s->store);
    event(s, "parameter.cleared", EVENT_TEXT("component", p->component), EVENT_TEXT("name", p->name),
          EVENT_TEXT("vhost", p->vhost));
    free_parameter(&s->parameters, p);
}

bool parameters_remove(struct server *s, struct slice vhost, struct slice component, struct slice name)
{
    struct parameter *p = find(s, vhost, component, name);
    if (p)
        remove_parameter(s, p);
    return p;
}

void parameters_remove_vhost(struct server *s, struct slice vhost)
{
    list_each_safe (node, &s->parameters.all) {
        struct parameter *p = container_of(node, struct parameter, link);
        if (slice_equal(p->vhost, vhost))
            remove_parameter(s, p);
    }
}

bool parameters_fit(const struct server *s, enum config_component component, bool replaces, char *reason,
                    size_t reason_size)
{
    uint64_t max = s->config->topology.parameters_max[component];
    assert(component < COMPONENT_COUNT);
    if (replaces || s->parameters.counts[component] < max)
        return true;
    snprintf(reason, reason_size, "component %s is limited to %" PRIu64, components[component], max);
    return false;
}

bool parameters_check(const struct server *s, const struct parameter *given, const json_t *value, bool *idle,
                      char *reason, size_t reason_size)
{
    struct slice name = given->name;
    enum config_component component = component_of(given->component);
    *idle = component < COMPONENT_COUNT && component > COMPONENT_OPERATOR_POLICY;
    if (name.len == 0 || name.len > 255 || memchr(name.at, 0, name.len) || !value)
        snprintf(reason, reason_size, "a parameter's name has 1 to 255 bytes");
    else if (component <= COMPONENT_OPERATOR_POLICY)
        snprintf(reason, reason_size, "policies may not be set using this method");
    else if (!*idle)
        snprintf(reason, reason_size, "component %.*s not found",
                 (int)(given->component.len < 100 ? given->component.len : 100),
                 (const char *)given->component.at);
    else
        return parameters_fit(s, component, find(s, given->vhost, given->component, name), reason,
                              reason_size);
    return false;
}
