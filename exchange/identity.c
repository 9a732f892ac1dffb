/* identity.c - a set of bindings found by (destination, key, arguments).
 *
 * The destination is compared by address: an object that is bound cannot go away (invariant I6), so
 * one address is one destination for as long as the binding exists. */
#include "exchange/identity.h"

#include "base/mem.h"
#include "exchange/digest.h"
#include "protocol/table.h"

enum { CAPACITY_MIN = 8 };

void identity_init(struct identity_set *set, uint64_t seed)
{
    *set = (struct identity_set){.seed = seed};
}

void identity_free(struct identity_set *set)
{
    assertf(set->size == 0, "%zu bindings left", set->size);
    mem_free(set->slots);
    identity_init(set, set->seed);
}

static uint64_t hash_identity(const struct identity_set *set, const struct dest *dest, struct slice key,
                              struct slice args)
{
    uint64_t who = slice_hash(slice_of(&dest, sizeof(dest)), set->seed);
    uint64_t hash = digest_pair(who, slice_hash(key, set->seed));
    return args.len ? digest_pair(hash, digest_table(args, set->seed)) : hash;
}

static bool same_args(struct slice a, struct slice b)
{
    return slice_equal(a, b) || table_equal(a, b);
}

/* Index of the slot that holds this identity, or of the free slot where it would go. */
static size_t probe(const struct identity_set *set, uint64_t hash, const struct dest *dest,
                    struct slice key, struct slice args)
{
    size_t mask = set->capacity - 1;
    size_t i = hash & mask;
    for (; set->slots[i].binding; i = (i + 1) & mask) {
        const struct binding *b = set->slots[i].binding;
        if (set->slots[i].hash == hash && b->dest == dest && slice_equal(b->key, key) &&
            same_args(b->args, args))
            break;
    }
    return i;
}

struct binding *identity_find(const struct identity_set *set, const struct dest *dest, struct slice key,
                              struct slice args)
{
    if (set->size == 0)
        return NULL;
    return set->slots[probe(set, hash_identity(set, dest, key, args), dest, key, args)].binding;
}

static void resize(struct identity_set *set, size_t capacity)
{
    assert(capacity > set->size && (capacity & (capacity - 1)) == 0);
    struct identity_slot *old = set->slots;
    size_t old_capacity = set->capacity;
    set->capacity = capacity;
    set->slots = mem_zalloc(capacity * sizeof(*set->slots));
    for (size_t i = 0; i < old_capacity; i++) {
        if (!old[i].binding)
            continue;
        size_t to = old[i].hash & (capacity - 1);
        while (set->slots[to].binding)
            to = (to + 1) & (capacity - 1);
        set->slots[to] = old[i];
    }
    mem_free(old);
}

void identity_add(struct identity_set *set, struct binding *binding)
{
    if (set->size + 1 > set->capacity - set->capacity / 4)
        resize(set, set->capacity ? set->capacity * 2 : CAPACITY_MIN);
    uint64_t hash = hash_identity(set, binding->dest, binding->key, binding->args);
    size_t i = probe(set, hash, binding->dest, binding->key, binding->args);
    assertf(!set->slots[i].binding, "bound twice: %.*s", SLICE_ARG(binding->key));
    set->slots[i] = (struct identity_slot){hash, binding};
    set->size++;
}

/* Closes the hole at `i` by moving back the entries that had to step over it. */
static void close_hole(struct identity_set *set, size_t i)
{
    size_t mask = set->capacity - 1;
    for (size_t j = (i + 1) & mask; set->slots[j].binding; j = (j + 1) & mask) {
        size_t home = set->slots[j].hash & mask;
        if (((j - home) & mask) < ((j - i) & mask))
            continue; /* its home lies behind the hole: it stays */
        set->slots[i] = set->slots[j];
        i = j;
    }
    set->slots[i] = (struct identity_slot){0};
}

void identity_remove(struct identity_set *set, struct binding *binding)
{
    assert(set->size > 0);
    uint64_t hash = hash_identity(set, binding->dest, binding->key, binding->args);
    size_t mask = set->capacity - 1;
    size_t i = hash & mask;
    while (set->slots[i].binding != binding) {
        assertf(set->slots[i].binding, "not in the set: %.*s", SLICE_ARG(binding->key));
        i = (i + 1) & mask;
    }
    close_hole(set, i);
    set->size--;
    if (set->size == 0)
        identity_free(set);
    else if (set->capacity > CAPACITY_MIN && set->size < set->capacity / 8)
        resize(set, set->capacity / 2);
}
