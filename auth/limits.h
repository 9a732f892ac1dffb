/* limits.h - the limits of users and vhosts, in RabbitMQ's JSON: {"max-connections": 10}. */
#ifndef AUTH_LIMITS_H
#define AUTH_LIMITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/slice.h"

/* Users have max-connections and max-channels, vhosts max-connections and max-queues. */
enum limit_kind { LIMIT_CONNECTIONS, LIMIT_CHANNELS, LIMIT_QUEUES, LIMIT_KINDS };
enum limits_owner { LIMITS_OF_USER, LIMITS_OF_VHOST };

#define UNLIMITED UINT64_MAX

struct limits {
    uint64_t max[LIMIT_KINDS];
};

struct limits limits_none(void);
bool limits_are_set(const struct limits *limits);
/* Reads a JSON object into `limits`; what it does not name stays, a negative number is no limit. False
 * and one sentence, with `limits` as it was, when it is no such object or names something else. */
bool limits_parse(struct limits *limits, enum limits_owner owner, struct slice json, char *error,
                  size_t error_size);
/* Appends the object, {} when there is no limit. */
void limits_print(const struct limits *limits, struct buf *json);
/* The kind behind a name such as "max-channels"; false when this owner has none of that name. */
bool limits_kind(enum limits_owner owner, struct slice name, enum limit_kind *kind);
/* True when `count` more would be too many on top of what there is. */
static inline bool limits_reached(const struct limits *limits, enum limit_kind limit, uint64_t there_are)
{
    return there_are >= limits->max[limit];
}

#endif
