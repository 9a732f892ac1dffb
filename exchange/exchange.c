/* exchange.c - an exchange and its bindings.
 *
 * A binding is in four places or in none: the type's index, the source's list and identity set, the
 * destination's back-list (invariant I6). Key and arguments live in the binding's own block. */
#include "exchange/exchange.h"

#include "exchange/types.h"
#include "protocol/table.h"

enum { NAME_MAX_BYTES = 255 };

static const struct exchange_type *const exchange_types[] = {
    &direct_type,
    &fanout_type,
    &topic_type,
    &headers_type,
    &consistent_hash_type,
    &modulus_hash_type,
    &random_type,
    &local_random_type,
    &recent_history_type,
    &delayed_message_type,
    &message_deduplication_type,
};

const struct exchange_type *exchange_type_find(struct slice name)
{
    for (size_t i = 0; i < array_size(exchange_types); i++)
        if (slice_is(name, exchange_types[i]->name))
            return exchange_types[i];
    return NULL;
}

/* The argument's, or else the policy's. */
static void read_alternate(struct exchange *x)
{
    struct field alternate;
    x->alternate = x->policy_alternate;
    if (table_find(x->args, "alternate-exchange", &alternate))
        field_string(&alternate, &x->alternate);
}

struct exchange *exchange_new(struct slice name, const struct exchange_type *type, struct slice args,
                              uint64_t id, uint64_t seed)
{
    assert(type != NULL && name.len <= NAME_MAX_BYTES);
    struct exchange *x = mem_zalloc(sizeof(*x));
    x->name = slice_copy(name);
    x->args = slice_copy(args);
    x->type = type;
    x->id = id;
    x->index = type->index_new(seed, x->args);
    dest_init(&x->dest, DEST_EXCHANGE, x->name);
    identity_init(&x->bindings, seed);
    list_init(&x->binding_list);
    read_alternate(x);
    return x;
}

void exchange_set_alternate(struct exchange *x, struct slice name)
{
    assert(name.len <= NAME_MAX_BYTES);
    slice_free(&x->policy_alternate);
    if (name.len)
        x->policy_alternate = slice_copy(name);
    read_alternate(x);
}

void exchange_free(struct exchange **exchange)
{
    struct exchange *x = *exchange;
    *exchange = NULL;
    exchange_close(x);
    while (!list_empty(&x->binding_list)) {
        struct binding *binding = list_first(&x->binding_list, struct binding, by_source);
        exchange_unbind(&binding);
    }
    assertf(list_empty(&x->dest.bindings), "exchange '%.*s' is still bound to", SLICE_ARG(x->name));
    assert(x->binding_count == 0);
    identity_free(&x->bindings);
    x->type->index_free(&x->index);
    slice_free(&x->name);
    slice_free(&x->args);
    slice_free(&x->policy_alternate);
    mem_free(x);
}

struct binding *exchange_find_binding(struct exchange *x, const struct dest *dest, struct slice key,
                                      struct slice args)
{
    return identity_find(&x->bindings, dest, key, args);
}

static struct slice copy_to(uint8_t *at, struct slice bytes)
{
    if (bytes.len)
        memcpy(at, bytes.at, bytes.len);
    return slice_of(at, bytes.len);
}

static struct binding *link_binding(struct exchange *x, struct dest *dest, struct slice key,
                                    struct slice args)
{
    assertf(key.len <= NAME_MAX_BYTES, "binding key of %zu bytes", key.len);
    struct binding *binding = mem_alloc(sizeof(*binding) + key.len + args.len);
    uint8_t *tail = (uint8_t *)(binding + 1);
    *binding = (struct binding){.source = x, .dest = dest, .implicit = x->is_default};
    binding->key = copy_to(tail, key);
    binding->args = copy_to(tail + key.len, args);
    if (!binding->implicit) /* nobody asks for those by identity */
        identity_add(&x->bindings, binding);
    x->type->add(x->index, binding);
    list_push_back(&x->binding_list, &binding->by_source);
    list_push_back(&dest->bindings, &binding->by_dest);
    return binding;
}

struct binding *exchange_bind(struct exchange *x, struct dest *dest, struct slice key,
                              struct slice args, struct fault *f)
{
    if (x->type->check && !x->type->check(x->index, key, args, f))
        return NULL;
    assert(!x->is_default);
    x->binding_count++;
    x->had_bindings = true;
    return link_binding(x, dest, key, args);
}

struct binding *exchange_bind_implicit(struct exchange *x, struct dest *dest, struct slice key)
{
    assert(x->is_default && dest->kind == DEST_QUEUE);
    return link_binding(x, dest, key, (struct slice){0});
}

void exchange_expect(struct exchange *x, size_t count)
{
    if (x->type->expect)
        x->type->expect(x->index, count);
}

void exchange_close(struct exchange *x)
{
    if (x->type->close)
        x->type->close(x->index);
}

unsigned exchange_cost(const struct exchange *x, struct slice key)
{
    const struct exchange_type *type = delayed_routes_as(x);
    return type->cost ? type->cost(key) : 0;
}

void exchange_unbind(struct binding **unbound)
{
    struct binding *binding = *unbound;
    *unbound = NULL;
    struct exchange *x = binding->source;
    x->type->remove(x->index, binding);
    list_remove(&binding->by_source);
    list_remove(&binding->by_dest);
    if (!binding->implicit) {
        identity_remove(&x->bindings, binding);
        assert(x->binding_count > 0);
        x->binding_count--;
    }
    mem_free(binding);
}
