/* policies.c - the policies of a vhost.
 *
 * Owner: the vhost; each governed queue and exchange has a reference of its own, so that one which was
 * replaced lives until the last of them has been gone through. */
#include "broker/policies.h"

#include <stdio.h>

#include "auth/pattern.h"
#include "broker/event.h"
#include "broker/govern.h"
#include "broker/json_in.h"
#include "broker/vhost.h"

enum { GIVE_UPS_OF_A_NAME = 3 }; /* of policies, and as many of operator policies */

static void settle(struct vhost *v)
{
    struct policies *policies = &v->policies;
    struct server *s = v->server;
    if (!list_linked(&policies->settling))
        list_push_back(&s->parameters.settling, &policies->settling);
    walk_end(&policies->walk);
    walk_begin(&s->control.walks, &policies->walk, v);
    policies->at_exchanges = false;
    policies->walk.at[0] = v->default_exchange->binding_list.next;
}

static struct policy *find(const struct policies *policies, struct slice name, bool of_operator)
{
    return map_get(&policies->by_name[of_operator], name);
}

/* Where it is in the list, or would be. */
static size_t place_of(const struct policies *policies, const struct policy *policy)
{
    struct policy *const *list = policies->lists[policy->of_operator];
    size_t low = 0, high = policies->counts[policy->of_operator];
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (policy_compare(list[middle], policy) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void take_out(struct policies *policies, struct policy *policy)
{
    bool kind = policy->of_operator;
    struct policy **at = &policies->lists[kind][place_of(policies, policy)];
    assert(policies->counts[kind] > 0 && *at == policy);
    size_t after = --policies->counts[kind] - (size_t)(at - policies->lists[kind]);
    memmove(at, at + 1, after * sizeof(*at));
    void *removed = map_remove(&policies->by_name[kind], policy->name);
    assert(removed == policy);
    policy_drop(&policy);
}

/* Of all vhosts. */
static size_t *count_of(struct vhost *v, bool of_operator)
{
    return &v->server->parameters.counts[COMPONENT_POLICY + of_operator];
}

static void put(struct vhost *v, struct policy *policy)
{
    struct policies *policies = &v->policies;
    bool kind = policy->of_operator;
    struct policy *old = find(policies, policy->name, kind);
    if (old)
        take_out(policies, old);
    else
        ++*count_of(v, kind);
    size_t count = policies->counts[kind], place = place_of(policies, policy);
    policies->lists[kind] = mem_realloc(policies->lists[kind], (count + 1) * sizeof(struct policy *));
    struct policy **at = &policies->lists[kind][place];
    memmove(at + 1, at, (count - place) * sizeof(*at));
    *at = policy;
    policies->counts[kind]++;
    map_put(&policies->by_name[kind], policy->name, policy);
}

/* policy.set, policy.cleared; to RabbitMQ an operator's is a parameter. */
static void tell(struct vhost *v, struct slice name, bool of_operator, const struct policy *policy)
{
    char key[32];
    snprintf(key, sizeof(key), "%s.%s", of_operator ? "parameter" : "policy", policy ? "set" : "cleared");
    struct buf definition = {0};
    const char *reason = NULL;
    struct event_field unset = {.name = "", .type = 0};
    if (policy && event_wanted(v->server))
        json_in_table(policy->definition, &definition, &reason);
    event(v->server, key, EVENT_TEXT("name", name), EVENT_TEXT("vhost", v->name),
          of_operator ? EVENT_TEXT("component", POLICIES_COMPONENT(true)) : unset,
          policy ? EVENT_TEXT("pattern", policy->source) : unset,
          policy ? EVENT_TEXT("apply-to", slice_of_string(policy_target_name(policy->apply_to))) : unset,
          policy ? EVENT_NUMBER("priority", policy->priority) : unset,
          policy ? EVENT_TABLE("definition", buf_slice(&definition)) : unset);
    buf_free(&definition);
}

bool policies_set(struct vhost *v, const struct policy_given *given, bool stored, char *reason,
                  size_t reason_size)
{
    struct policies *policies = &v->policies;
    if (policies->counts[given->of_operator] >= POLICIES_MAX &&
        !find(policies, given->name, given->of_operator)) {
        snprintf(reason, reason_size, "a vhost has at most %d policies", POLICIES_MAX);
        return false;
    }
    if (stored && !parameters_fit(v->server, COMPONENT_POLICY + given->of_operator,
                                  find(policies, given->name, given->of_operator), reason, reason_size))
        return false;
    struct policy *policy = policy_new(given, reason, reason_size);
    if (!policy)
        return false;
    put(v, policy);
    const char *idle = policy_idle_key(policy);
    if (idle)
        log_line(&v->server->log, LOG_WARNING, 0,
                 "policy '%.*s' in vhost '%.*s': '%s' is kept, but this version does not act on it",
                 SLICE_ARG(policy->name), SLICE_ARG(v->name), idle);
    if (stored) {
        struct buf json = {0};
        policy_print(policy, &json);
        struct definition definition = {.kind = DEFINITION_PARAMETER,
                                        .vhost = v->name,
                                        .type = POLICIES_COMPONENT(given->of_operator),
                                        .name = policy->name,
                                        .args = buf_slice(&json)};
        store_define(v->server->store, &definition);
        v->server->defined_batch = store_open_batch(v->server->store);
        buf_free(&json);
    }
    if (stored)
        tell(v, given->name, given->of_operator, policy);
    settle(v);
    return true;
}

bool policies_recover(struct vhost *v, struct slice name, bool of_operator, struct slice json, char *reason,
                      size_t reason_size)
{
    json_t *value = json_in_parse(json, reason, reason_size);
    struct policy_given given = {
        .name = name, .of_operator = of_operator, .definition = json_object_get(value, "definition")};
    bool good = value && json_in_text(value, "pattern", &given.pattern) &&
                json_in_text(value, "apply-to", &given.apply_to) &&
                json_in_number(value, "priority", &given.priority);
    if (value && !good)
        snprintf(reason, reason_size, "no policy");
    good = good && policies_set(v, &given, false, reason, reason_size);
    json_decref(value);
    return good;
}

bool policies_clear(struct vhost *v, struct slice name, bool of_operator)
{
    struct policies *policies = &v->policies;
    struct policy *policy = find(policies, name, of_operator);
    if (!policy)
        return false;
    struct definition definition = {.kind = DEFINITION_PARAMETER,
                                    .vhost = v->name,
                                    .type = POLICIES_COMPONENT(of_operator),
                                    .name = name};
    store_undefine(v->server->store, &definition);
    v->server->defined_batch = store_open_batch(v->server->store);
    tell(v, name, of_operator, NULL);
    --*count_of(v, of_operator);
    take_out(policies, policy); /* `name` may be its own */
    settle(v);
    return true;
}

void policies_stop(struct vhost *v)
{
    list_unlink(&v->policies.settling);
    walk_end(&v->policies.walk);
}

void policies_free(struct vhost *v)
{
    struct policies *policies = &v->policies;
    policies_stop(v);
    for (int kind = 0; kind < 2; kind++) {
        *count_of(v, kind) -= policies->counts[kind];
        for (size_t i = 0; i < policies->counts[kind]; i++)
            policy_drop(&policies->lists[kind][i]);
        mem_free(policies->lists[kind]);
        map_free(&policies->by_name[kind]);
    }
    *policies = (struct policies){0};
}

/* --- governing --- */

/* Said once of each policy: names are users', and many. */
static void tell_give_up(const struct vhost *v, struct policy *policy, struct slice name)
{
    if (policy->gave_up)
        return;
    policy->gave_up = true;
    log_line(&v->server->log, LOG_WARNING, 0,
             "%s '%.*s' in vhost '%.*s' does not govern '%.*s', since the match of its pattern was "
             "given up after %d steps: simplify the pattern",
             policy->of_operator ? "operator policy" : "policy", SLICE_ARG(policy->name),
             SLICE_ARG(v->name), SLICE_ARG(name), PATTERN_STEPS_MAX);
}

/* Patterns that backtrack without end have together a few milliseconds for a name; then nothing governs
 * it. */
static struct policy *choose(struct vhost *v, bool of_operator, enum policy_subject subject,
                             struct slice name)
{
    struct policies *policies = &v->policies;
    int give_ups = 0;
    for (size_t i = 0; i < policies->counts[of_operator] && give_ups < GIVE_UPS_OF_A_NAME; i++) {
        struct policy *policy = policies->lists[of_operator][i];
        if (policy_matches(policy, subject, name))
            return policy;
        if (!pattern_gave_up(policy->pattern))
            continue;
        give_ups++;
        policies->give_ups++;
        tell_give_up(v, policy, name);
    }
    return NULL;
}

void policies_govern(struct vhost *v, struct dest *dest)
{
    enum policy_subject subject = govern_subject(dest);
    struct policy *old[2] = {dest->policies[0], dest->policies[1]};
    for (int kind = 0; kind < 2; kind++) {
        struct policy *found = kind == 1 && subject == POLICY_EXCHANGE
                                   ? NULL /* operators limit queues */
                                   : choose(v, kind, subject, dest->name);
        dest->policies[kind] = found ? policy_hold(found) : NULL;
    }
    if (old[0] != dest->policies[0] || old[1] != dest->policies[1])
        govern_apply(v, dest);
    policy_drop(&old[0]);
    policy_drop(&old[1]);
}

size_t policies_cost(const struct policies *policies)
{
    return (policies->counts[0] + policies->counts[1]) / (POLICIES_MATCHES_TURN / POLICIES_SETTLE_TURN);
}

void policies_release(struct dest *dest)
{
    policy_drop(&dest->policies[0]);
    policy_drop(&dest->policies[1]);
}

/* The next queue or exchange that the walk comes to, NULL when all have been gone through. */
static struct dest *next_dest(struct vhost *v)
{
    struct policies *policies = &v->policies;
    struct walk *walk = &policies->walk;
    if (!policies->at_exchanges && walk->at[0] == &v->default_exchange->binding_list) {
        policies->at_exchanges = true;
        walk->at[0] = v->default_exchange->of_vhost.next; /* the first; no policy is for it */
    }
    struct list *node = walk->at[0];
    if (policies->at_exchanges && node == &v->exchange_list)
        return NULL;
    walk->at[0] = node->next;
    if (policies->at_exchanges)
        return &container_of(node, struct exchange, of_vhost)->dest;
    return container_of(node, struct binding, by_source)->dest;
}

void policies_act(struct server *s)
{
    if (list_empty(&s->parameters.settling))
        return;
    struct policies *policies = list_first(&s->parameters.settling, struct policies, settling);
    struct vhost *v = container_of(policies, struct vhost, policies);
    assert(policies->walk.owner == v);
    uint64_t give_ups = policies->give_ups;
    size_t cost = 1 + policies_cost(policies);
    for (size_t spent = 0; spent < POLICIES_SETTLE_TURN && policies->give_ups - give_ups < GIVE_UPS_OF_A_NAME;
         spent += cost) {
        struct dest *dest = next_dest(v);
        if (!dest) {
            walk_end(&policies->walk);
            list_remove(&policies->settling);
            return;
        }
        policies_govern(v, dest);
    }
}

bool policies_are_settling(const struct server *s)
{
    return !list_empty(&s->parameters.settling);
}
