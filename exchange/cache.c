/* cache.c - routes already found.
 *
 * A slot's block holds the queues and then the key's bytes; it is kept and used again when the slot
 * gets another route. Of a set's two slots a stale one is replaced first, then one that was not hit
 * since the last replacement: keys that come once do not drive out those that come often. */
#include "exchange/cache.h"

#include "base/assert.h"
#include "base/mem.h"

enum { KEY_MAX = 255, BLOCK_UNIT = 64 };

struct cache_slot {
    uint64_t hash, exchange_id;
    uint64_t generation; /* 0 = never filled */
    struct dest **block; /* queue_count queues, then key_len bytes */
    uint16_t block_size; /* bytes */
    uint16_t queue_count;
    uint8_t key_len;
    bool hit; /* since the last replacement in its set */
};

struct route_cache {
    struct route_set view; /* borrows the queues of the slot that was found last */
    uint64_t seed;
    struct cache_slot sets[CACHE_SETS][CACHE_WAYS];
};

_Static_assert(CACHE_WAYS == 2, "replacement looks at two slots");
_Static_assert(CACHE_QUEUES_MAX * sizeof(struct dest *) + KEY_MAX + BLOCK_UNIT <= UINT16_MAX,
               "block_size");

struct route_cache *cache_new(uint64_t seed)
{
    struct route_cache *cache = mem_zalloc(sizeof(*cache));
    cache->seed = seed;
    return cache;
}

void cache_free(struct route_cache **freed)
{
    struct route_cache *cache = *freed;
    *freed = NULL;
    for (size_t set = 0; set < CACHE_SETS; set++)
        for (size_t way = 0; way < CACHE_WAYS; way++)
            mem_free(cache->sets[set][way].block);
    mem_free(cache);
}

/* The exchange changes the seed, which costs nothing. */
static uint64_t hash_key(const struct route_cache *cache, uint64_t exchange_id, struct slice key)
{
    return slice_hash(key, cache->seed ^ (exchange_id << 32 | exchange_id >> 32));
}

static struct slice slot_key(const struct cache_slot *slot)
{
    return slice_of(slot->block + slot->queue_count, slot->key_len);
}

const struct route_set *cache_find(struct route_cache *cache, uint64_t exchange_id, uint64_t generation,
                                   struct slice key)
{
    assert(generation > 0);
    uint64_t hash = hash_key(cache, exchange_id, key);
    struct cache_slot *slot = cache->sets[hash % CACHE_SETS];
    const struct cache_slot *end = slot + CACHE_WAYS;
    for (; slot < end; slot++) {
        if (slot->hash != hash || slot->generation != generation || slot->exchange_id != exchange_id ||
            !slice_equal(slot_key(slot), key))
            continue;
        slot->hit = true;
        cache->view.queues = slot->block;
        cache->view.size = slot->queue_count;
        cache->view.by_key = true;
        return &cache->view;
    }
    return NULL;
}

/* The slot of the set to fill. */
static struct cache_slot *choose(struct cache_slot *set, uint64_t generation)
{
    for (size_t way = 0; way < CACHE_WAYS; way++)
        if (set[way].generation != generation)
            return &set[way];
    struct cache_slot *slot = set[0].hit && !set[1].hit ? &set[1] : &set[0];
    set[0].hit = set[1].hit = false;
    return slot;
}

static void make_room(struct cache_slot *slot, size_t size)
{
    if (slot->block && size <= slot->block_size)
        return;
    mem_free(slot->block);
    size_t rounded = (size + BLOCK_UNIT - 1) / BLOCK_UNIT * BLOCK_UNIT;
    slot->block = mem_alloc(rounded);
    slot->block_size = (uint16_t)rounded;
}

void cache_put(struct route_cache *cache, uint64_t exchange_id, uint64_t generation, struct slice key,
               const struct route_set *set)
{
    assert(generation > 0 && key.len <= KEY_MAX);
    if (set->size > CACHE_QUEUES_MAX)
        return;
    uint64_t hash = hash_key(cache, exchange_id, key);
    struct cache_slot *slot = choose(cache->sets[hash % CACHE_SETS], generation);
    size_t queue_bytes = set->size * sizeof(slot->block[0]);
    make_room(slot, queue_bytes + key.len + 1);
    slot->hash = hash;
    slot->exchange_id = exchange_id;
    slot->generation = generation;
    slot->queue_count = (uint16_t)set->size;
    slot->key_len = (uint8_t)key.len;
    slot->hit = false;
    if (set->size)
        memcpy(slot->block, set->queues, queue_bytes);
    if (key.len)
        memcpy(slot->block + set->size, key.at, key.len);
}
