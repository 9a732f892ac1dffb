/* reply.c - direct reply-to (semantics 2.1; K98, K99).
 *
 * Owner: the channel, one reply consumer at most; the vhost's map `replies` finds it by its address while it
 * lives. A reply is written to the requester's output when it is published: at most once, never stored.
 * A requester that does not read has REPLY_OUTPUT_MAX of output waiting and one message more; what comes
 * then is dropped, as nobody else should wait for it. */
#include "broker/reply.h"

#include "broker/deliver.h"

/* More than this, waiting to be read by the requester's client, and no reply is added. */
enum { REPLY_OUTPUT_MAX = 8 * 1024 * 1024 };

enum { ADDRESS_SIZE = 64 };

struct reply {
    struct subscription sub; /* lends tag and channel to the delivery; its consumer is in no queue */
    struct slice address;    /* points to `text`; the map's key */
    char text[ADDRESS_SIZE];
    uint64_t dropped;
};

bool reply_has_tag(const struct channel *ch, struct slice tag)
{
    return ch->reply && slice_equal(ch->reply->sub.tag, tag);
}

static struct reply *begin(struct channel *ch, struct slice tag)
{
    struct rand *rand = &channel_server(ch)->rand;
    struct reply *reply = mem_zalloc(sizeof(*reply));
    char generated[64];
    rand_name(rand, "amq.ctag-", generated);
    reply->sub.tag = slice_copy(tag.len ? tag : slice_of_string(generated));
    reply->sub.channel = ch;
    reply->sub.consumer.no_ack = true;
    rand_name(rand, "amq.rabbitmq.reply-to.", reply->text);
    reply->address = slice_of_string(reply->text);
    assert(reply->address.len < ADDRESS_SIZE);
    map_put(&ch->conn->vhost->replies, reply->address, reply);
    return reply;
}

bool reply_consume(struct channel *ch, const struct amqp_basic_consume *consume, struct fault *f)
{
    struct slice tag = consume->consumer_tag;
    if (!consume->no_ack)
        return fault(f, PRECONDITION_FAILED, "reply consumer cannot acknowledge");
    if (ch->reply)
        return fault(f, PRECONDITION_FAILED, "reply consumer already set");
    if (tag.len && map_get(&ch->subscriptions, tag))
        return fault(f, NOT_ALLOWED, "attempt to reuse consumer tag '%.*s'", SLICE_ARG(tag));
    ch->reply = begin(ch, tag);
    if (!consume->no_wait) {
        struct method ok = {.id = METHOD_basic_consume_ok};
        ok.basic_consume_ok.consumer_tag = ch->reply->sub.tag;
        channel_send(ch, &ok);
    }
    return true;
}

void reply_end(struct channel *ch)
{
    struct reply *reply = ch->reply;
    if (!reply)
        return;
    ch->reply = NULL;
    assert(reply->sub.channel == ch);
    if (reply->dropped)
        chatter_line(channel_server(ch), ch->conn->peer->peer_host, LOG_WARNING, ch->conn->id,
                     "%llu direct replies were dropped: the client of channel %u did not read them",
                     (unsigned long long)reply->dropped, ch->number);
    void *removed = map_remove(&ch->conn->vhost->replies, reply->address);
    assert(removed == reply);
    slice_free(&reply->sub.tag);
    mem_free(reply);
}

bool reply_address(const struct channel *ch, struct slice *address, struct fault *f)
{
    if (!ch->reply)
        return fault(f, PRECONDITION_FAILED, "fast reply consumer does not exist");
    *address = ch->reply->address;
    return true;
}

bool reply_exists(const struct vhost *v, struct slice name)
{
    assert(reply_is_name(name));
    return reply_is_queue(name) || map_get(&v->replies, name);
}

static bool hand_over(struct reply *reply, struct message *m)
{
    if (reply->sub.channel->conn->stream.output.pending < REPLY_OUTPUT_MAX &&
        deliver_unqueued(&reply->sub, m))
        return true;
    reply->dropped++;
    return false;
}

static bool was_before(const struct slice *keys, size_t i)
{
    size_t j = 0;
    while (!slice_equal(keys[j], keys[i]))
        j++;
    assert(j <= i);
    return j < i;
}

size_t reply_deliver(struct vhost *v, const struct slice *keys, size_t key_count, struct message *m)
{
    size_t taken = 0;
    for (size_t i = 0; i < key_count && v->replies.size; i++) {
        struct reply *reply = reply_is_name(keys[i]) ? map_get(&v->replies, keys[i]) : NULL;
        if (reply && !was_before(keys, i))
            taken += hand_over(reply, m);
    }
    return taken;
}
