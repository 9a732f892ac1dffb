/* token_details.c - the claim authorization_details (RFC 9396), in the shape that RabbitMQ gives
 * it:
 * [{"type": "rabbitmq", "locations": ["cluster:id/vhost:v/queue:q*"], "actions": ["read"]}].
 *
 * What is malformed grants nothing. */
#include <jansson.h>
#include <string.h>

#include "auth/json_text.h"
#include "auth/token_claims.h"
#include "base/assert.h"
#include "base/buf.h"
#include "base/mem.h"

enum part { CLUSTER, VHOST, QUEUE, EXCHANGE, KEY, PARTS };

static const char *const part_names[PARTS] = {
    "cluster:", "vhost:", "queue:", "exchange:", "routing-key:"};

struct place {
    struct slice parts[PARTS];
    bool given[PARTS];
};

/* What runs over the rights: each action of a right in each of its places. */
struct details {
    const struct token_rules *rules;
    bool (*add)(void *arg, struct slice scope);
    void *arg;
    struct slice action;
};

/* "cluster:id/vhost:v/queue:q"; what is not known is left out. */
static struct place read_place(struct slice text)
{
    struct place place = {0};
    while (text.len) {
        const uint8_t *slash = memchr(text.at, '/', text.len);
        struct slice word = slice_of(text.at, slash ? (size_t)(slash - text.at) : text.len);
        for (size_t i = 0; i < PARTS; i++) {
            size_t name = strlen(part_names[i]);
            if (!slice_starts_with(word, part_names[i]) || word.len == name)
                continue;
            const uint8_t *colon = memchr(word.at + name, ':', word.len - name);
            place.parts[i] = slice_of(word.at + name,
                                      colon ? (size_t)(colon - word.at) - name : word.len - name);
            place.given[i] = true;
        }
        size_t step = word.len + (slash ? 1 : 0);
        text = slice_of(text.at + step, text.len - step);
    }
    return place;
}

/* A place is one of this server's when its cluster is, and names a queue or an exchange, or both
 * alike. */
static bool is_ours(const struct details *d, const struct place *place)
{
    return place->given[CLUSTER] &&
           wildcard_matches(place->parts[CLUSTER], slice_of_string(d->rules->resource_server_id)) &&
           (!place->given[QUEUE] || !place->given[EXCHANGE] ||
            slice_equal(place->parts[QUEUE], place->parts[EXCHANGE]));
}

static bool add_at(const struct details *d, const json_t *location)
{
    static const char *const tags[] = {"administrator", "management", "monitoring", "policymaker"};
    struct place place =
        json_is_string(location) ? read_place(json_text(location)) : (struct place){0};
    struct slice any = SLICE("*");
    struct buf scope = {0};
    if (!is_ours(d, &place))
        return true;
    const char *id = d->rules->resource_server_id;
    bool is_tag = false;
    for (size_t i = 0; i < array_size(tags); i++)
        is_tag = is_tag || slice_is(d->action, tags[i]);
    if (is_tag) {
        buf_printf(&scope, "%s.tag:%.*s", id, SLICE_ARG(d->action));
    } else {
        struct slice vhost = place.given[VHOST] ? place.parts[VHOST] : any;
        struct slice key = place.given[KEY] ? place.parts[KEY] : any;
        struct slice name = place.given[QUEUE]      ? place.parts[QUEUE]
                            : place.given[EXCHANGE] ? place.parts[EXCHANGE]
                                                    : any;
        buf_printf(&scope, "%s.%.*s:%.*s/%.*s/%.*s", id, SLICE_ARG(d->action), SLICE_ARG(vhost),
                   SLICE_ARG(name), SLICE_ARG(key));
    }
    assert(scope.len > 0);
    bool good = d->add(d->arg, buf_slice(&scope));
    buf_free(&scope);
    return good;
}

/* A text, or each text of a list. */
static bool each_text(const json_t *given, bool (*go)(struct details *d, const json_t *text),
                      struct details *d)
{
    bool good = !json_is_string(given) || go(d, given);
    for (size_t i = 0; good && i < json_array_size(given); i++)
        good = !json_is_string(json_array_get(given, i)) || go(d, json_array_get(given, i));
    return good;
}

static bool add_location(struct details *d, const json_t *location)
{
    return add_at(d, location);
}

struct right {
    struct details details;
    const json_t *locations;
};

static bool add_action(struct details *d, const json_t *action)
{
    const struct right *right = container_of(d, struct right, details);
    d->action = json_text(action);
    return each_text(right->locations, add_location, d);
}

bool token_details_read(json_t *payload, const struct token_rules *rules,
                        bool (*add)(void *arg, struct slice scope), void *arg)
{
    const json_t *rights = json_object_get(payload, "authorization_details");
    bool good = true;
    if (!rules->server_type || !*rules->server_type)
        return true;
    for (size_t i = 0; good && i < json_array_size(rights); i++) {
        const json_t *given = json_array_get(rights, i);
        const json_t *type = json_object_get(given, "type");
        struct right right = {.details = {.rules = rules, .add = add, .arg = arg},
                              .locations = json_object_get(given, "locations")};
        if (json_is_string(type) && slice_is(json_text(type), rules->server_type))
            good = each_text(json_object_get(given, "actions"), add_action, &right.details);
    }
    return good;
}
