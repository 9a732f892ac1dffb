/* fanout.c - the fanout exchange: a message goes wherever there is a binding (specification,
 * section 3.1.3.2). Keys and arguments are part of a binding's identity and nothing else. */
#include "exchange/route.h"
#include "exchange/types.h"

struct fanout {
    struct list bindings; /* binding.in_index */
};

static void *fanout_new(uint64_t seed, struct slice args)
{
    (void)seed, (void)args;
    struct fanout *fanout = mem_alloc(sizeof(*fanout));
    list_init(&fanout->bindings);
    return fanout;
}

static void fanout_free(void **index)
{
    struct fanout *fanout = *index;
    *index = NULL;
    assert(list_empty(&fanout->bindings));
    mem_free(fanout);
}

static void fanout_add(void *index, struct binding *binding)
{
    struct fanout *fanout = index;
    list_push_back(&fanout->bindings, &binding->in_index);
}

static void fanout_remove(void *index, struct binding *binding)
{
    (void)index;
    list_remove(&binding->in_index);
}

static void fanout_match(void *index, const struct route_input *input, struct slice key,
                         struct route_set *set)
{
    (void)input, (void)key;
    struct fanout *fanout = index;
    list_each(node, &fanout->bindings)
        route_add(set, container_of(node, struct binding, in_index)->dest);
}

const struct exchange_type fanout_type = {
    .name = "fanout",
    .cacheable = true,
    .keyless = true,
    .index_new = fanout_new,
    .index_free = fanout_free,
    .add = fanout_add,
    .remove = fanout_remove,
    .match = fanout_match,
};
