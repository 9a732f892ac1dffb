/* modulus.c - the x-modulus-hash exchange (RabbitMQ's plugin rabbitmq_sharding, core since 4.3): the binding
 * number hash(routing key) modulo how many there are. Binding keys do not matter; a queue that is bound M
 * times gets M shares.
 *
 * The bindings are in the order of a hash of what identifies them, so their numbers are the same after a
 * restart. */
#include "exchange/digest.h"
#include "exchange/points.h"
#include "exchange/route.h"
#include "exchange/types.h"

static void *modulus_new(uint64_t seed, struct slice args)
{
    struct points *points = mem_zalloc(sizeof(*points));
    (void)args;
    points->seed = seed;
    return points;
}

static void modulus_free(void **index)
{
    struct points *points = *index;
    *index = NULL;
    assertf(points_size(points) == 0, "%zu bindings left", points_size(points));
    mem_free(points);
}

static void modulus_add(void *index, struct binding *binding)
{
    struct point *point = mem_alloc(sizeof(*point));
    uint64_t place = points_place(binding->dest->name, binding->dest->kind);
    place = points_place(binding->key, place);
    *point = (struct point){.at = digest_pair(place, digest_table(binding->args, 0)), .binding = binding};
    points_add(index, point);
    binding->index_node = point;
}

static void modulus_remove(void *index, struct binding *binding)
{
    struct point *point = binding->index_node;
    binding->index_node = NULL;
    points_remove(index, point);
    mem_free(point);
}

static void modulus_match(void *index, const struct route_input *input, struct slice key,
                          struct route_set *set)
{
    const struct points *points = index;
    (void)input;
    size_t count = points_size(points);
    if (count)
        route_add(set, points_nth(points, digest_pair(0, slice_hash(key, 0)) % count)->binding->dest);
}

const struct exchange_type modulus_hash_type = {
    .name = "x-modulus-hash",
    .keyless = true,
    .index_new = modulus_new,
    .index_free = modulus_free,
    .add = modulus_add,
    .remove = modulus_remove,
    .match = modulus_match,
};
