/* consistent.c - the x-consistent-hash exchange (RabbitMQ's plugin rabbitmq_consistent_hash_exchange): a
 * message goes to one destination, always the same for the same routing key, header or property, and each
 * destination's share is its weight, the binding key.
 *
 * A destination owns POINTS_PER_WEIGHT points of a ring for each unit of weight; a message goes to the owner
 * of the first point from its hash on. Where the points are depends on the destination's name alone: the
 * ring is the same after a restart, and a destination that comes or goes moves only its own share of the
 * messages. Of several bindings to one destination the first counts. */
#include <stdlib.h>

#include "base/map.h"
#include "exchange/digest.h"
#include "exchange/points.h"
#include "exchange/route.h"
#include "exchange/types.h"
#include "protocol/props.h"

/* One binding's weight is bounded, as it is one step of work, and the sum of an exchange's is, as its ring
 * takes memory: 40 MB at most. A point takes as long as POINT_COST messages that are pushed to a queue. */
enum { POINTS_PER_WEIGHT = 100, WEIGHT_MAX = 1000, WEIGHT_SUM_MAX = 10000, POINT_COST = 4 };

/* What the hash is of. */
enum hashed { HASHED_KEY, HASHED_HEADER, HASHED_MESSAGE_ID, HASHED_CORRELATION_ID, HASHED_TIMESTAMP };

/* A destination's points; binding.index_node of its binding that counts. */
struct share {
    size_t count;
    struct point points[];
};

struct consistent {
    struct points ring;
    struct map shares; /* destination -> its binding that counts; the others in a ring with it (in_index) */
    size_t weight;     /* of all bindings */
    bool closed;       /* the ring is gone already */
    enum hashed hashed;
    struct slice header; /* HASHED_HEADER: its name; the exchange's memory */
};

static bool read_property(struct slice name, enum hashed *hashed)
{
    if (slice_is(name, "message_id"))
        *hashed = HASHED_MESSAGE_ID;
    else if (slice_is(name, "correlation_id"))
        *hashed = HASHED_CORRELATION_ID;
    else if (slice_is(name, "timestamp"))
        *hashed = HASHED_TIMESTAMP;
    else
        return false;
    return true;
}

static bool consistent_check_args(struct slice args, struct fault *f)
{
    struct field header, property;
    struct slice name;
    enum hashed hashed;
    bool by_header = table_find(args, "hash-header", &header);
    bool by_property = table_find(args, "hash-property", &property);
    if (by_header && by_property)
        return fault(f, PRECONDITION_FAILED, "hash-header and hash-property are mutually exclusive");
    if (by_header && !field_string(&header, &name))
        return fault(f, PRECONDITION_FAILED, "hash-header is a %s, not a longstr",
                     field_type_name(header.type));
    if (by_property && !field_string(&property, &name))
        return fault(f, PRECONDITION_FAILED, "hash-property is a %s, not a longstr",
                     field_type_name(property.type));
    if (by_property && !read_property(name, &hashed))
        return fault(f, PRECONDITION_FAILED, "Unsupported property: %.*s", SLICE_ARG(name));
    return true;
}

static void *consistent_new(uint64_t seed, struct slice args)
{
    struct consistent *consistent = mem_zalloc(sizeof(*consistent));
    struct field field;
    struct slice name;
    consistent->ring.seed = seed;
    map_init(&consistent->shares, seed);
    if (table_find(args, "hash-header", &field) && field_string(&field, &consistent->header))
        consistent->hashed = HASHED_HEADER;
    else if (table_find(args, "hash-property", &field) && field_string(&field, &name))
        read_property(name, &consistent->hashed);
    return consistent;
}

static void consistent_free(void **index)
{
    struct consistent *consistent = *index;
    *index = NULL;
    assertf(consistent->shares.size == 0 && consistent->weight == 0, "%zu destinations left",
            consistent->shares.size);
    map_free(&consistent->shares);
    mem_free(consistent);
}

/* A whole number, with a sign as in RabbitMQ; false when it is none. One beyond the limit is cut to
 * WEIGHT_MAX + 1. */
static bool read_weight(struct slice key, int *weight)
{
    bool negative = key.len && key.at[0] == '-';
    size_t i = negative || (key.len && key.at[0] == '+');
    int number = 0;
    if (i == key.len)
        return false;
    for (; i < key.len; i++) {
        if (key.at[i] < '0' || key.at[i] > '9')
            return false;
        number = number * 10 + (key.at[i] - '0');
        number = number > WEIGHT_MAX ? WEIGHT_MAX + 1 : number;
    }
    *weight = negative ? -number : number;
    return true;
}

static bool consistent_check(const void *index, struct slice key, struct slice args, struct fault *f)
{
    const struct consistent *consistent = index;
    int weight;
    (void)args;
    if (!read_weight(key, &weight))
        return fault(f, PRECONDITION_FAILED, "The binding key must be an integer: <<\"%.*s\">>",
                     SLICE_ARG(key));
    if (weight <= 0)
        return fault(f, PRECONDITION_FAILED, "The binding key must be greater than 0");
    if (weight > WEIGHT_MAX)
        return fault(f, PRECONDITION_FAILED, "The binding key must not be greater than %d", WEIGHT_MAX);
    if (consistent->weight + (size_t)weight > WEIGHT_SUM_MAX)
        return fault(f, PRECONDITION_FAILED, "The binding keys of the exchange add up to more than %d",
                     WEIGHT_SUM_MAX);
    return true;
}

static struct slice dest_key(const struct binding *binding)
{
    return slice_of(&binding->dest, sizeof(binding->dest));
}

static size_t weight_of(const struct binding *binding)
{
    int weight;
    bool good = read_weight(binding->key, &weight);
    assertf(good && weight > 0 && weight <= WEIGHT_MAX, "weight '%.*s'", SLICE_ARG(binding->key));
    return (size_t)weight;
}

static int compare_places(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return (left > right) - (left < right);
}

static void take_share(struct consistent *consistent, struct binding *binding)
{
    size_t count = consistent->closed ? 0 : weight_of(binding) * POINTS_PER_WEIGHT;
    struct share *share = mem_alloc(sizeof(*share) + count * sizeof(share->points[0]));
    share->count = count;
    uint64_t place = points_place(binding->dest->name, binding->dest->kind);
    uint64_t *places = mem_alloc(count * sizeof(*places));
    for (size_t i = 0; i < count; i++)
        places[i] = digest_pair(place, i);
    qsort(places, count, sizeof(*places), compare_places);
    for (size_t i = 0; i < count; i++)
        share->points[i] = (struct point){.at = places[i], .binding = binding};
    mem_free(places);
    points_add_all(&consistent->ring, share->points, count);
    binding->index_node = share;
}

static void give_share(struct consistent *consistent, struct binding *binding)
{
    struct share *share = binding->index_node;
    if (!consistent->closed)
        points_remove_all(&consistent->ring, share->points, share->count);
    binding->index_node = NULL;
    mem_free(share);
}

static void consistent_add(void *index, struct binding *binding)
{
    struct consistent *consistent = index;
    struct binding *first = map_get(&consistent->shares, dest_key(binding));
    consistent->weight += weight_of(binding);
    if (first) {
        list_push_back(&first->in_index, &binding->in_index);
        return;
    }
    list_init(&binding->in_index);
    map_put(&consistent->shares, dest_key(binding), binding);
    take_share(consistent, binding);
}

/* The next of the destination's bindings takes over. */
static void consistent_remove(void *index, struct binding *binding)
{
    struct consistent *consistent = index;
    assert(list_linked(&binding->in_index) && consistent->weight >= weight_of(binding));
    consistent->weight -= weight_of(binding);
    struct list *next = binding->in_index.next;
    list_remove(&binding->in_index);
    if (!binding->index_node)
        return;
    map_remove(&consistent->shares, dest_key(binding));
    give_share(consistent, binding);
    if (next == &binding->in_index)
        return;
    struct binding *heir = container_of(next, struct binding, in_index);
    map_put(&consistent->shares, dest_key(heir), heir);
    take_share(consistent, heir);
}

static void consistent_close(void *index)
{
    struct consistent *consistent = index;
    consistent->closed = true;
    consistent->ring.root = NULL;
}

static unsigned consistent_cost(struct slice key)
{
    int weight;
    return read_weight(key, &weight) && weight > 0 ? (unsigned)weight * POINTS_PER_WEIGHT * POINT_COST : 0;
}

static uint64_t hash_header(const struct consistent *consistent, struct slice headers)
{
    struct slice name;
    struct field field;
    while (table_next(&headers, &name, &field))
        if (slice_equal(name, consistent->header))
            return digest_field(&field, 0);
    return 0;
}

static uint64_t hash_property(enum hashed hashed, struct slice bytes)
{
    struct props props;
    struct fault f;
    bool good = props_decode(bytes, &props, &f);
    assertf(good, "properties were checked when they came: %s", f.text);
    if (hashed == HASHED_TIMESTAMP)
        return digest_pair(0, props.timestamp);
    return slice_hash(hashed == HASHED_MESSAGE_ID ? props.message_id : props.correlation_id, 0);
}

static void consistent_match(void *index, const struct route_input *input, struct slice key,
                             struct route_set *set)
{
    const struct consistent *consistent = index;
    uint64_t hash;
    if (consistent->hashed == HASHED_KEY)
        hash = slice_hash(key, 0);
    else if (consistent->hashed == HASHED_HEADER)
        hash = hash_header(consistent, input->headers);
    else
        hash = hash_property(consistent->hashed, input->props);
    const struct point *point = points_from(&consistent->ring, digest_pair(0, hash));
    if (point)
        route_add(set, point->binding->dest);
}

const struct exchange_type consistent_hash_type = {
    .name = "x-consistent-hash",
    .keyless = true,
    .check_args = consistent_check_args,
    .index_new = consistent_new,
    .index_free = consistent_free,
    .check = consistent_check,
    .add = consistent_add,
    .remove = consistent_remove,
    .close = consistent_close,
    .cost = consistent_cost,
    .match = consistent_match,
};
