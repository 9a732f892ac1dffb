/* limits.c - the limits of users and vhosts, in RabbitMQ's JSON. */
#include "auth/limits.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>

#include "base/assert.h"
#include "base/mem.h"

static const struct {
    const char *name;
    bool of[LIMITS_OF_VHOST + 1];
} kinds[LIMIT_KINDS] = {
    [LIMIT_CONNECTIONS] = {"max-connections", {true, true}},
    [LIMIT_CHANNELS] = {"max-channels", {[LIMITS_OF_USER] = true}},
    [LIMIT_QUEUES] = {"max-queues", {[LIMITS_OF_VHOST] = true}},
};

struct limits limits_none(void)
{
    struct limits limits;
    for (size_t i = 0; i < LIMIT_KINDS; i++)
        limits.max[i] = UNLIMITED;
    return limits;
}

bool limits_are_set(const struct limits *limits)
{
    for (size_t i = 0; i < LIMIT_KINDS; i++)
        if (limits->max[i] != UNLIMITED)
            return true;
    return false;
}

bool limits_kind(enum limits_owner owner, struct slice name, enum limit_kind *kind)
{
    assert((size_t)owner < array_size(kinds[0].of));
    for (size_t i = 0; i < LIMIT_KINDS; i++)
        if (kinds[i].of[owner] && slice_is(name, kinds[i].name)) {
            *kind = (enum limit_kind)i;
            return true;
        }
    return false;
}

static bool read_members(struct limits *limits, enum limits_owner owner, json_t *object,
                         char *error, size_t error_size)
{
    const char *name;
    json_t *value;
    json_object_foreach(object, name, value)
    {
        enum limit_kind limit;
        if (!limits_kind(owner, slice_of_string(name), &limit)) {
            snprintf(error, error_size, "unknown limit '%.60s': expected max-connections or %s", name,
                     owner == LIMITS_OF_USER ? "max-channels" : "max-queues");
            return false;
        }
        if (!json_is_integer(value)) {
            snprintf(error, error_size, "%s should be an integer", name);
            return false;
        }
        json_int_t number = json_integer_value(value);
        limits->max[limit] = number < 0 ? UNLIMITED : (uint64_t)number;
    }
    return true;
}

bool limits_parse(struct limits *limits, enum limits_owner owner, struct slice json, char *error,
                  size_t error_size)
{
    struct limits read = *limits;
    json_error_t wrong;
    json_t *object =
        json_loadb((const char *)json.at, json.len, JSON_REJECT_DUPLICATES, &wrong);
    bool good = json_is_object(object);
    if (!good)
        snprintf(error, error_size, "limits are a JSON object such as {\"max-connections\": 10}%s%s",
                 object ? "" : ": ", object ? "" : wrong.text);
    good = good && read_members(&read, owner, object, error, error_size);
    json_decref(object);
    if (good)
        *limits = read;
    return good;
}

void limits_print(const struct limits *limits, struct buf *json)
{
    const char *comma = "";
    buf_printf(json, "{");
    for (size_t i = 0; i < LIMIT_KINDS; i++) {
        if (limits->max[i] == UNLIMITED)
            continue;
        buf_printf(json, "%s\"%s\":%" PRIu64, comma, kinds[i].name, limits->max[i]);
        comma = ",";
    }
    buf_printf(json, "}");
}
