/* deliver.c - the dispatcher: pulls entries from queues that are ready and writes them to consumers.
 *
 * Pushes, acks and new consumers only mark a queue ready; this drains the marked queues once a turn, a bounded number
 * of messages from each before the next has its turn, and a bounded number in all, so that input is not starved. */
#include "broker/channel.h"

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

/* Method and header frames; returns the end of what was written at `at`. */
static uint8_t *write_method_and_header(uint8_t *at, uint16_t channel, const struct method *m,
                                        const struct message *message)
{
    struct writer w = writer_of(at + FRAME_HEAD_SIZE, 1024);
    method_encode(&w, m);
    assert(!w.bad);
    frame_write_head(at, FRAME_METHOD, channel, (uint32_t)(w.at - at) - FRAME_HEAD_SIZE);
    *w.at = FRAME_END;
    uint32_t size = 12 + message->props_size;
    uint8_t *header = frame_write_head(w.at + 1, FRAME_HEADER, channel, size);
    w = writer_of(header, size);
    write_u16(&w, METHOD_basic_publish >> 16);
    write_u16(&w, 0);
    write_u64(&w, message->body_size);
    write_bytes(&w, message_props(message));
    assert(!w.bad && w.at == header + size);
    *w.at = FRAME_END;
    return w.at + 1;
}

bool deliver_content(struct channel *ch, const struct method *m, struct message *message)
{
    enum { METHOD_ROOM = 1024, HEADER_ROOM = 12 + 2 * FRAME_OVERHEAD };
    struct connection *conn = ch->conn;
    if (message->props_size + 12 + FRAME_OVERHEAD > conn->frame_max)
        return false;
    size_t piece_max = conn->frame_max - FRAME_OVERHEAD;
    size_t body = message->body_size;
    bool small = body > 0 && body <= COPY_MAX && body <= piece_max;
    size_t room = METHOD_ROOM + HEADER_ROOM + message->props_size;
    uint8_t *start = stream_reserve(&conn->stream, room + (small ? body + FRAME_OVERHEAD : 0));
    uint8_t *at = write_method_and_header(start, ch->number, m, message);
    if (small) {
        at = frame_write_head(at, FRAME_BODY, ch->number, (uint32_t)body);
        memcpy(at, message_body(message).at, body);
        at[body] = FRAME_END;
        at += body + 1;
    }
    stream_commit(&conn->stream, (size_t)(at - start));
    if (!small)
        write_body(ch, message, piece_max);
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
    struct method m = {.id = METHOD_basic_deliver};
    m.basic_deliver.consumer_tag = sub->tag;
    m.basic_deliver.delivery_tag = ch->delivery_tag + 1;
    m.basic_deliver.redelivered = entry.redelivered;
    m.basic_deliver.exchange = message_exchange(entry.message);
    m.basic_deliver.routing_key = message_key(entry.message);
    if (!deliver_content(ch, &m, entry.message)) {
        refuse_header(q, sub, &entry);
        return false;
    }
    ch->delivery_tag++;
    *bytes += entry.message->body_size;
    if (sub->consumer.no_ack) {
        queue_settle(q, &entry, false);
    } else {
        ch->consumer_unacked++;
        unacked_put(&ch->unacked, ch->delivery_tag,
                    &(struct unacked_item){entry, q, &sub->consumer});
    }
    return true;
}

/* True when the consumer's connection or channel cannot take more now: it is set aside. */
static bool set_aside(struct subscription *sub)
{
    struct channel *ch = sub->channel;
    if (stream_is_high(&ch->conn->stream)) {
        consumer_park(&sub->consumer, &ch->conn->parked);
        return true;
    }
    if (ch->global_prefetch && !sub->consumer.no_ack &&
        ch->consumer_unacked >= ch->global_prefetch) {
        consumer_park(&sub->consumer, &ch->parked);
        return true;
    }
    return false;
}

/* Up to `max` messages of one queue; returns how many. */
static size_t deliver_queue(struct queue *q, size_t max, size_t *bytes)
{
    size_t done = 0;
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

void deliver_ready(struct server *s)
{
    size_t done = 0, bytes = 0;
    while (done < DELIVER_TURN_MAX && bytes < DELIVER_TURN_BYTES && !list_empty(&s->home.ready)) {
        struct queue *q = list_first(&s->home.ready, struct queue, ready_link);
        list_remove(&q->ready_link); /* to the end of the line, before anything can free the queue */
        list_push_back(&s->home.ready, &q->ready_link);
        done += deliver_queue(q, DELIVER_QUEUE_MAX, &bytes);
    }
}
