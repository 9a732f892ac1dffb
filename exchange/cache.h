/* cache.h - routes already found, by (exchange, routing key, generation of the topology).
 * Bounded: two-way sets, at most CACHE_QUEUES_MAX queues a route, some 7 MB when full. It holds
 * pointers to queues, but hands them out only while the generation is the one they were stored
 * under: any change of the topology makes the whole cache stale at once. */
#ifndef EXCHANGE_CACHE_H
#define EXCHANGE_CACHE_H

#include "exchange/route.h"

enum { CACHE_SETS = 4096, CACHE_WAYS = 2, CACHE_QUEUES_MAX = 64 };

struct route_cache;

struct route_cache *cache_new(uint64_t seed);
void cache_free(struct route_cache **cache);
/* The route of this exchange and key under this generation (> 0); valid until the next call with this
 * cache. NULL when it is not known. */
const struct route_set *cache_find(struct route_cache *cache, uint64_t exchange_id, uint64_t generation,
                                   struct slice key);
/* Copies the set's queues; does nothing when there are too many of them. `key` has at most 255 bytes. */
void cache_put(struct route_cache *cache, uint64_t exchange_id, uint64_t generation, struct slice key,
               const struct route_set *set);

#endif
