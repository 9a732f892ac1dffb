/* consumer.c - a connection that consumes and checks. */
#include "tools/perf/consumer.h"

#include <endian.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"

enum { READ_BYTES = 256 * 1024, ACK_FRAME_SIZE = 21 };

static enum turn take_turn(struct link *link);

/* Asks for deliveries without waiting for an answer, behind which they would already come. */
static void subscribe(struct consumer *c, const struct topology *topology, uint64_t i)
{
    char tag[32];
    struct subscription *s = &c->subscriptions[i];
    snprintf(tag, sizeof(tag), "q%" PRIu64, i);
    struct method m = {.id = METHOD_basic_consume,
                       .basic_consume = {.queue = topology->names[s->queue],
                                         .consumer_tag = slice_of_string(tag),
                                         .no_ack = c->options->consume.autoack,
                                         .no_wait = true}};
    client_put(&c->link.client, CLIENT_CHANNEL, &m);
}

bool consumer_init(struct consumer *c, const struct topology *topology, struct consumer_place place)
{
    const struct options *o = topology->options;
    assert(place.id < place.count && c->link.client.fd >= 0);
    c->link.turn = take_turn;
    c->options = o;
    c->run = place.run;
    c->first_queue = place.id % topology->queues;
    c->queue_step = place.count;
    c->subscription_count = 1 + (topology->queues - 1 - c->first_queue) / place.count;
    c->subscriptions = mem_zalloc(c->subscription_count * sizeof(*c->subscriptions));
    struct method qos = {.id = METHOD_basic_qos,
                         .basic_qos = {.prefetch_count = (uint16_t)o->consume.prefetch}};
    if (o->consume.prefetch && !client_call(&c->link.client, &qos, METHOD_basic_qos_ok, NULL))
        return false;
    for (uint64_t i = 0; i < c->subscription_count; i++) {
        c->subscriptions[i].queue = c->first_queue + i * c->queue_step;
        c->subscriptions[i].shared = place.count > topology->queues;
    }
    for (uint64_t i = 0; i < c->subscription_count; i++)
        subscribe(c, topology, i);
    return client_flush(&c->link.client);
}

void consumer_free(struct consumer *c)
{
    for (uint64_t i = 0; i < c->subscription_count; i++) {
        struct subscription *s = &c->subscriptions[i];
        for (uint64_t j = 0; j < s->capacity; j++) {
            if (s->sequences[j])
                sequence_free(s->sequences[j]);
            mem_free(s->sequences[j]);
        }
        mem_free(s->sequences);
        mem_free(s->runs);
    }
    mem_free(c->subscriptions);
    c->subscriptions = NULL;
    c->subscription_count = 0;
}

static void grow_subscription(struct subscription *s, uint64_t producer)
{
    uint64_t capacity = s->capacity ? s->capacity : 4;
    while (capacity <= producer)
        capacity *= 2;
    s->sequences = mem_realloc(s->sequences, capacity * sizeof(*s->sequences));
    s->runs = mem_realloc(s->runs, capacity);
    memset(s->sequences + s->capacity, 0, (capacity - s->capacity) * sizeof(*s->sequences));
    s->capacity = capacity;
}

/* Begins the sequence of a producer, or begins anew for another run of the tool. What other runs published
 * may have been consumed in part before: there the first number seen is the first expected. */
static struct sequence *begin_sequence(struct consumer *c, struct subscription *s, uint64_t id)
{
    uint64_t producer = id >> STAMP_SEQUENCE_BITS & 0xFFFF;
    bool here = c->options->publish.producers > 0;
    if (producer >= s->capacity)
        grow_subscription(s, producer);
    struct sequence *sequence = s->sequences[producer];
    if (!sequence) {
        sequence = s->sequences[producer] = mem_zalloc(sizeof(*sequence));
    } else {
        c->verdict.lost += sequence->missing;
        c->verdict.late += sequence->late;
        c->verdict.duplicated += sequence->duplicated;
        c->verdict.redelivered += sequence->redelivered;
        sequence_free(sequence);
    }
    sequence->shared = s->shared;
    sequence->next = here ? 0 : id & STAMP_SEQUENCE_MASK;
    s->runs[producer] = (uint8_t)(id >> (STAMP_SEQUENCE_BITS + STAMP_PRODUCER_BITS));
    return sequence;
}

static inline void check_stamp(struct consumer *c, const struct scan_event *e, uint64_t now)
{
    uint64_t stamp[2];
    struct subscription *s = &c->subscriptions[e->queue];
    if (e->prefix_len < STAMP_ID_SIZE)
        return;
    memcpy(stamp, e->prefix, e->prefix_len >= STAMP_SIZE ? STAMP_SIZE : STAMP_ID_SIZE);
    uint64_t id = le64toh(stamp[0]), producer = id >> STAMP_SEQUENCE_BITS & 0xFFFF;
    uint8_t run = (uint8_t)(id >> (STAMP_SEQUENCE_BITS + STAMP_PRODUCER_BITS));
    bool here = c->options->publish.producers > 0;
    if (here && (run != c->run || producer >= c->options->publish.producers)) {
        c->verdict.foreign++;
        return;
    }
    struct sequence *sequence = subscription_sequence(s, producer);
    if (!sequence || s->runs[producer] != run)
        sequence = begin_sequence(c, s, id);
    sequence_take(sequence, id & STAMP_SEQUENCE_MASK, e->redelivered);
    if (here && e->prefix_len >= STAMP_SIZE) {
        uint64_t sent = le64toh(stamp[1]);
        histogram_record(&c->link.worker->latency, now > sent ? (now - sent) / 1000 : 0);
    }
}

static void put_ack(struct consumer *c)
{
    static const uint8_t frame[ACK_FRAME_SIZE] = {FRAME_METHOD, 0, CLIENT_CHANNEL, 0, 0, 0, 13, 0, 60, 0, 80,
                                                  [20] = FRAME_END};
    struct buf *out = &c->link.client.out;
    uint8_t *at = buf_reserve(out, ACK_FRAME_SIZE);
    uint64_t tag = htobe64(c->last_tag);
    memcpy(at, frame, ACK_FRAME_SIZE);
    memcpy(at + 11, &tag, sizeof(tag));
    at[19] = c->unacked > 1;
    out->len += ACK_FRAME_SIZE;
    c->unacked = 0;
}

static bool take_message(struct consumer *c, const struct scan_event *e, uint64_t now)
{
    const struct consume_options *o = &c->options->consume;
    if (e->queue >= c->subscription_count)
        return client_fail(&c->link.client, "the broker delivered to an unknown consumer tag");
    if (e->tag <= c->last_tag)
        return client_fail(&c->link.client, "delivery tag %" PRIu64 " after %" PRIu64, e->tag, c->last_tag);
    if (o->prefetch && !o->autoack && c->unacked >= o->prefetch * c->subscription_count)
        return client_fail(&c->link.client, "more than %" PRIu64 " unacknowledged messages", c->unacked);
    c->last_tag = e->tag;
    c->received++;
    check_stamp(c, e, now);
    if (!o->autoack && ++c->unacked >= o->ack_every)
        put_ack(c);
    return true;
}

static void finish(struct consumer *c)
{
    struct control *control = c->link.worker->control;
    c->finished = true;
    atomic_fetch_sub(&control->consumers_left, 1);
    control_notify(control);
}

static bool take_input(struct consumer *c)
{
    struct scan_event e;
    uint64_t before = c->received, max = c->options->consume.messages;
    bool ok = link_read(&c->link, READ_BYTES);
    uint64_t now = ok ? clock_now_ns() : 0;
    while (ok) {
        enum scan_status status = scan_next(&c->link.scan, &e);
        if (status == SCAN_DELIVER)
            ok = (max && c->received == max) || take_message(c, &e, now);
        else if (status == SCAN_METHOD)
            ok = link_take_method(&c->link, e.payload);
        else if (status == SCAN_MORE)
            break;
        else
            ok = client_fail(&c->link.client, "the broker sent what a consumer cannot expect");
    }
    if (ok)
        link_keep_rest(&c->link);
    worker_count(c->link.worker, COUNT_RECEIVED, c->received - before);
    if (max && c->received == max && !c->finished)
        finish(c);
    return ok;
}

static enum turn take_turn(struct link *link)
{
    struct consumer *c = container_of(link, struct consumer, link);
    if (link->readable && !c->finished && !take_input(c))
        return TURN_FAILED;
    if (link->writable && link->client.out.len && !link_write(link))
        return TURN_FAILED;
    return link->readable && !c->finished ? TURN_AGAIN : TURN_WAIT;
}

void consumer_ack_rest(struct consumer *c)
{
    if (c->unacked > 0)
        put_ack(c);
}
