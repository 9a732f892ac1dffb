/* kind.h - what a queue is from its declaration on, and no policy changes: its type, how it orders, whether
 * its consumers take turns (RabbitMQ's pages "Queues", "Quorum Queues", "Priority Queue Support"). */
#ifndef QUEUE_KIND_H
#define QUEUE_KIND_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"
#include "queue/group.h"

enum kind_type { KIND_CLASSIC, KIND_QUORUM };

/* A quorum queue orders by these priorities, as in RabbitMQ 4.3; a classic one as it was declared. */
enum { KIND_QUORUM_PRIORITY_MAX = 31, KIND_QUORUM_PRIORITY_MISSING = 4 };

/* How often a message of a quorum queue may come back when nobody says how often. */
enum { KIND_QUORUM_DELIVERY_LIMIT = 20 };

/* First in, first out; by priority (levels.h); by group (groups.h), which ignores priorities. */
enum kind_ordering { KIND_FIFO, KIND_LEVELS, KIND_GROUPS };

struct kind {
    enum kind_type type;
    uint8_t priority_max;     /* 0 = first in, first out */
    uint8_t priority_missing; /* of messages without one */
    bool single_active;       /* one consumer at a time */
    enum kind_ordering ordering;
    struct group_by group_by; /* KIND_GROUPS: its name points into the arguments */
    unsigned group_max;
    bool keeper; /* no queue of clients: its orders are a calendar's, see delay.h */
};

/* Reads the arguments of a queue, which were checked when it was declared. */
struct kind kind_of_args(struct slice args);
/* "classic", "quorum". */
const char *kind_type_name(enum kind_type type);
/* False when there is no such type. */
bool kind_type_find(struct slice name, enum kind_type *type);

#endif
