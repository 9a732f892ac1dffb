/* recent.c - the x-recent-history exchange (RabbitMQ's plugin rabbitmq_recent_history_exchange): a fanout
 * that remembers its last messages, for those who bind later.
 *
 * It holds references, x-recent-history-length of them (20) and at most RECENT_BYTES_MAX, all such exchanges
 * together RECENT_TOTAL_MAX: the oldest go first. The memory ends with the exchange or the process; what was
 * published is in the queues that were bound then.
 */
#include "exchange/recent.h"

#include "base/ring.h"
#include "exchange/route.h"
#include "exchange/types.h"
#include "protocol/table.h"

enum { LENGTH_DEFAULT = 20, RECENT_BYTES_MAX = 16 * 1024 * 1024 };

RING(message_ring, struct message *);

struct recent {
    struct list bindings; /* binding.in_index */
    struct message_ring messages;
    size_t length, bytes;
    struct slab_pool *pool; /* of the messages; NULL before the first */
    uint64_t *total;        /* the bytes of all such exchanges, these among them; NULL before the first */
};

static bool recent_check_args(struct slice args, struct fault *f)
{
    struct field field;
    int64_t length;
    if (!table_find(args, "x-recent-history-length", &field))
        return true;
    if (!field_integer(&field, &length))
        return fault(f, PRECONDITION_FAILED,
                     "Invalid argument of type %s, 'x-recent-history-length' must be a positive integer",
                     field_type_name(field.type));
    if (length <= 0)
        return fault(f, PRECONDITION_FAILED,
                     "Invalid argument %lld, 'x-recent-history-length' must be a positive integer",
                     (long long)length);
    return true;
}

static void *recent_new(uint64_t seed, struct slice args)
{
    struct recent *recent = mem_zalloc(sizeof(*recent));
    struct field field;
    int64_t length = LENGTH_DEFAULT;
    (void)seed;
    list_init(&recent->bindings);
    if (table_find(args, "x-recent-history-length", &field))
        field_integer(&field, &length);
    assertf(length > 0, "a length of %lld passed the check", (long long)length);
    recent->length = (size_t)length;
    return recent;
}

static void forget_oldest(struct recent *recent)
{
    struct message *m = message_ring_pop_front(&recent->messages);
    assert(recent->bytes >= message_size(m));
    assert(*recent->total >= message_size(m));
    recent->bytes -= message_size(m);
    *recent->total -= message_size(m);
    message_unref(recent->pool, &m);
}

static void recent_free(void **index)
{
    struct recent *recent = *index;
    *index = NULL;
    assert(list_empty(&recent->bindings));
    while (recent->messages.size)
        forget_oldest(recent);
    message_ring_free(&recent->messages);
    mem_free(recent);
}

static void recent_add(void *index, struct binding *binding)
{
    struct recent *recent = index;
    list_push_back(&recent->bindings, &binding->in_index);
}

static void recent_remove(void *index, struct binding *binding)
{
    (void)index;
    list_remove(&binding->in_index);
}

static bool is_to_be_kept(const struct route_input *input)
{
    struct field field;
    bool no_store;
    return input->message && !(table_find(input->headers, "x-recent-history-no-store", &field) &&
                               field_bool(&field, &no_store) && no_store);
}

static void keep(struct recent *recent, const struct route_input *input)
{
    struct message *m = input->message;
    assert(!recent->pool || recent->pool == input->pool);
    recent->pool = input->pool;
    recent->total = input->remembered;
    recent->bytes += message_size(m);
    *recent->total += message_size(m);
    message_ring_push_back(&recent->messages, message_ref(m));
    while (recent->messages.size > recent->length ||
           (recent->bytes > RECENT_BYTES_MAX && recent->messages.size > 1) ||
           (*recent->total > RECENT_TOTAL_MAX && recent->messages.size > 0))
        forget_oldest(recent);
}

static void recent_match(void *index, const struct route_input *input, struct slice key,
                         struct route_set *set)
{
    struct recent *recent = index;
    (void)key;
    if (is_to_be_kept(input))
        keep(recent, input);
    list_each(node, &recent->bindings)
        route_add(set, container_of(node, struct binding, in_index)->dest);
}

size_t recent_count(const struct exchange *x)
{
    bool remembers = delayed_routes_as(x) == &recent_history_type;
    return remembers ? ((const struct recent *)delayed_index_of(x))->messages.size : 0;
}

struct message *recent_at(const struct exchange *x, size_t i)
{
    assert(i < recent_count(x));
    return *message_ring_at(&((const struct recent *)delayed_index_of(x))->messages, i);
}

const struct exchange_type recent_history_type = {
    .name = "x-recent-history",
    .keyless = true,
    .check_args = recent_check_args,
    .index_new = recent_new,
    .index_free = recent_free,
    .add = recent_add,
    .remove = recent_remove,
    .match = recent_match,
};
