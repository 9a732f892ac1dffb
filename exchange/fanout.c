/* fanout.c - the fanout exchange: a message goes wherever there is a binding (specification,
 * section 3.1.3.2). Keys and arguments are part of a binding's identity and nothing else. */
#include "exchange/route.h"
#include "exchange/types.h"
#include "protocol/table.h"

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

/* An integer of 1 or more; RabbitMQ's plugin takes text of one, too. */
static bool check_positive(struct slice args, const char *name, bool required, struct fault *f)
{
    struct field field;
    int64_t value;
    if (!table_find(args, name, &field) ? !required : field_integer_or_text(&field, &value) && value > 0)
        return true;
    return fault(f, PRECONDITION_FAILED, "%s argument, '%s' must be an integer greater than 0",
                 required ? "Missing or invalid" : "Invalid", name);
}

static bool deduplication_check_args(struct slice args, struct fault *f)
{
    struct field field;
    struct slice kept = SLICE("memory");
    bool good = !table_find(args, "x-cache-persistence", &field) || field_string(&field, &kept);
    if (!check_positive(args, "x-cache-size", true, f) || !check_positive(args, "x-cache-ttl", false, f))
        return false;
    return (good && (slice_is(kept, "memory") || slice_is(kept, "disk"))) ||
           fault(f, PRECONDITION_FAILED,
                 "Invalid argument, 'x-cache-persistence' must be either 'disk' or 'memory'");
}

/* RabbitMQ's third-party plugin rabbitmq_message_deduplication: a fanout that routes nothing twice. What it
 * has seen is the broker's matter (broker/duplicate.c), which asks before it routes. */
const struct exchange_type message_deduplication_type = {
    .name = "x-message-deduplication",
    .keyless = true,
    .check_args = deduplication_check_args,
    .index_new = fanout_new,
    .index_free = fanout_free,
    .add = fanout_add,
    .remove = fanout_remove,
    .match = fanout_match,
};

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
