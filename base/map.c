/* map.c - hash map from a byte string to a pointer. */
#include "base/map.h"

#include "base/assert.h"
#include "base/mem.h"

void map_init(struct map *map, uint64_t seed)
{
    *map = (struct map){.seed = seed};
}

void map_free(struct map *map)
{
    mem_free(map->slots);
    map_init(map, map->seed);
}

/* Index of the key's slot, or of the free slot where it would go. */
static size_t probe(const struct map *map, struct slice key, uint64_t hash)
{
    size_t mask = map->capacity - 1;
    size_t i = hash & mask;
    while (map->slots[i].value) {
        if (map->slots[i].hash == hash && slice_equal(map->slots[i].key, key))
            break;
        i = (i + 1) & mask;
    }
    return i;
}

/* A quarter of the slots stays free. */
static size_t room(size_t capacity)
{
    return capacity - capacity / 4;
}

static void grow(struct map *map, size_t capacity)
{
    struct map_entry *old = map->slots;
    size_t old_capacity = map->capacity;
    assert((capacity & (capacity - 1)) == 0 && map->size < capacity);
    map->capacity = capacity;
    map->slots = mem_zalloc(map->capacity * sizeof(*map->slots));
    for (size_t i = 0; i < old_capacity; i++)
        if (old[i].value)
            map->slots[probe(map, old[i].key, old[i].hash)] = old[i];
    mem_free(old);
}

void map_reserve(struct map *map, size_t size)
{
    size_t capacity = map->capacity ? map->capacity : 8;
    assert(size <= SIZE_MAX / 4 / sizeof(*map->slots));
    while (room(capacity) < size)
        capacity *= 2;
    if (capacity > map->capacity)
        grow(map, capacity);
}

void *map_get(const struct map *map, struct slice key)
{
    if (map->size == 0)
        return NULL;
    return map->slots[probe(map, key, slice_hash(key, map->seed))].value;
}

void map_put(struct map *map, struct slice key, void *value)
{
    assert(value != NULL);
    if (map->size + 1 > room(map->capacity))
        grow(map, map->capacity ? map->capacity * 2 : 8);
    uint64_t hash = slice_hash(key, map->seed);
    size_t i = probe(map, key, hash);
    assert(map->slots[i].value == NULL);
    map->slots[i] = (struct map_entry){hash, key, value};
    map->size++;
}

/* Closes the hole at `i` by moving back the entries that had to step over it. */
static void close_hole(struct map *map, size_t i)
{
    size_t mask = map->capacity - 1;
    for (size_t j = (i + 1) & mask; map->slots[j].value; j = (j + 1) & mask) {
        size_t home = map->slots[j].hash & mask;
        if (((j - home) & mask) < ((j - i) & mask))
            continue; /* its home lies behind the hole: it stays */
        map->slots[i] = map->slots[j];
        i = j;
    }
    map->slots[i] = (struct map_entry){0};
}

void *map_remove(struct map *map, struct slice key)
{
    if (map->size == 0)
        return NULL;
    size_t i = probe(map, key, slice_hash(key, map->seed));
    void *value = map->slots[i].value;
    if (value) {
        close_hole(map, i);
        map->size--;
    }
    return value;
}
