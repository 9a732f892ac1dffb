/* delayed.c - the x-delayed-message exchange (RabbitMQ's plugin rabbitmq_delayed_message_exchange): routes as
 * the type that its argument x-delayed-type names. That messages wait before they are routed is the broker's
 * matter (broker/delayed.c). */
#include "exchange/types.h"
#include "protocol/table.h"

struct delayed_index {
    const struct exchange_type *type; /* how it routes */
    void *index;
};

/* The type that the arguments name; NULL when they name none that can be. */
static const struct exchange_type *inner_type(struct slice args)
{
    struct field field;
    struct slice name;
    if (!table_find(args, "x-delayed-type", &field) || !field_string(&field, &name))
        return NULL;
    const struct exchange_type *type = exchange_type_find(name);
    return type == &delayed_message_type ? NULL : type;
}

const struct exchange_type *delayed_routes_as(const struct exchange *x)
{
    const struct exchange_type *inner = x->type == &delayed_message_type ? inner_type(x->args) : NULL;
    return inner ? inner : x->type;
}

void *delayed_index_of(const struct exchange *x)
{
    return x->type == &delayed_message_type ? ((struct delayed_index *)x->index)->index : x->index;
}

static bool delayed_check_args(struct slice args, struct fault *f)
{
    const struct exchange_type *type = inner_type(args);
    if (!type)
        return fault(f, PRECONDITION_FAILED,
                     "Invalid argument, 'x-delayed-type' must be an existing exchange type");
    return !type->check_args || type->check_args(args, f);
}

static void *delayed_new(uint64_t seed, struct slice args)
{
    struct delayed_index *delayed = mem_alloc(sizeof(*delayed));
    delayed->type = inner_type(args);
    assertf(delayed->type, "the arguments were checked");
    delayed->index = delayed->type->index_new(seed, args);
    return delayed;
}

static void delayed_free(void **index)
{
    struct delayed_index *delayed = *index;
    *index = NULL;
    delayed->type->index_free(&delayed->index);
    assert(delayed->index == NULL);
    mem_free(delayed);
}

static bool delayed_check(const void *index, struct slice key, struct slice args, struct fault *f)
{
    const struct delayed_index *delayed = index;
    return !delayed->type->check || delayed->type->check(delayed->index, key, args, f);
}

static void delayed_add(void *index, struct binding *binding)
{
    struct delayed_index *delayed = index;
    delayed->type->add(delayed->index, binding);
}

static void delayed_remove(void *index, struct binding *binding)
{
    struct delayed_index *delayed = index;
    delayed->type->remove(delayed->index, binding);
}

static void delayed_close(void *index)
{
    struct delayed_index *delayed = index;
    if (delayed->type->close)
        delayed->type->close(delayed->index);
}

static void delayed_match(void *index, const struct route_input *input, struct slice key,
                          struct route_set *set)
{
    struct delayed_index *delayed = index;
    delayed->type->match(delayed->index, input, key, set);
}

const struct exchange_type delayed_message_type = {
    .name = "x-delayed-message",
    .check_args = delayed_check_args,
    .index_new = delayed_new,
    .index_free = delayed_free,
    .check = delayed_check,
    .add = delayed_add,
    .remove = delayed_remove,
    .close = delayed_close,
    .match = delayed_match,
};
