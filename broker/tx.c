/* tx.c - transactions on a channel (semantics 1.5; K101-K105): publishes and settlements wait until
 * tx.commit, which routes the publishes, then applies the settlements, and answers when all of it is on
 * disk. What is too much for one turn goes over several (giveback.c). When a full queue refused a message,
 * the rest is done all the same, and the channel learns that it was not all (406).
 *
 * Settled items are moved out of unacked, so that a second ack is an unknown tag; a rollback moves them
 * back. */
#include "broker/deadletter.h"
#include "broker/submit.h"
#include "broker/tx.h"
#include "queue/hold.h"

struct tx_publish {
    struct message *message;
    bool mandatory;
};

struct tx_settlement {
    struct unacked_item item;
    uint64_t tag;
    uint64_t batch; /* its message is of no older one */
    enum settlement how;
};

RING(tx_publish_ring, struct tx_publish);
RING(tx_settlement_ring, struct tx_settlement);

struct tx {
    struct tx_publish_ring publishes;
    struct tx_settlement_ring settlements;
    bool refused; /* by a queue, one of what is being committed */
};

size_t tx_uncommitted(const struct channel *ch, bool settlements)
{
    if (!ch->tx)
        return 0;
    return settlements ? ch->tx->settlements.size : ch->tx->publishes.size;
}

bool tx_publish(struct channel *ch, struct message **m, bool mandatory, struct fault *f)
{
    if (!flow_hold(&ch->conn->flow, message_size(*m), f)) {
        message_unref(&channel_server(ch)->messages, m);
        return false;
    }
    tx_publish_ring_push_back(&ch->tx->publishes, (struct tx_publish){*m, mandatory});
    *m = NULL;
    return true;
}

static struct tx_publish take_publish(struct channel *ch)
{
    struct tx_publish publish = tx_publish_ring_pop_front(&ch->tx->publishes);
    flow_release(&ch->conn->flow, message_size(publish.message));
    return publish;
}

void tx_settle(struct channel *ch, uint64_t tag, const struct unacked_item *item,
               enum settlement how)
{
    struct tx_settlement settlement = {*item, tag, entry_batch(&item->entry), how};
    tx_settlement_ring_push_back(&ch->tx->settlements, settlement);
}

/* Dead letters of what a transaction rejects or pushes out of a queue are published here and now, as its
 * batch is all or nothing, and a message that is still its queue's would come back after a crash, though it
 * was answered. Outcomes of others wait for their turn. */
static void publish_outcomes(struct server *s, struct outcome_ring *waiting)
{
    deadletter_finish(s);
    outcomes_put_back(&s->home, waiting);
}

static void commit_publish(struct channel *ch)
{
    struct tx_publish publish = take_publish(ch);
    /* It was there when the message came; if it was deleted since, the message goes nowhere. */
    struct exchange *x = vhost_find_exchange(ch->conn->vhost, message_exchange(publish.message));
    bool tells = publish.mandatory && !ch->giveback.detached;
    if (x)
        ch->tx->refused |= submit_route(ch, x, &publish.message, tells).refused;
    else
        message_unref(&channel_server(ch)->messages, &publish.message);
}

size_t tx_commit_publishes(struct channel *ch, size_t room)
{
    struct server *s = channel_server(ch);
    struct outcome_ring waiting;
    unsigned before = ch->conn->share.effort;
    size_t count = 0, copies = 0;
    outcomes_set_aside(&s->home, &waiting);
    for (; ch->tx->publishes.size && count + copies < room; count++) {
        commit_publish(ch);
        copies = ch->conn->share.effort - before;
    }
    publish_outcomes(s, &waiting);
    return count + copies;
}

size_t tx_hold_settlements(struct channel *ch, size_t at, size_t max)
{
    const struct tx_settlement_ring *ring = &ch->tx->settlements;
    assert(ch->tx->publishes.size == 0 && at <= ring->size);
    size_t end = max < ring->size - at ? at + max : ring->size;
    for (; at < end; at++)
        if (tx_settlement_ring_at(ring, at)->how == SETTLE_REQUEUE)
            hold_add(tx_settlement_ring_at(ring, at)->item.queue);
    return at;
}

size_t tx_commit_settlements(struct channel *ch, size_t max, bool held)
{
    struct server *s = channel_server(ch);
    struct outcome_ring waiting;
    size_t count = 0;
    outcomes_set_aside(&s->home, &waiting);
    for (; ch->tx->settlements.size && count < max; count++) {
        struct tx_settlement settlement = tx_settlement_ring_pop_front(&ch->tx->settlements);
        if (held && settlement.how == SETTLE_REQUEUE)
            hold_drop(settlement.item.queue);
        ack_settle(ch, &settlement.item, settlement.how);
    }
    publish_outcomes(s, &waiting);
    return count;
}

/* The last first: each goes back before those that were settled earlier. */
size_t tx_rollback(struct channel *ch, size_t max)
{
    struct tx *tx = ch->tx;
    size_t count = 0;
    for (; tx && tx->publishes.size && count < max; count++) {
        struct tx_publish publish = take_publish(ch);
        message_unref(&channel_server(ch)->messages, &publish.message);
    }
    for (; tx && tx->settlements.size && count < max; count++) {
        struct tx_settlement settlement = tx_settlement_ring_pop_back(&tx->settlements);
        unacked_put(&ch->unacked, settlement.tag, &settlement.item);
    }
    return count;
}

void tx_free(struct channel *ch)
{
    if (!ch->tx)
        return;
    assert(ch->tx->publishes.size == 0 && ch->tx->settlements.size == 0);
    tx_publish_ring_free(&ch->tx->publishes);
    tx_settlement_ring_free(&ch->tx->settlements);
    mem_free(ch->tx);
    ch->tx = NULL;
    ch->mode = CHANNEL_PLAIN;
}

static bool select_tx(struct channel *ch, struct fault *f)
{
    if (ch->mode == CHANNEL_CONFIRM)
        return fault(f, PRECONDITION_FAILED, "cannot switch from confirm to tx mode");
    if (!ch->tx)
        ch->tx = mem_zalloc(sizeof(*ch->tx));
    ch->mode = CHANNEL_TX;
    channel_send(ch, &(struct method){.id = METHOD_tx_select_ok});
    return true;
}

/* The answer waits for the last batch that holds anything: what the transaction recorded is in it. */
static bool commit(struct channel *ch, struct fault *f)
{
    struct store *store = channel_server(ch)->store;
    if (!giveback_commit(ch))
        return false;
    bool refused = ch->tx->refused;
    ch->tx->refused = false;
    if (store_last_batch(store) > store_durable(store))
        connection_bar(ch->conn, store_last_batch(store));
    if (refused)
        return fault(f, PRECONDITION_FAILED, "partial tx completion");
    channel_send(ch, &(struct method){.id = METHOD_tx_commit_ok});
    return true;
}

static bool rollback(struct channel *ch)
{
    if (!giveback_rollback(ch))
        return false;
    channel_send(ch, &(struct method){.id = METHOD_tx_rollback_ok});
    return true;
}

bool tx_method(struct channel *ch, const struct method *m, struct fault *f)
{
    if (m->id == METHOD_tx_select)
        return select_tx(ch, f);
    if (ch->mode != CHANNEL_TX)
        return fault(f, PRECONDITION_FAILED, "channel is not transactional");
    return m->id == METHOD_tx_commit ? commit(ch, f) : rollback(ch);
}

void tx_each(const struct channel *ch, void (*item)(void *arg, uint64_t tag, const struct unacked_item *item),
             void (*message)(void *arg, struct message *m), void *arg)
{
    const struct tx *tx = ch->tx;
    for (size_t i = 0; tx && i < tx->settlements.size; i++) {
        const struct tx_settlement *settlement = tx_settlement_ring_at(&tx->settlements, i);
        item(arg, settlement->tag, &settlement->item);
    }
    for (size_t i = 0; tx && i < tx->publishes.size; i++)
        message(arg, tx_publish_ring_at(&tx->publishes, i)->message);
}

void tx_walk_old(struct channel *ch, uint64_t limit, void (*each)(void *arg, struct unacked_item *item),
                 void *arg)
{
    for (size_t i = 0; ch->tx && i < ch->tx->settlements.size; i++) {
        struct tx_settlement *settlement = tx_settlement_ring_at(&ch->tx->settlements, i);
        if (settlement->batch > limit)
            continue;
        each(arg, &settlement->item);
        settlement->batch = entry_batch(&settlement->item.entry);
    }
}
