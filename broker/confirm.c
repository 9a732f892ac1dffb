/* confirm.c - publisher confirms (semantics 2.1): a confirm leaves when the message's batch is on disk,
 * and one basic.ack with `multiple` stands for all that became durable together.
 *
 * Journal batches rise, so a channel's publishes become durable in order: the ring of (last sequence,
 * batch) holds one item a batch, however many messages it carried (invariant I8). What a full queue
 * refused is an item too, one for all in a row: it waits for those before it, and is then nacked one by
 * one. */
#include "broker/confirm.h"

bool confirm_select(struct channel *ch, const struct method *m, struct fault *f)
{
    if (ch->mode == CHANNEL_TX)
        return fault(f, PRECONDITION_FAILED, "cannot switch from tx to confirm mode");
    ch->mode = CHANNEL_CONFIRM;
    if (!m->confirm_select.no_wait)
        channel_send(ch, &(struct method){.id = METHOD_confirm_select_ok});
    return true;
}

void confirm_publish(struct channel *ch, struct submission submission)
{
    struct server *s = channel_server(ch);
    struct confirms *confirms = &ch->confirms;
    uint64_t sequence = ++confirms->published;
    struct confirm *last = confirms->waiting.size
                               ? confirm_ring_at(&confirms->waiting, confirms->waiting.size - 1)
                               : NULL;
    /* A nack promises nothing about other queues that took the message: it waits for no batch. */
    uint64_t batch = submission.refused ? 0 : submission.batch;
    if (last && last->refused == submission.refused && batch <= last->batch) {
        last->sequence = sequence;
        return;
    }
    bool first = confirms->waiting.size == 0;
    confirm_ring_push_back(&confirms->waiting, (struct confirm){sequence, batch, submission.refused});
    if (first) {
        assert(!list_linked(&ch->confirming));
        list_push_back(batch ? &s->confirming : &s->confirmable, &ch->confirming);
    }
}

static void send_ack(struct channel *ch, uint64_t sequence)
{
    struct method m = {.id = METHOD_basic_ack};
    m.basic_ack.delivery_tag = sequence;
    m.basic_ack.multiple = sequence > ch->confirms.confirmed + 1;
    channel_server(ch)->counters.confirmed += sequence - ch->confirms.confirmed;
    ch->confirms.confirmed = sequence;
    channel_send(ch, &m);
}

/* Nacks all after those that were answered, up to `sequence`; false when the client does not read them: very
 * many may have waited together behind one message that was not on disk. */
static bool send_nacks(struct channel *ch, uint64_t sequence)
{
    struct method m = {.id = METHOD_basic_nack};
    assert(sequence > ch->confirms.confirmed);
    /* At twice the limit the client is certainly not read any more (flow_replied). */
    while (ch->confirms.confirmed < sequence && ch->conn->stream.output.pending <= 2 * FLOW_REPLIES_MAX) {
        m.basic_nack.delivery_tag = ++ch->confirms.confirmed;
        channel_send(ch, &m);
    }
    return ch->confirms.confirmed == sequence;
}

/* Answers what is durable or refused on one channel and puts it back where it has to wait. */
static void confirm_channel(struct channel *ch, uint64_t durable)
{
    struct confirm_ring *waiting = &ch->confirms.waiting;
    uint64_t sequence = 0; /* to be acked */
    bool unread = false;
    while (waiting->size && confirm_ring_at(waiting, 0)->batch <= durable) {
        const struct confirm *confirm = confirm_ring_at(waiting, 0);
        if (!confirm->refused) {
            sequence = confirm->sequence;
        } else {
            if (sequence)
                send_ack(ch, sequence);
            sequence = 0;
            unread = !send_nacks(ch, confirm->sequence);
            if (unread)
                break;
        }
        confirm_ring_pop_front(waiting);
    }
    if (sequence)
        send_ack(ch, sequence);
    struct server *s = channel_server(ch);
    if (waiting->size) /* what is not read is looked at again in the next turn, when the output has drained */
        list_push_back(unread ? &s->confirmable : &s->confirming, &ch->confirming);
}

static void confirm_list(struct list *channels, uint64_t durable)
{
    struct list all;
    list_init(&all);
    list_splice_back(&all, channels);
    for (struct list *node; (node = list_pop_front(&all));)
        confirm_channel(container_of(node, struct channel, confirming), durable);
}

void confirm_durable(struct server *s)
{
    uint64_t durable = store_durable(s->store);
    confirm_list(&s->confirmable, durable);
    if (durable == s->durable_seen)
        return;
    s->durable_seen = durable;
    confirm_list(&s->confirming, durable);
    connection_lift_barriers(s, durable);
    connection_unthrottle_all(s);
}
