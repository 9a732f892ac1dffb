/* group.h - which group a message belongs to: the argument x-group-by of a queue (docs/group-by.md).
 *
 * The argument says what of a message names its group: "header:NAME", "property:message-id" (or
 * correlation-id, type, app-id, user-id, reply-to), or "routing-key". Messages of one name are a group. */
#ifndef QUEUE_GROUP_H
#define QUEUE_GROUP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"
#include "protocol/message.h"

enum group_source { GROUP_NONE, GROUP_BY_HEADER, GROUP_BY_PROPERTY, GROUP_BY_KEY };

/* How many groups of a queue have an order of their own at a time: x-group-max, and what it may be. */
enum { GROUP_MAX_DEFAULT = 4096, GROUP_MAX = 60000 };

/* A name is kept in so many bytes; of a longer one its beginning and a hash. */
enum { GROUP_NAME_MAX = 255 };

struct group_by {
    enum group_source source;
    uint16_t property;   /* PROP_… of GROUP_BY_PROPERTY */
    struct slice header; /* points into the argument */
};

/* Reads the argument; false when it says nothing that there is. */
bool group_by_parse(struct slice text, struct group_by *by);
/* The name of the message's group, in the message or in `room`; empty when it has none: the header or
 * property is not there or empty, or the header is neither text nor an integer. */
struct slice group_of(const struct group_by *by, const struct message *m, uint8_t room[GROUP_NAME_MAX]);

#endif
