/* listing_topology.c - the lists of a vhost: queues, exchanges, bindings, consumers. */
#include "broker/channel.h"
#include "broker/delayed.h"
#include "broker/json_out.h"
#include "broker/listing.h"
#include "broker/listing_pid.h"
#include "protocol/table.h"

/* --- values --- */

static void put_pid(struct buf *out, const struct connection *conn)
{
    listing_put_pid(out, conn, 0);
}

static void put_channel_pid(struct buf *out, const struct channel *ch)
{
    listing_put_pid(out, ch->conn, ch->number);
}

static void put_queue_type(struct buf *out, const struct queue *q)
{
    struct field field;
    struct slice type = SLICE("classic");
    if (table_find(q->args, "x-queue-type", &field))
        field_string(&field, &type);
    json_out_text(out, type);
}

static void put_policy_name(struct buf *out, const struct policy *policy)
{
    json_out_text(out, policy ? policy->name : SLICE(""));
}

static void put_effective(struct buf *out, const struct dest *dest)
{
    policy_effective(dest->policies[0], dest->policies[1], out);
}

static size_t paged(const struct queue *q)
{
    return q->order.backlog ? q->order.backlog->paged : 0;
}

static void put_exclusive_tag(struct buf *out, const struct queue *q)
{
    struct slice tag = SLICE("");
    if (q->consumers.exclusive)
        tag = list_first(&q->consumers.all, struct subscription, consumer.of_queue)->tag;
    json_out_text(out, tag);
}

/* As RabbitMQ: flow while publishers are held up for its sake. */
static void put_queue_state(struct buf *out, const struct queue *q)
{
    json_out_string(out, list_empty(&q->paced) ? "running" : "flow");
}

/* --- columns --- */

#define QUEUE(name, put, value)                                                                            \
    static void put_queues_##name(struct buf *out, const struct row *row)                                  \
    {                                                                                                      \
        const struct queue *q = row->object;                                                               \
        (void)q;                                                                                           \
        put(out, value);                                                                                   \
    }
#define EXCHANGE(name, put, value)                                                                         \
    static void put_exchanges_##name(struct buf *out, const struct row *row)                               \
    {                                                                                                      \
        const struct exchange *x = row->object;                                                            \
        (void)x;                                                                                           \
        put(out, value);                                                                                   \
    }
#define BINDING(name, put, value)                                                                          \
    static void put_bindings_##name(struct buf *out, const struct row *row)                                \
    {                                                                                                      \
        const struct binding *binding = row->object;                                                       \
        (void)binding;                                                                                     \
        put(out, value);                                                                                   \
    }
#define CONSUMER(name, put, value)                                                                         \
    static void put_consumers_##name(struct buf *out, const struct row *row)                               \
    {                                                                                                      \
        const struct subscription *sub = row->object;                                                      \
        (void)sub;                                                                                         \
        put(out, value);                                                                                   \
    }
#include "broker/listing.def"

static const struct column queue_columns[] = {
#define QUEUE(name, put, value) {#name, put_queues_##name},
#include "broker/listing.def"
};
static const struct column exchange_columns[] = {
#define EXCHANGE(name, put, value) {#name, put_exchanges_##name},
#include "broker/listing.def"
};
static const struct column binding_columns[] = {
#define BINDING(name, put, value) {#name, put_bindings_##name},
#include "broker/listing.def"
};
static const struct column consumer_columns[] = {
#define CONSUMER(name, put, value) {#name, put_consumers_##name},
#include "broker/listing.def"
};

/* --- walks --- */

static enum listing_next next_queue(struct request *r, struct row *row)
{
    struct queue *q = listing_queue(r);
    row->object = q;
    if (q)
        r->listing.walk.at[0] = r->listing.walk.at[0]->next;
    return q ? LISTING_ROW : LISTING_END;
}

static enum listing_next next_exchange(struct request *r, struct row *row)
{
    struct exchange *x = listing_exchange(r);
    row->object = x;
    if (x)
        r->listing.walk.at[0] = r->listing.walk.at[0]->next;
    return x ? LISTING_ROW : LISTING_END;
}

/* One level down: the next node of the list that hangs below the walk's place; at its end the walk goes on
 * to the next place and this is NULL. */
static struct list *next_below(struct walk *walk, struct list *head)
{
    if (!walk->at[1])
        walk->at[1] = head->next;
    struct list *node = walk->at[1];
    if (node == head) {
        walk->at[0] = walk->at[0]->next;
        walk->at[1] = NULL;
        return NULL;
    }
    walk->at[1] = node->next;
    return node;
}

/* By destination: queues first, with their place in the default exchange, then exchanges. */
static enum listing_next next_binding(struct request *r, struct row *row)
{
    struct listing_state *state = &r->listing;
    struct queue *q = state->phase == 0 ? listing_queue(r) : NULL;
    if (state->phase == 0 && !q) {
        state->phase = 1;
        state->walk.at[0] = state->walk.at[1] = NULL;
    }
    struct exchange *x = state->phase == 1 ? listing_exchange(r) : NULL;
    if (!q && !x)
        return LISTING_END;
    struct list *node = next_below(&state->walk, q ? &q->dest.bindings : &x->dest.bindings);
    if (node)
        row->object = container_of(node, struct binding, by_dest);
    return node ? LISTING_ROW : LISTING_PASSED;
}

static enum listing_next next_consumer(struct request *r, struct row *row)
{
    struct queue *q = listing_queue(r);
    if (!q)
        return LISTING_END;
    struct list *node = next_below(&r->listing.walk, &q->consumers.all);
    if (node)
        row->object = container_of(node, struct subscription, consumer.of_queue);
    return node ? LISTING_ROW : LISTING_PASSED;
}

void command_list_queues(struct request *r)
{
    static const struct listing listing = {queue_columns, array_size(queue_columns), "name messages", true,
                                           next_queue};
    listing_start(r, &listing);
}

void command_list_exchanges(struct request *r)
{
    static const struct listing listing = {exchange_columns, array_size(exchange_columns), "name type",
                                           true, next_exchange};
    listing_start(r, &listing);
}

void command_list_bindings(struct request *r)
{
    static const struct listing listing = {
        binding_columns, array_size(binding_columns),
        "source_name source_kind destination_name destination_kind routing_key arguments", true,
        next_binding};
    listing_start(r, &listing);
}

void command_list_consumers(struct request *r)
{
    static const struct listing listing = {
        consumer_columns, array_size(consumer_columns),
        "queue_name channel_pid consumer_tag ack_required prefetch_count arguments", true, next_consumer};
    listing_start(r, &listing);
}
