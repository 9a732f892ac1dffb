/* ack.c - basic.ack, nack and reject (semantics 1.5; K84-K86). */
#include "broker/ack.h"
#include "broker/consume.h"
#include "broker/delayed.h"
#include "broker/tx.h"

void ack_settle(struct channel *ch, struct unacked_item *item, enum settlement how)
{
    flow_settle(&ch->conn->flow, item->entry.message);
    if (how == SETTLE_REQUEUE && item->queue->settings.retry && !item->queue->leaving.deleted)
        delayed_retry(channel_server(ch), item->queue, &item->entry);
    else if (how == SETTLE_REQUEUE || how == SETTLE_RECOVER)
        queue_requeue(item->queue, &item->entry, true);
    else if (how == SETTLE_REJECT)
        queue_reject(item->queue, &item->entry, OUTCOME_REJECTED);
    else
        queue_settle(item->queue, &item->entry, true);
    consume_credit(ch, item->consumer);
}

static void settle(struct channel *ch, uint64_t tag, struct unacked_item *item,
                   enum settlement how)
{
    if (ch->mode == CHANNEL_TX)
        tx_settle(ch, tag, item, how);
    else
        ack_settle(ch, item, how);
}

/* All up to `up_to`, oldest first: consecutive acks become one range in the journal. False when that is not
 * done in this turn. */
static bool settle_up_to(struct channel *ch, uint64_t up_to, enum settlement how)
{
    struct unacked_item item;
    uint64_t tag;
    size_t count = 0;
    size_t max = (size_t)company_room(ch->conn) * EFFORT_SETTLED;
    for (; count < max && unacked_take_first(&ch->unacked, up_to, &tag, &item); count++)
        settle(ch, tag, &item, how);
    ch->conn->share.effort += (unsigned)(count / EFFORT_SETTLED);
    return unacked_first(&ch->unacked) > up_to;
}

/* In as many turns as it takes; tag 0 means all that has been delivered when it is first seen. What goes back
 * to its queue is not to be overtaken by younger messages. */
static bool settle_multiple(struct channel *ch, uint64_t tag, enum settlement how)
{
    if (how == SETTLE_REQUEUE && ch->mode != CHANNEL_TX)
        return giveback_requeue(ch, tag ? tag : ch->delivery_tag, how);
    if (ch->settling == 0)
        ch->settling = tag ? tag : ch->delivery_tag;
    assert(ch->settling <= ch->delivery_tag);
    if (!settle_up_to(ch, ch->settling, how)) {
        ch->conn->share.again = true;
        return false;
    }
    ch->settling = 0;
    return true;
}

static bool settle_tags(struct channel *ch, uint64_t tag, bool multiple, enum settlement how,
                        struct fault *f)
{
    struct unacked_item item;
    bool all = multiple && tag == 0;
    bool again = multiple && how == SETTLE_REQUEUE && giveback_began(&ch->giveback);
    if (!all && !again && !unacked_has(&ch->unacked, tag))
        return fault(f, PRECONDITION_FAILED, "unknown delivery tag %llu", (unsigned long long)tag);
    if (multiple)
        return settle_multiple(ch, tag, how);
    unacked_take(&ch->unacked, tag, &item);
    settle(ch, tag, &item, how);
    return true;
}

bool ack_method(struct channel *ch, const struct method *m, struct fault *f)
{
    if (m->id == METHOD_basic_ack)
        return settle_tags(ch, m->basic_ack.delivery_tag, m->basic_ack.multiple, SETTLE_ACK, f);
    if (m->id == METHOD_basic_nack)
        return settle_tags(ch, m->basic_nack.delivery_tag, m->basic_nack.multiple,
                           m->basic_nack.requeue ? SETTLE_REQUEUE : SETTLE_REJECT, f);
    assert(m->id == METHOD_basic_reject);
    return settle_tags(ch, m->basic_reject.delivery_tag, false,
                       m->basic_reject.requeue ? SETTLE_REQUEUE : SETTLE_REJECT, f);
}
