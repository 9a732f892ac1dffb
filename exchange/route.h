/* route.h - from (exchange, keys, message) to the set of queues that get one copy each:
 * exchange-to-exchange bindings with every exchange visited once, alternate exchanges, and a cache by
 * (exchange, key, generation). */
#ifndef EXCHANGE_ROUTE_H
#define EXCHANGE_ROUTE_H

#include "base/map.h"
#include "exchange/exchange.h"

struct message;
struct slab_pool;

/* What routing may look at. */
struct route_input {
    const struct slice *keys; /* the routing key, then CC and BCC keys (usually one) */
    size_t key_count;
    struct slice headers;     /* the headers property's table fields, len 0 = none */
    struct slice props;       /* the property bytes */
    struct message *message;  /* the whole of it, for who keeps a reference; NULL = nobody may */
    struct slab_pool *pool;   /* that it is from */
    uint64_t *remembered;     /* bytes that exchanges hold in this way, all together (recent.h) */
};

/* Reusable result; grows, never shrinks during a turn. */
struct route_set {
    struct dest **queues; /* kind == DEST_QUEUE only */
    size_t size, capacity;
    bool by_key; /* the same for every message with this one key, until the topology changes */
    struct exchange **pending; /* exchanges reached, still to be visited; private to route.c */
    size_t pending_size, pending_capacity;
    size_t matched; /* destinations that the current exchange's bindings named, new or not */
    size_t looks;   /* at bindings, to find these; 0 = they were known */
    uint64_t stamp;
};

/* One a vhost. */
struct router {
    const struct map *exchanges; /* name -> exchange, for alternate exchanges; borrowed */
    uint64_t generation;         /* raised by router_changed at each bind, unbind, declare, delete */
    uint64_t stamp;
    struct route_set set;
    struct route_cache *cache;   /* cache.h; NULL until first used */
};

void router_init(struct router *router, const struct map *exchanges);
void router_free(struct router *router);
/* Topology changed: what was cached is stale. */
void router_changed(struct router *router);

/* The queues that `input` reaches through `x`; valid until the next call. Never empty because of a
 * cycle; empty = unroutable (after the alternate exchange was tried, semantics 2.1). */
const struct route_set *route(struct router *router, struct exchange *x,
                              const struct route_input *input);

/* For exchange types, in match: adds a destination once, a queue to the set, an exchange to those pending. */
void route_add(struct route_set *set, struct dest *dest);

#endif
