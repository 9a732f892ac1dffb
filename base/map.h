/* map.h - hash map from a byte string to a pointer.
 * The key's bytes belong to the value (or to whoever outlives the entry): the map borrows them.
 * Open addressing with linear probing and backward-shift deletion: no tombstones, so a map that is
 * churned for months stays as fast as a new one. */
#ifndef BASE_MAP_H
#define BASE_MAP_H

#include "base/slice.h"

struct map_entry {
    uint64_t hash;
    struct slice key;
    void *value; /* NULL marks a free slot */
};

struct map {
    struct map_entry *slots; /* NULL until the first put */
    size_t capacity;         /* a power of two */
    size_t size;
    uint64_t seed;
};

void map_init(struct map *map, uint64_t seed);
/* Frees the slots, not the values. */
void map_free(struct map *map);

/* Room for that many keys, so that they come in without being moved again and again. */
void map_reserve(struct map *map, size_t size);

/* NULL when absent. */
void *map_get(const struct map *map, struct slice key);
/* `key` must be absent, `value` not NULL. */
void map_put(struct map *map, struct slice key, void *value);
/* The value that was removed, NULL when absent. */
void *map_remove(struct map *map, struct slice key);

/* Walks the values in no order; the body may not change the map:
 * map_each(&map, i) { struct queue *q = map.slots[i].value; … } */
#define map_each(map, i)                                    \
    for (size_t i = 0; i < (map)->capacity; i++)            \
        if ((map)->slots[i].value)

#endif
