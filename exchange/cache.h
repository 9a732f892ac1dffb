/* cache.h - routes already found, by (exchange, routing key, generation of the topology).
 * Bounded: two-way sets, at most CACHE_QUEUES_MAX queues a route, some 7 MB when full. It holds
 * pointers to queues, but hands them out only while the generation is the one they were stored
 * under: any change of the topology makes the whole cache stale at once. */
#ifndef EXCHANGE_CACHE_H
#define EXCHANGE_CACHE_H

#include "exchange/route.h"

enum { CACHE_SETS = 4096, CACHE_WAYS = 2, CACHE_QUEUES_MAX = 64 };

struct route_cache;

/* What a route depends on, apart from the topology. */
struct cache_key {
    uint64_t exchange_id;
    uint64_t generation; /* > 0 */
    struct slice key;    /* at most 255 bytes */
};

struct route_cache *cache_new(uint64_t seed);
void cache_free(struct route_cache **cache);
/* The route, valid until the next call with this cache, or NULL. */
const struct route_set *cache_find(struct route_cache *cache, const struct cache_key *key);
/* Copies the set's queues; does nothing when there are too many. */
void cache_put(struct route_cache *cache, const struct cache_key *key, const struct route_set *set);

#endif
