/* policy.c - one policy: checked, matched, merged.
 *
 * Owner: its references. Patterns are an administrator's and names a client's: matching is bounded
 * (auth/pattern.h). */
#include "broker/policy.h"

#include <inttypes.h>
#include <stdio.h>

#include "auth/pattern.h"
#include "base/assert.h"
#include "base/mem.h"
#include "broker/json_in.h"
#include "broker/json_out.h"
#include "queue/retry.h"

enum key_kind { KIND_NUMBER, KIND_TEXT, KIND_OVERFLOW, KIND_STRATEGY, KIND_FLAG, KIND_DELAYS, KIND_ANY };
enum key_operator { OPERATOR_NONE, OPERATOR_MIN, OPERATOR_OURS };
enum key_target { TARGET_QUEUES, TARGET_EXCHANGES, TARGET_BOTH };

static const struct key {
    const char *name;
    enum key_kind kind;
    int64_t min, max;
    enum key_target target;
    enum key_operator rule;
    bool idle;
    const char *what;
} keys[] = {
#define KEY(name, kind, min, max, target, operator, what)                                                  \
    {name, KIND_##kind, min, max, TARGET_##target, OPERATOR_##operator, false, what},
#define IDLE(name, operator) {name, KIND_ANY, 0, 0, TARGET_BOTH, OPERATOR_##operator, true, ""},
#include "broker/policy.def"
};

static const char *const fixed[] = {
#define FIXED(name) name,
#include "broker/policy.def"
};

static const char *const target_names[] = {[POLICY_QUEUES] = "queues",
                                           [POLICY_CLASSIC_QUEUES] = "classic_queues",
                                           [POLICY_QUORUM_QUEUES] = "quorum_queues",
                                           [POLICY_STREAMS] = "streams",
                                           [POLICY_EXCHANGES] = "exchanges",
                                           [POLICY_ALL] = "all"};

static const struct key *find_key(const char *name)
{
    for (size_t i = 0; i < array_size(keys); i++)
        if (strcmp(keys[i].name, name) == 0)
            return &keys[i];
    return NULL;
}

/* --- checking --- */

__attribute__((format(printf, 3, 4))) static bool refuse(char *reason, size_t size, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(reason, size, format, args);
    va_end(args);
    return false;
}

/* Why the key is not known, as far as that can be said. */
static const char *hint(const char *name)
{
    const char *bare = strncmp(name, "x-", 2) == 0 ? name + 2 : name;
    for (size_t i = 0; i < array_size(fixed); i++)
        if (strcmp(bare, fixed[i]) == 0)
            return ": it is an argument, which cannot change after the declaration";
    return "";
}

static bool is_one_of(const json_t *value, const char *const *words)
{
    for (; *words; words++)
        if (json_is_string(value) && strcmp(json_string_value(value), *words) == 0)
            return true;
    return false;
}

static bool is_list_of_delays(const struct key *key, const json_t *value)
{
    size_t count = json_array_size(value);
    bool good = count > 0 && count <= RETRY_STEPS_MAX;
    for (size_t i = 0; good && i < count; i++) {
        const json_t *delay = json_array_get(value, i);
        good = json_is_integer(delay) && json_integer_value(delay) >= key->min &&
               json_integer_value(delay) <= key->max;
    }
    return good;
}

static bool value_fits(const struct key *key, const json_t *value)
{
    static const char *const overflows[] = {"drop-head", "reject-publish", "reject-publish-dlx", NULL};
    static const char *const strategies[] = {"at-most-once", "at-least-once", NULL};
    switch (key->kind) {
    case KIND_NUMBER:
        return json_is_integer(value) && json_integer_value(value) >= key->min &&
               json_integer_value(value) <= key->max;
    case KIND_TEXT:
        return json_is_string(value) && json_string_length(value) <= (size_t)key->max;
    case KIND_OVERFLOW:
        return is_one_of(value, overflows);
    case KIND_STRATEGY:
        return is_one_of(value, strategies);
    case KIND_FLAG:
        return json_is_boolean(value);
    case KIND_DELAYS:
        return is_list_of_delays(key, value);
    case KIND_ANY:
        break;
    }
    return true;
}

static bool check_definition(const json_t *definition, bool of_operator, char *reason, size_t size)
{
    const char *name;
    json_t *value;
    if (!json_is_object(definition) || json_object_size(definition) == 0)
        return refuse(reason, size, "no policy provided");
    json_object_foreach((json_t *)(uintptr_t)definition, name, value)
    {
        const struct key *key = find_key(name);
        struct slice text = json_in_dump(value);
        bool known = key && !(of_operator && key->rule == OPERATOR_NONE);
        if (!known)
            refuse(reason, size, "[{<<\"%.100s\">>,%.*s}] are not recognised policy settings%s", name,
                   (int)(text.len < 100 ? text.len : 100), (const char *)text.at, hint(name));
        else if (!value_fits(key, value))
            refuse(reason, size, "%.*s is not a valid %s (%s)", (int)(text.len < 100 ? text.len : 100),
                   (const char *)text.at, key->what, name);
        bool good = known && value_fits(key, value);
        slice_free(&text);
        if (!good)
            return false;
    }
    if (json_object_get(definition, "dead-letter-routing-key") && !of_operator &&
        !json_object_get(definition, "dead-letter-exchange"))
        return refuse(reason, size, "dead-letter-routing-key needs a dead-letter-exchange");
    return true;
}

static bool find_target(struct slice name, enum policy_target *target)
{
    if (name.len == 0)
        name = SLICE("all");
    for (size_t i = 0; i < array_size(target_names); i++)
        if (slice_is(name, target_names[i])) {
            *target = (enum policy_target)i;
            return true;
        }
    return false;
}

/* [["message-ttl", 500]] is what RabbitMQ 3 makes of {"message-ttl": 500} in some exports. */
static json_t *read_pairs(const json_t *given)
{
    json_t *object = json_object();
    for (size_t i = 0; i < json_array_size(given); i++) {
        const json_t *pair = json_array_get(given, i);
        const json_t *name = json_array_get(pair, 0);
        if (json_array_size(pair) != 2 || !json_is_string(name)) {
            json_decref(object);
            return NULL;
        }
        json_object_set(object, json_string_value(name), json_array_get(pair, 1));
    }
    return object;
}

struct policy *policy_new(const struct policy_given *given, char *reason, size_t reason_size)
{
    char why[200];
    enum policy_target target;
    if (given->name.len == 0 || given->name.len > 255 || memchr(given->name.at, 0, given->name.len)) {
        refuse(reason, reason_size, "a policy's name has 1 to 255 bytes");
        return NULL;
    }
    if (!find_target(given->apply_to, &target)) {
        refuse(reason, reason_size,
               "apply-to '%.*s' unrecognised; should be 'queues', 'classic_queues', 'quorum_queues', "
               "'streams', 'exchanges' or 'all'",
               (int)(given->apply_to.len < 100 ? given->apply_to.len : 100),
               (const char *)given->apply_to.at);
        return NULL;
    }
    json_t *definition = json_is_array(given->definition) ? read_pairs(given->definition)
                                                          : json_deep_copy(given->definition);
    struct pattern *pattern = NULL;
    if (check_definition(definition, given->of_operator, reason, reason_size)) {
        pattern = given->pattern.len ? pattern_compile(given->pattern, why, sizeof(why))
                                     : pattern_compile(SLICE(".*"), why, sizeof(why));
        if (!pattern)
            refuse(reason, reason_size, "pattern should be regular expression but is invalid: %s", why);
    }
    if (!pattern) {
        json_decref(definition);
        return NULL;
    }
    struct policy *policy = mem_zalloc(sizeof(*policy));
    *policy = (struct policy){.refs = 1,
                              .of_operator = given->of_operator,
                              .name = slice_copy(given->name),
                              .source = slice_copy(given->pattern),
                              .pattern = pattern,
                              .apply_to = target,
                              .priority = given->priority,
                              .definition = definition};
    return policy;
}

struct policy *policy_hold(struct policy *policy)
{
    assert(policy->refs > 0);
    policy->refs++;
    return policy;
}

void policy_drop(struct policy **policy)
{
    struct policy *p = *policy;
    *policy = NULL;
    if (!p || --p->refs > 0)
        return;
    slice_free(&p->name);
    slice_free(&p->source);
    pattern_free(&p->pattern);
    json_decref(p->definition);
    mem_free(p);
}

/* --- matching --- */

bool policy_matches(const struct policy *policy, enum policy_subject subject, struct slice name)
{
    static const enum policy_target targets[] = {[POLICY_CLASSIC_QUEUE] = POLICY_CLASSIC_QUEUES,
                                                 [POLICY_QUORUM_QUEUE] = POLICY_QUORUM_QUEUES,
                                                 [POLICY_STREAM] = POLICY_STREAMS,
                                                 [POLICY_EXCHANGE] = POLICY_EXCHANGES};
    bool fits = policy->apply_to == POLICY_ALL || policy->apply_to == targets[subject] ||
                (policy->apply_to == POLICY_QUEUES && subject != POLICY_EXCHANGE);
    return fits && pattern_matches(policy->pattern, name);
}

int policy_compare(const struct policy *a, const struct policy *b)
{
    if (a->priority != b->priority)
        return a->priority > b->priority ? -1 : 1;
    return slice_compare(a->name, b->name);
}

const char *policy_target_name(enum policy_target target)
{
    assert((size_t)target < array_size(target_names));
    return target_names[target];
}

const char *policy_idle_key(const struct policy *policy)
{
    for (size_t i = 0; i < array_size(keys); i++)
        if (keys[i].idle && json_object_get(policy->definition, keys[i].name))
            return keys[i].name;
    return NULL;
}

/* --- merging --- */

static const json_t *value_of(const struct policy *policy, const char *key)
{
    return policy ? json_object_get(policy->definition, key) : NULL;
}

/* The value that counts of both, NULL when neither has it. */
static const json_t *merge(const struct policy *user, const struct policy *ceiling, const struct key *key)
{
    const json_t *mine = value_of(user, key->name), *theirs = value_of(ceiling, key->name);
    if (!theirs || !mine)
        return theirs ? theirs : mine;
    assert(key->rule != OPERATOR_NONE);
    if (key->rule == OPERATOR_OURS)
        return theirs;
    if (!json_is_integer(mine) || !json_is_integer(theirs))
        return theirs;
    /* -1 is no limit at all, where a key allows it: nothing is more. */
    if (json_integer_value(mine) < 0)
        return theirs;
    if (json_integer_value(theirs) < 0)
        return mine;
    return json_integer_value(mine) < json_integer_value(theirs) ? mine : theirs;
}

bool policy_number(const struct policy *user, const struct policy *ceiling, const char *key,
                   int64_t *number)
{
    const struct key *known = find_key(key);
    assertf(known && known->kind == KIND_NUMBER, "%s", key);
    const json_t *value = merge(user, ceiling, known);
    if (!value)
        return false;
    *number = json_integer_value(value);
    return true;
}

bool policy_flag(const struct policy *user, const char *key, bool *flag)
{
    const struct key *known = find_key(key);
    assertf(known && known->kind == KIND_FLAG, "%s", key);
    const json_t *value = merge(user, NULL, known);
    *flag = json_is_true(value);
    return value != NULL;
}

bool policy_delays(const struct policy *user, const char *key, uint64_t *delays_ms, unsigned *count)
{
    const struct key *known = find_key(key);
    assertf(known && known->kind == KIND_DELAYS, "%s", key);
    const json_t *value = merge(user, NULL, known);
    if (!value)
        return false;
    *count = (unsigned)json_array_size(value);
    for (unsigned i = 0; i < *count; i++)
        delays_ms[i] = (uint64_t)json_integer_value(json_array_get(value, i));
    return true;
}

bool policy_text(const struct policy *user, const struct policy *ceiling, const char *key,
                 struct slice *text)
{
    const struct key *known = find_key(key);
    assertf(known && known->kind != KIND_NUMBER, "%s", key);
    const json_t *value = merge(user, ceiling, known);
    if (!json_is_string(value))
        return false;
    *text = slice_of(json_string_value(value), json_string_length(value));
    return true;
}

void policy_effective(const struct policy *user, const struct policy *ceiling, struct buf *out)
{
    json_out_open(out, '{');
    for (size_t i = 0; i < array_size(keys); i++) {
        const json_t *value = merge(user, ceiling, &keys[i]);
        if (!value)
            continue;
        struct slice text = json_in_dump(value);
        json_out_key(out, keys[i].name);
        json_out_raw(out, text);
        slice_free(&text);
    }
    json_out_close(out, '}');
}

void policy_print(const struct policy *policy, struct buf *out)
{
    struct slice definition = json_in_dump(policy->definition);
    json_out_open(out, '{');
    json_out_key(out, "pattern");
    json_out_text(out, policy->source);
    json_out_key(out, "apply-to");
    json_out_string(out, target_names[policy->apply_to]);
    json_out_key(out, "definition");
    json_out_raw(out, definition);
    json_out_key(out, "priority");
    json_out_number(out, policy->priority);
    json_out_close(out, '}');
    slice_free(&definition);
}
