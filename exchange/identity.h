/* identity.h - a set of bindings found by what makes a binding the same one: destination, key and
 * arguments (the source is the owner of the set). Arguments compare by value, in any order.
 * Open addressing with backward-shift deletion, 16 bytes a slot; no memory while empty. */
#ifndef EXCHANGE_IDENTITY_H
#define EXCHANGE_IDENTITY_H

#include "exchange/dest.h"

struct identity_slot {
    uint64_t hash;
    struct binding *binding; /* NULL marks a free slot */
};

struct identity_set {
    struct identity_slot *slots;
    size_t capacity; /* a power of two, or 0 */
    size_t size;
    uint64_t seed;
};

void identity_init(struct identity_set *set, uint64_t seed);
/* The set must be empty. */
void identity_free(struct identity_set *set);
/* NULL when there is none. */
struct binding *identity_find(const struct identity_set *set, const struct dest *dest, struct slice key,
                              struct slice args);
/* One with this identity must not be in the set yet. */
void identity_add(struct identity_set *set, struct binding *binding);
/* It must be in the set. */
void identity_remove(struct identity_set *set, struct binding *binding);

#endif
