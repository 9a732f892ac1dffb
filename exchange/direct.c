/* direct.c - the direct exchange: a message goes where the binding key equals its routing key
 * (specification, section 3.1.3.1).
 *
 * A hash map leads from a key to one of the bindings with that key; the others hang on that one in a
 * ring (binding.in_index), so a key costs no memory of its own and 100,000 queues on one key are
 * bound and unbound in constant time. The map borrows the key's bytes from the binding it holds. */
#include "base/map.h"
#include "exchange/route.h"
#include "exchange/types.h"

struct direct {
    struct map keys; /* key -> a binding of the key's ring */
};

static void *direct_new(uint64_t seed, struct slice args)
{
    struct direct *direct = mem_alloc(sizeof(*direct));
    (void)args;
    map_init(&direct->keys, seed);
    return direct;
}

static void direct_free(void **index)
{
    struct direct *direct = *index;
    *index = NULL;
    assertf(direct->keys.size == 0, "%zu keys left", direct->keys.size);
    map_free(&direct->keys);
    mem_free(direct);
}

static void direct_add(void *index, struct binding *binding)
{
    struct direct *direct = index;
    struct binding *first = map_get(&direct->keys, binding->key);
    if (first) {
        list_push_back(&first->in_index, &binding->in_index);
    } else {
        list_init(&binding->in_index);
        map_put(&direct->keys, binding->key, binding);
    }
}

static void direct_expect(void *index, size_t count)
{
    struct direct *direct = index;
    map_reserve(&direct->keys, direct->keys.size + count);
}

static void direct_remove(void *index, struct binding *binding)
{
    struct direct *direct = index;
    assert(list_linked(&binding->in_index));
    if (map_get(&direct->keys, binding->key) == binding) {
        map_remove(&direct->keys, binding->key);
        if (!list_empty(&binding->in_index)) {
            struct binding *heir = list_first(&binding->in_index, struct binding, in_index);
            map_put(&direct->keys, heir->key, heir);
        }
    }
    list_remove(&binding->in_index);
}

static void direct_match(void *index, const struct route_input *input, struct slice key,
                         struct route_set *set)
{
    (void)input;
    struct direct *direct = index;
    struct binding *first = map_get(&direct->keys, key);
    if (!first)
        return;
    route_add(set, first->dest);
    list_each(node, &first->in_index)
        route_add(set, container_of(node, struct binding, in_index)->dest);
}

const struct exchange_type direct_type = {
    .name = "direct",
    .cacheable = true,
    .index_new = direct_new,
    .index_free = direct_free,
    .add = direct_add,
    .expect = direct_expect,
    .remove = direct_remove,
    .match = direct_match,
};
