/* random.c - the x-random exchange (RabbitMQ's plugin rabbitmq_random_exchange) and x-local-random (core
 * since 4.0): one of the bindings, any of them as likely as another. Binding keys do not matter to the first
 * and must be empty for the second; all queues are on this node, so they are alike otherwise. */
#include "base/rand.h"
#include "exchange/route.h"
#include "exchange/types.h"

struct random {
    struct binding **bindings; /* in no order; binding.index_node is the place */
    size_t size, capacity;
    struct rand rand;
};

static void *random_new(uint64_t seed, struct slice args)
{
    struct random *random = mem_zalloc(sizeof(*random));
    (void)args;
    random->rand = rand_seeded(seed);
    return random;
}

static void random_free(void **index)
{
    struct random *random = *index;
    *index = NULL;
    assertf(random->size == 0, "%zu bindings left", random->size);
    mem_free(random->bindings);
    mem_free(random);
}

static void put_at(struct random *random, size_t place, struct binding *binding)
{
    assert(place < random->capacity);
    random->bindings[place] = binding;
    binding->index_node = (void *)(uintptr_t)place;
}

static void random_add(void *index, struct binding *binding)
{
    struct random *random = index;
    if (random->size == random->capacity) {
        random->capacity = random->capacity ? random->capacity * 2 : 8;
        random->bindings = mem_realloc(random->bindings, random->capacity * sizeof(struct binding *));
    }
    put_at(random, random->size++, binding);
}

static void random_remove(void *index, struct binding *binding)
{
    struct random *random = index;
    size_t place = (uintptr_t)binding->index_node;
    assert(place < random->size && random->bindings[place] == binding);
    put_at(random, place, random->bindings[--random->size]);
}

static void random_match(void *index, const struct route_input *input, struct slice key,
                         struct route_set *set)
{
    struct random *random = index;
    (void)input, (void)key;
    if (random->size)
        route_add(set, random->bindings[rand_below(&random->rand, random->size)]->dest);
}

static bool local_check(const void *index, struct slice key, struct slice args, struct fault *f)
{
    (void)index, (void)args;
    if (key.len)
        return fault(f, PRECONDITION_FAILED, "Non-empty binding '%.*s' key not permitted", SLICE_ARG(key));
    return true;
}

const struct exchange_type random_type = {
    .name = "x-random",
    .keyless = true,
    .index_new = random_new,
    .index_free = random_free,
    .add = random_add,
    .remove = random_remove,
    .match = random_match,
};

const struct exchange_type local_random_type = {
    .name = "x-local-random",
    .keyless = true,
    .index_new = random_new,
    .index_free = random_free,
    .check = local_check,
    .add = random_add,
    .remove = random_remove,
    .match = random_match,
};
