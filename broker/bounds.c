/* bounds.c - how much memory users may have for what they declare.
 *
 * The costs are worst cases by what a thing holds: its name and arguments in several places, a node of the
 * trie for each word of a key, a bucket for each header, the points of a ring. They depend on nothing that
 * changes, so what was added is what is removed. */
#include "broker/bounds.h"

#include "base/assert.h"
#include "broker/arguments.h"
#include "broker/server.h"
#include "exchange/types.h"

enum {
    TOPOLOGY_LEAST = 64 * 1024 * 1024, /* however little memory there is */
    THING_BYTES = 512,    /* structs, places in maps, what malloc adds */
    WORD_BYTES = 48,      /* of a topic's key, for each byte: every other one may be a point */
    PAIR_BYTES = 64,      /* of a headers binding, for each byte of its arguments: a pair has three or more */
    POINTS_BYTES = 3200,  /* of a consistent-hash binding, for each unit of its weight */
    COPIES = 3,           /* of a name or table: here, in what is stored, in what is said of it */
};

uint64_t bounds_of_queue(const struct queue *q)
{
    return 2 * THING_BYTES + sizeof(*q) + COPIES * (q->name.len + q->args.len) +
           q->kind.priority_max * (uint64_t)sizeof(void *);
}

uint64_t bounds_of_exchange(const struct exchange *x)
{
    return THING_BYTES + sizeof(*x) + COPIES * (x->name.len + x->args.len);
}

/* Its key is a number up to 1000: the exchange has checked it. */
static uint64_t weight_of(struct slice key)
{
    uint64_t weight = 0;
    for (size_t i = 0; i < key.len && weight < 1000; i++)
        if (key.at[i] >= '0' && key.at[i] <= '9')
            weight = weight * 10 + (uint64_t)(key.at[i] - '0');
    return weight;
}

uint64_t bounds_of_binding(const struct binding *binding)
{
    const struct exchange_type *type = delayed_routes_as(binding->source);
    struct slice key = binding->key, args = binding->args;
    uint64_t bytes = THING_BYTES + COPIES * (key.len + args.len);
    if (binding->implicit)
        return 0; /* the queue's */
    if (type == &topic_type)
        bytes += WORD_BYTES * key.len;
    else if (type == &headers_type)
        bytes += PAIR_BYTES * args.len;
    else if (type == &consistent_hash_type)
        bytes += POINTS_BYTES * weight_of(key);
    return bytes;
}

uint64_t bounds_of_consumer(struct slice tag, struct slice args)
{
    return 2 * THING_BYTES + COPIES * tag.len + args.len;
}

void bounds_add(struct server *s, uint64_t bytes)
{
    assert(bytes <= UINT64_MAX - s->bounds.topology_bytes);
    s->bounds.topology_bytes += bytes;
}

void bounds_remove(struct server *s, uint64_t bytes)
{
    assertf(bytes <= s->bounds.topology_bytes, "%llu of %llu", (unsigned long long)bytes,
            (unsigned long long)s->bounds.topology_bytes);
    s->bounds.topology_bytes -= bytes;
}

bool bounds_permit_named(const struct server *s, const struct resource *what, struct fault *f)
{
    const struct config_topology *config = &s->config->topology;
    bool queue = strcmp(what->kind, "queue") == 0;
    if (queue && s->bounds.queues >= config->queues_max)
        return fault(f, PRECONDITION_FAILED,
                     "cannot declare queue '%.*s': queue limit in cluster (%llu) is reached",
                     SLICE_ARG(what->name), (unsigned long long)config->queues_max);
    if (!queue && s->bounds.exchanges >= config->exchanges_max)
        return fault(f, PRECONDITION_FAILED,
                     "cannot declare " RESOURCE_FORMAT ": exchange limit of %llu is reached",
                     RESOURCE_ARG(what), (unsigned long long)config->exchanges_max);
    return bounds_permit(s, what->kind, f);
}

uint64_t bounds_topology_max(const struct server *s)
{
    uint64_t given = s->config->topology.memory, limit = s->alarms.memory_limit;
    if (given != CONFIG_NONE)
        return given;
    if (limit == UINT64_MAX)
        return UINT64_MAX;
    return limit / 2 > TOPOLOGY_LEAST ? limit / 2 : TOPOLOGY_LEAST;
}

bool bounds_permit(const struct server *s, const char *what, struct fault *f)
{
    uint64_t max = bounds_topology_max(s);
    if (s->bounds.topology_bytes < max)
        return true;
    return fault(f, PRECONDITION_FAILED,
                 "no room for another %s: queues, exchanges, bindings and consumers have the %llu bytes of "
                 "topology_memory",
                 what, (unsigned long long)max);
}
