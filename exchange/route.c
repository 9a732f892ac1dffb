/* route.c - from an exchange to queues, breadth first.
 *
 * Stamps make everything happen once: a message takes a new stamp, and a queue or exchange that bears
 * it already is not added again, so cycles end by themselves. As in RabbitMQ an exchange uses its
 * alternate when its own bindings name nothing for this message; if they name what was reached
 * before, that counts as something. */
#include "exchange/route.h"

#include "exchange/cache.h"

void router_init(struct router *router, const struct map *exchanges)
{
    *router = (struct router){.exchanges = exchanges, .generation = 1};
}

void router_free(struct router *router)
{
    mem_free(router->set.queues);
    mem_free(router->set.pending);
    if (router->cache)
        cache_free(&router->cache);
    *router = (struct router){0};
}

void router_changed(struct router *router)
{
    router->generation++;
}

static void add_queue(struct route_set *set, struct dest *dest)
{
    if (set->size == set->capacity) {
        set->capacity = set->capacity ? set->capacity * 2 : 16;
        set->queues = mem_realloc(set->queues, set->capacity * sizeof(struct dest *));
    }
    set->queues[set->size++] = dest;
}

static void add_exchange(struct route_set *set, struct exchange *x)
{
    if (set->pending_size == set->pending_capacity) {
        set->pending_capacity = set->pending_capacity ? set->pending_capacity * 2 : 16;
        set->pending = mem_realloc(set->pending, set->pending_capacity * sizeof(struct exchange *));
    }
    set->pending[set->pending_size++] = x;
}

void route_add(struct route_set *set, struct dest *dest)
{
    set->matched++;
    if (dest->stamp == set->stamp)
        return;
    assertf(dest->stamp < set->stamp, "'%.*s' bears a stamp of the future", SLICE_ARG(dest->name));
    dest->stamp = set->stamp;
    if (dest->kind == DEST_QUEUE)
        add_queue(set, dest);
    else
        add_exchange(set, container_of(dest, struct exchange, dest));
}

static void visit(const struct router *router, struct exchange *x, const struct route_input *input,
                  struct route_set *set)
{
    set->matched = 0;
    size_t key_count = x->type->keyless ? 1 : input->key_count;
    for (size_t i = 0; i < key_count; i++)
        x->type->match(x->index, input, input->keys[i], set);
    set->looks += set->matched;
    if (set->matched > 0 || x->alternate.len == 0)
        return;
    struct exchange *alternate = map_get(router->exchanges, x->alternate);
    if (alternate)
        route_add(set, &alternate->dest);
}

/* True when the result depends on nothing but the routing key. */
static bool search(struct router *router, struct exchange *x, const struct route_input *input)
{
    struct route_set *set = &router->set;
    bool cacheable = true;
    set->size = set->pending_size = set->looks = 0;
    set->stamp = ++router->stamp;
    route_add(set, &x->dest);
    for (size_t i = 0; i < set->pending_size; i++) {
        visit(router, set->pending[i], input, set);
        cacheable = cacheable && set->pending[i]->type->cacheable;
    }
    return cacheable;
}

const struct route_set *route(struct router *router, struct exchange *x, const struct route_input *input)
{
    assert(input->key_count > 0);
    if (input->key_count > 1 || !x->type->cacheable) {
        search(router, x, input);
        router->set.by_key = false;
        return &router->set;
    }
    struct slice key = input->keys[0];
    if (!router->cache)
        router->cache = cache_new(router->exchanges->seed);
    const struct route_set *known = cache_find(router->cache, x->id, router->generation, key);
    if (known)
        return known;
    router->set.by_key = search(router, x, input);
    if (router->set.by_key)
        cache_put(router->cache, x->id, router->generation, key, &router->set);
    return &router->set;
}
