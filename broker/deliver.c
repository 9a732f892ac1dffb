/* deliver.c - the dispatcher: pulls entries from queues that are ready and writes them to consumers.
 *
 * Pushes, acks and new consumers only mark a queue ready; this drains the marked queues once a turn, a
 * bounded number of messages from each before the next has its turn, and a bounded number in all, so that
 * input is not starved. */
#include "broker/deliver.h"

#include "broker/consume.h"
#include "broker/pace.h"
#include "broker/trace.h"
#include "queue/excess.h"

enum {
    DELIVER_TURN_MAX = 32 * 1024, /* messages a turn */
    DELIVER_TURN_BYTES = 8 * 1024 * 1024,
    DELIVER_QUEUE_MAX = 256,      /* from one queue before the next */
    COPY_MAX = 8 * 1024,          /* larger bodies are written from where they are */
};

static void release_message(void *arg, void *owner)
{
    struct slab_pool *pool = arg;
    struct message *m = owner;
    message_unref(pool, &m);
}

/* The body in frames of at most `piece_max` bytes; large ones are referenced, not copied. */
static void write_body(struct channel *ch, struct message *m, size_t piece_max)
{
    struct stream *stream = &ch->conn->stream;
    struct slice body = message_body(m);
    for (size_t at = 0; at < body.len;) {
        size_t piece = body.len - at < piece_max ? body.len - at : piece_max;
        bool copy = piece <= COPY_MAX;
        uint8_t *head = stream_reserve(stream, FRAME_OVERHEAD + (copy ? piece : 0));
        uint8_t *payload = frame_write_head(head, FRAME_BODY, ch->number, (uint32_t)piece);
        if (copy) {
            memcpy(payload, body.at + at, piece);
            payload[piece] = FRAME_END;
            stream_commit(stream, FRAME_OVERHEAD + piece);
        } else {
            stream_commit(stream, FRAME_HEAD_SIZE);
            message_ref(m);
            stream_write_ref(stream, slice_of(body.at + at, piece), release_message,
                             &channel_server(ch)->messages, m);
            *stream_reserve(stream, 1) = FRAME_END;
            stream_commit(stream, 1);
        }
        at += piece;
    }
}

/* The content header frame; returns its end. */
static inline uint8_t *write_header(uint8_t *at, uint16_t channel, const struct message *m,
                                    struct slice props)
{
    at = frame_write_head(at, FRAME_HEADER, channel, 12 + (uint32_t)props.len);
    at = wire_put_u32(at, METHOD_basic_publish >> 16 << 16); /* the class, and weight 0 */
    at = wire_put_u64(at, m->body_size);
    memcpy(at, props.at, props.len);
    at += props.len;
    *at = FRAME_END;
    return at + 1;
}

bool deliver_header_fits(const struct channel *ch, struct slice props)
{
    return props.len + 12 + FRAME_OVERHEAD <= ch->conn->frame_max;
}

static __attribute__((cold, noinline)) struct slice tell_returns(struct server *s, const struct entry *entry)
{
    s->told.len = 0;
    props_put_header(&s->told, message_props(entry->message), "x-delivery-count", entry->returns);
    return buf_slice(&s->told);
}

static inline struct slice props_of(struct server *s, const struct queue *q, const struct entry *entry)
{
    if (entry->returns | (unsigned)q->kind.type)
        return tell_returns(s, entry);
    return message_props(entry->message);
}

struct slice deliver_props(struct server *s, const struct queue *q, const struct entry *entry)
{
    return props_of(s, q, entry);
}

/* Room for a method frame with three short strings, and the content header behind it. */
enum { METHOD_ROOM = 1024, HEADER_ROOM = 12 + 2 * FRAME_OVERHEAD };

static bool body_is_small(const struct channel *ch, const struct message *m)
{
    return m->body_size <= COPY_MAX && m->body_size <= ch->conn->frame_max - FRAME_OVERHEAD;
}

static uint8_t *reserve(struct channel *ch, const struct message *m, struct slice props)
{
    size_t body = body_is_small(ch, m) ? m->body_size : 0;
    return stream_reserve(&ch->conn->stream, METHOD_ROOM + HEADER_ROOM + props.len + body);
}

/* Header and body after a method frame that ends at `at`; `start` is what reserve() gave. */
static void write_content(struct channel *ch, struct message *m, struct slice props, uint8_t *start,
                          uint8_t *at)
{
    at = write_header(at, ch->number, m, props);
    bool small = body_is_small(ch, m);
    if (small && m->body_size) {
        struct slice body = message_body(m);
        at = frame_write_head(at, FRAME_BODY, ch->number, (uint32_t)body.len);
        memcpy(at, body.at, body.len);
        at[body.len] = FRAME_END;
        at += body.len + 1;
    }
    stream_commit(&ch->conn->stream, (size_t)(at - start));
    if (!small)
        write_body(ch, m, ch->conn->frame_max - FRAME_OVERHEAD);
}

bool deliver_content(struct channel *ch, const struct method *m, struct message *message, struct slice props)
{
    if (!deliver_header_fits(ch, props))
        return false;
    uint64_t before = stream_queued(&ch->conn->stream);
    uint8_t *start = reserve(ch, message, props);
    struct writer w = writer_of(start + FRAME_HEAD_SIZE, METHOD_ROOM - FRAME_OVERHEAD);
    method_encode(&w, m);
    assert(!w.bad);
    frame_write_head(start, FRAME_METHOD, ch->number, (uint32_t)(w.at - start) - FRAME_HEAD_SIZE);
    *w.at = FRAME_END;
    write_content(ch, message, props, start, w.at + 1);
    flow_replied(ch->conn, stream_queued(&ch->conn->stream) - before);
    return true;
}

/* The basic.deliver frame, byte for byte what method_encode makes of it (a test says so), without the
 * detour: this is the one method that is written once a message. */
static inline uint8_t *write_method(uint8_t *start, const struct subscription *sub, uint64_t tag,
                                    const struct entry *entry)
{
    static_assert(FRAME_OVERHEAD + 4 + 8 + 1 + 3 * 256 <= METHOD_ROOM, "three short strings fit");
    const struct message *m = entry->message;
    uint8_t *at = wire_put_u32(start + FRAME_HEAD_SIZE, METHOD_basic_deliver);
    at = wire_put_sstr(at, sub->tag);
    at = wire_put_u64(at, tag);
    *at++ = entry->redelivered;
    at = wire_put_sstr(at, message_exchange(m));
    at = wire_put_sstr(at, message_key(m));
    frame_write_head(start, FRAME_METHOD, sub->channel->number, (uint32_t)(at - start) - FRAME_HEAD_SIZE);
    *at = FRAME_END;
    return at + 1;
}

uint8_t *deliver_write_method(uint8_t *at, const struct subscription *sub, uint64_t tag,
                              const struct entry *entry)
{
    return write_method(at, sub, tag, entry);
}

static inline bool write_delivery(struct subscription *sub, uint64_t tag, const struct entry *entry,
                           struct slice props)
{
    struct channel *ch = sub->channel;
    if (!deliver_header_fits(ch, props))
        return false;
    uint8_t *start = reserve(ch, entry->message, props);
    write_content(ch, entry->message, props, start, write_method(start, sub, tag, entry));
    return true;
}

bool deliver_unqueued(struct subscription *sub, struct message *m)
{
    struct entry entry = {.message = m};
    assert(sub->consumer.no_ack && sub->consumer.queue == NULL);
    if (!write_delivery(sub, sub->channel->delivery_tag + 1, &entry, message_props(m)))
        return false;
    sub->channel->delivery_tag++;
    return true;
}

/* The message cannot be sent to this consumer: it goes back unseen, and the channel is told (K27). */
static void refuse_header(struct queue *q, struct subscription *sub, struct entry *entry)
{
    struct channel *ch = sub->channel;
    struct fault f = {0};
    fault(&f, CONTENT_TOO_LARGE,
          "a message of queue '%.*s' in vhost '%.*s' has %u bytes of properties, "
          "which do not fit the negotiated frame_max = %u",
          SLICE_ARG(q->name), SLICE_ARG(ch->conn->vhost->name), entry->message->props_size,
          ch->conn->frame_max);
    if (sub->consumer.no_ack)
        q->unacked++; /* it goes back as if it had been handed out to be acked */
    else
        sub->consumer.unacked--;
    queue_requeue(q, entry, false);
    channel_fail(ch, &f);
}

/* Hands the next entry of the queue to a consumer; false when the queue must be left (it may be gone). */
static bool deliver_one(struct queue *q, struct subscription *sub, size_t *bytes)
{
    struct channel *ch = sub->channel;
    struct entry entry = queue_next(q, &sub->consumer);
    uint64_t batch = sub->consumer.no_ack ? 0 : queue_delivery_batch(q, &entry);
    if (batch)
        connection_bar(ch->conn, batch);
    struct slice props = props_of(channel_server(ch), q, &entry);
    if (!write_delivery(sub, ch->delivery_tag + 1, &entry, props)) {
        refuse_header(q, sub, &entry);
        return false;
    }
    ch->delivery_tag++;
    if (ch->conn->vhost->traced)
        trace_deliver(ch, q, &entry);
    *bytes += entry.message->body_size;
    if (sub->consumer.no_ack) {
        queue_settle(q, &entry, false);
    } else {
        ch->consumer_unacked++;
        flow_hand_out(&ch->conn->flow, entry.message);
        unacked_put(&ch->unacked, ch->delivery_tag,
                    &(struct unacked_item){entry, q, &sub->consumer});
    }
    return true;
}

/* True when the consumer's connection or channel cannot take more now: it is set aside. */
static inline bool set_aside(struct subscription *sub)
{
    struct channel *ch = sub->channel;
    if (stream_is_high(&ch->conn->stream)) {
        consumer_park(&sub->consumer, &ch->conn->parked);
        return true;
    }
    if (!sub->consumer.no_ack && flow_is_full(ch->conn)) {
        consumer_park(&sub->consumer, &ch->conn->flow.parked);
        return true;
    }
    if (!sub->consumer.no_ack && ch->consumer_unacked >= ch->unacked_max) {
        consumer_park(&sub->consumer, &ch->parked);
        return true;
    }
    return false;
}

/* Up to `max` messages of one queue; returns how many. */
static size_t deliver_queue(struct queue *q, size_t max, size_t *bytes)
{
    size_t done = 0;
    if (!list_empty(&q->paced) && queue_has_caught_up(q) && !excess_is_large(q))
        pace_release(q);
    while (done < max && list_linked(&q->ready_link)) {
        struct subscription *sub = container_of(queue_turn(q), struct subscription, consumer);
        if (set_aside(sub))
            continue;
        done++;
        if (!deliver_one(q, sub, bytes))
            break;
    }
    return done;
}

/* Offers what credit is left to consumers that wait for it; true when there was somebody to ask. */
static bool grant_slack(struct server *s)
{
    struct list channels;
    list_init(&channels);
    list_splice_back(&channels, &s->slack);
    bool any = !list_empty(&channels);
    for (struct list *node; (node = list_pop_front(&channels));) {
        struct channel *ch = container_of(node, struct channel, slack);
        if (ch->consumer_unacked < ch->unacked_max)
            consume_grant(ch);
    }
    return any;
}

void deliver_to_make_room(struct queue *q, uint64_t body_size)
{
    size_t bytes = 0;
    while (list_linked(&q->ready_link) && queue_refuses(q, body_size)) {
        struct subscription *sub = container_of(queue_turn(q), struct subscription, consumer);
        if (set_aside(sub))
            continue;
        struct channel *ch = sub->channel;
        if (!deliver_header_fits(ch, deliver_props(channel_server(ch), q, queue_first(q))))
            break; /* that ends a channel: not in the midst of a publish */
        deliver_queue(q, 1, &bytes);
    }
}

void deliver_ready(struct server *s)
{
    size_t done = 0, bytes = 0;
    size_t max = s->company.present ? COMPANY_DELIVERIES : DELIVER_TURN_MAX;
    do {
        while (done < max && bytes < DELIVER_TURN_BYTES &&
               !list_empty(&s->home.ready)) {
            struct queue *q = list_first(&s->home.ready, struct queue, ready_link);
            list_remove(&q->ready_link); /* to the end of the line, before anything can free the queue */
            list_push_back(&s->home.ready, &q->ready_link);
            done += deliver_queue(q, DELIVER_QUEUE_MAX, &bytes);
        }
    } while (list_empty(&s->home.ready) && grant_slack(s));
}
