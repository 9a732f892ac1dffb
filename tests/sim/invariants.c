/* invariants.c - the invariants of the whole server: walks through all that holds a message and
 * counts.
 *
 * I1 and I2: every holder is found exactly once, so references, journal references, queue.unacked
 * and consumer.unacked must come out right. I3 to I6 are queue_check's and vhost_check's. I7 is
 * seen by the clients; I8 here: what waits to be confirmed is not durable, and nothing else waits.
 */
#include "tests/sim/invariants.h"

#include <stdlib.h>

#include "broker/channel.h"
#include "broker/tx.h"
#include "exchange/recent.h"
#include "queue/lane.h"

RING(holder_ring, const void *);

struct census {
    struct holder_ring messages; /* one for each reference */
    struct holder_ring journalled;
    struct holder_ring queues;    /* one for each unacked item */
    struct holder_ring consumers; /* the same */
    struct holder_ring leaving;   /* queues, one for each outcome */
    size_t of_consumers;          /* items of the channel that is being counted */
};

static void count_message(void *arg, struct message *m)
{
    struct census *census = arg;
    holder_ring_push_back(&census->messages, m);
}

static void count_owner(void *arg, void *owner)
{
    count_message(arg, owner);
}

static void count_entry(void *arg, const struct entry *entry)
{
    struct census *census = arg;
    count_message(arg, entry->message);
    if (entry->journalled && !entry->page) /* a page's messages are not in the journal any more */
        holder_ring_push_back(&census->journalled, entry->message);
}

static void count_item(void *arg, uint64_t tag, const struct unacked_item *item)
{
    struct census *census = arg;
    assert(tag > 0 && item->queue != NULL);
    count_entry(arg, &item->entry);
    holder_ring_push_back(&census->queues, item->queue);
    if (item->consumer) {
        holder_ring_push_back(&census->consumers, item->consumer);
        census->of_consumers++;
        assert(item->consumer->queue == item->queue || item->consumer->state == CONSUMER_GONE);
    }
}

static void count_outcome(void *arg, struct outcome *outcome)
{
    struct census *census = arg;
    count_entry(arg, &outcome->entry);
    holder_ring_push_back(&census->leaving, outcome->queue);
}

static void count_order(struct census *census, const struct order *order)
{
    for (size_t at = 0; at < order->fresh.size; at++)
        if (entry_ring_at(&order->fresh, at)->message)
            count_entry(census, entry_ring_at(&order->fresh, at));
    for (size_t at = 0; at < order->returned_size; at++)
        count_entry(census, &order->returned[at]);
    for (size_t at = 0; order->backlog && at < order->backlog->tail.size; at++)
        if (entry_ring_at(&order->backlog->tail, at)->message)
            count_entry(census, entry_ring_at(&order->backlog->tail, at));
}

static void count_remembered(struct census *census, const struct vhost *v)
{
    map_each (&v->exchanges, i)
        for (size_t at = 0; at < recent_count(v->exchanges.slots[i].value); at++)
            count_message(census, recent_at(v->exchanges.slots[i].value, at));
}

static void count_queues(struct census *census, const struct vhost *v)
{
    map_each (&v->queues, i) {
        struct queue *q = v->queues.slots[i].value;
        for (unsigned lane = 0; lane < lane_count(q); lane++)
            if (lane_at(q, lane))
                count_order(census, lane_at(q, lane));
    }
}

/* --- channels --- */

/* Nobody waits for what is there. */
static void check_parked(const struct channel *ch)
{
    list_each (node, &ch->parked) {
        const struct consumer *c = container_of(node, struct consumer, place);
        assert(c->state == CONSUMER_PARKED);
        assertf(ch->consumer_unacked >= ch->unacked_max || queue_ready(c->queue) == 0,
                "a consumer is parked with %u of %u unacked", ch->consumer_unacked,
                ch->unacked_max);
    }
}

static void check_confirms(const struct server *s, const struct channel *ch)
{
    const struct confirms *confirms = &ch->confirms;
    uint64_t sequence = confirms->confirmed, batch = s->durable_seen;
    assert(confirms->confirmed <= confirms->published);
    for (size_t i = 0; i < confirms->waiting.size; i++) {
        const struct confirm *confirm = confirm_ring_at(&confirms->waiting, i);
        assertf(confirm->sequence > sequence && confirm->batch > batch,
                "confirm %llu of batch %llu", (unsigned long long)confirm->sequence,
                (unsigned long long)confirm->batch);
        sequence = confirm->sequence, batch = confirm->batch;
    }
    assert(ch->mode != CHANNEL_CONFIRM || ch->state != CHANNEL_OPEN ||
           sequence == confirms->published);
    assert(list_linked(&ch->confirming) == (confirms->waiting.size > 0));
}

static void check_channel(struct census *census, const struct server *s, const struct channel *ch)
{
    census->of_consumers = 0;
    unacked_each(&ch->unacked, count_item, census);
    tx_each(ch, count_item, count_message, census);
    assertf(census->of_consumers == ch->consumer_unacked, "%zu of %u", census->of_consumers,
            ch->consumer_unacked);
    if (ch->assembly.message)
        count_message(census, ch->assembly.message);
    if (ch->state == CHANNEL_CLOSING)
        assert(ch->subscriptions.size == 0 && ch->assembly.state == ASSEMBLY_IDLE);
    map_each (&ch->subscriptions, i) {
        const struct subscription *sub = ch->subscriptions.slots[i].value;
        assert(sub->channel == ch && sub->consumer.state != CONSUMER_GONE &&
               !sub->consumer.queue->leaving.deleted);
    }
    check_parked(ch);
    check_confirms(s, ch);
}

/* What goes on without its connection. */
struct detached {
    struct census *census;
    const struct server *s;
    size_t channels;
};

static void check_detached(void *arg, struct channel *ch)
{
    struct detached *detached = arg;
    assert(ch->state == CHANNEL_CLOSING && ch->conn->flow.detached > 0);
    assert(ch->conn->state >= CONNECTION_CLOSING);
    check_channel(detached->census, detached->s, ch);
    detached->channels++;
}

static void check_connection(struct census *census, const struct server *s,
                             const struct connection *conn)
{
    size_t channels = 0;
    for (size_t i = 0; i < conn->channels.capacity; i++) {
        const struct channel *ch = conn->channels.slots[i];
        if (!ch)
            continue;
        assert(ch->conn == conn && connection_channel(conn, ch->number) == ch);
        check_channel(census, s, ch);
        channels++;
    }
    assert(channels == conn->channels.size);
    assert(conn->state == CONNECTION_OPEN || channels == 0);
    assert(conn->state != CONNECTION_CLOSED || conn->stream.state != STREAM_OPEN);
    assertf(list_empty(&conn->parked) || conn->stream.output.pending >= STREAM_LOW_WATER,
            "a consumer is parked behind %zu bytes", conn->stream.output.pending);
    if (conn->barriers.size)
        assert(conn->stream.sent <= barrier_ring_at(&conn->barriers, 0)->offset);
    output_each_ref(&conn->stream.output, count_owner, census);
}

/* --- sums --- */

static int by_address(const void *a, const void *b)
{
    uintptr_t one = (uintptr_t) * (void *const *)a, other = (uintptr_t) * (void *const *)b;
    return (one > other) - (one < other);
}

static void sort(struct holder_ring *ring)
{
    assert(ring->head == 0);
    if (ring->size)
        qsort(ring->slots, ring->size, sizeof(*ring->slots), by_address);
}

/* The number of equal ones at `*at`; moves behind them. */
static size_t run(const struct holder_ring *ring, size_t *at)
{
    size_t start = *at;
    while (*at < ring->size && ring->slots[*at] == ring->slots[start])
        ++*at;
    return *at - start;
}

static void check_references(struct census *census, const struct server *s)
{
    struct store_stats stats;
    size_t live = 0;
    sort(&census->messages);
    sort(&census->journalled);
    for (size_t at = 0; at < census->messages.size;) {
        const struct message *m = census->messages.slots[at];
        size_t holders = run(&census->messages, &at);
        assertf(holders == m->refs, "a message has %u references and %zu holders", m->refs,
                holders);
    }
    for (size_t at = 0; at < census->journalled.size; live++) {
        const struct message *m = census->journalled.slots[at];
        size_t holders = run(&census->journalled, &at);
        assertf(holders == m->journal_refs, "a message has %u journal references and %zu holders",
                m->journal_refs, holders);
        assert(m->batch > 0);
    }
    store_stats(s->store, &stats);
    assertf(live == stats.live_messages, "%zu messages in memory, %llu in the journal", live,
            (unsigned long long)stats.live_messages);
}

static void check_unacked(struct census *census, const struct server *s)
{
    size_t deleted = 0, named = 0;
    sort(&census->queues);
    sort(&census->consumers);
    for (size_t at = 0; at < census->queues.size;) {
        const struct queue *q = census->queues.slots[at];
        size_t items = run(&census->queues, &at);
        assertf(items == q->unacked, "queue %.*s has %zu unacked, %zu items", SLICE_ARG(q->name),
                q->unacked, items);
        deleted += q->leaving.deleted;
    }
    sort(&census->leaving);
    for (size_t at = 0; at < census->leaving.size;) {
        const struct queue *q = census->leaving.slots[at];
        size_t items = run(&census->leaving, &at);
        assertf(items == q->leaving.outcomes, "queue %.*s has %zu outcomes, %zu are there",
                SLICE_ARG(q->name), q->leaving.outcomes, items);
        deleted += q->leaving.deleted && q->unacked == 0; /* the others were counted */
    }
    for (size_t at = 0; at < census->consumers.size;) {
        const struct consumer *c = census->consumers.slots[at];
        size_t items = run(&census->consumers, &at);
        assertf(items == c->unacked, "a consumer has %u unacked, %zu items", c->unacked, items);
    }
    size_t unacked = 0;
    map_each (&s->vhosts, i) {
        const struct vhost *v = s->vhosts.slots[i].value;
        named += v->queues.size;
        map_each (&v->queues, j) {
            const struct queue *q = v->queues.slots[j].value;
            unacked += q->unacked;
        }
    }
    assertf(s->home.queue_count == named + deleted, "%zu queues, %zu with a name, %zu deleted",
            s->home.queue_count, named, deleted);
    assert(unacked <= census->queues.size);
}

void invariants_check(const struct server *s, bool references)
{
    struct census census = {0};
    map_each (&s->vhosts, i)
        vhost_check(s->vhosts.slots[i].value);
    if (!references)
        return;
    list_each (node, &s->connections)
        check_connection(&census, s, container_of(node, struct connection, link));
    map_each (&s->vhosts, i) {
        count_queues(&census, s->vhosts.slots[i].value);
        count_remembered(&census, s->vhosts.slots[i].value);
    }
    struct detached detached = {&census, s, 0};
    size_t owed = 0;
    giveback_each_detached(&s->giving, check_detached, &detached);
    list_each (node, &s->connections)
        owed += container_of(node, struct connection, link)->flow.detached;
    assertf(owed == detached.channels, "%zu of %zu channels without a connection", detached.channels, owed);
    outcomes_walk((struct queue_home *)(uintptr_t)&s->home, count_outcome, &census);
    queue_home_each_buried(&s->home, count_entry, &census);
    check_references(&census, s);
    check_unacked(&census, s);
    holder_ring_free(&census.messages);
    holder_ring_free(&census.journalled);
    holder_ring_free(&census.queues);
    holder_ring_free(&census.consumers);
    holder_ring_free(&census.leaving);
}
