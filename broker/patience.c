/* patience.c - channels whose consumers do not settle in time are closed.
 *
 * Owner: the channel (its timer) and its subscriptions. The timer runs while one of them has a limit.
 * Invariant: between two looks of a channel are PATIENCE_GAP_MS, however many consumers begin with however
 * short timeouts; one look is one walk. */
#include "broker/patience.h"

#include "broker/channel.h"

/* How many looks a timeout has. */
static unsigned looks_of(const struct patience *patience)
{
    uint64_t looks = patience->timeout_ms / PATIENCE_GAP_MS;
    return looks < 1 ? 1 : looks > PATIENCE_LOOKS ? PATIENCE_LOOKS : (unsigned)looks;
}

static uint64_t interval_ms(const struct patience *patience)
{
    return patience->timeout_ms / looks_of(patience) + 1;
}

/* Notes the tag of this look, and what should have been settled since the one as long ago as the timeout. */
static void note_look(const struct channel *ch, struct patience *patience, uint64_t now_ms)
{
    patience->overdue = 0;
    if (patience->timeout_ms == 0 || now_ms < patience->next_ms)
        return;
    patience->overdue = patience->tags[patience->oldest];
    patience->tags[patience->oldest] = ch->delivery_tag;
    patience->oldest = (patience->oldest + 1) % looks_of(patience);
    patience->next_ms = now_ms + interval_ms(patience);
}

/* Whose time it is on; NULL when he is gone, and nobody waits for him. */
static const struct patience *patience_of(const struct channel *ch, const struct consumer *consumer)
{
    if (!consumer)
        return &ch->patience;
    bool gone = consumer->state == CONSUMER_GONE;
    return gone ? NULL : &container_of(consumer, const struct subscription, consumer)->patience;
}

/* Goes through what is unacked up to this tag; NULL when nothing of it is overdue. */
static const struct patience *find_overdue(struct channel *ch, uint64_t up_to)
{
    const struct unacked_item *item;
    uint64_t tag = 0;
    for (uint64_t from = 0; (item = unacked_next(&ch->unacked, from, &tag)) && tag <= up_to; from = tag + 1) {
        const struct patience *patience = patience_of(ch, item->consumer);
        if (patience && tag <= patience->overdue)
            return patience;
    }
    return NULL;
}

static void run_out(struct channel *ch, const struct patience *patience)
{
    struct fault f;
    fault_init(&f);
    fault(&f, PRECONDITION_FAILED,
          "delivery acknowledgement on channel %u timed out. Timeout value used: %llu ms. This timeout value "
          "can be configured, see consumers doc guide to learn more",
          ch->number, (unsigned long long)patience->timeout_ms);
    channel_fail(ch, &f);
}

static void look(struct timer *timer);

static void set_timer(struct channel *ch, uint64_t next_ms)
{
    uint64_t looked_ms = ch->patience.looked_ms;
    if (looked_ms && next_ms < looked_ms + PATIENCE_GAP_MS)
        next_ms = looked_ms + PATIENCE_GAP_MS;
    ch->patience_timer.fire = look;
    if (!heap_linked(&ch->patience_timer.node) || ch->patience_timer.node.key > next_ms)
        timer_set(&channel_server(ch)->timers, &ch->patience_timer, next_ms);
}

static void look(struct timer *timer)
{
    struct channel *ch = container_of(timer, struct channel, patience_timer);
    uint64_t now_ms = server_now_ms(channel_server(ch)), next_ms = UINT64_MAX, up_to = 0;
    assert(ch->state == CHANNEL_OPEN);
    note_look(ch, &ch->patience, now_ms);
    ch->patience.looked_ms = now_ms;
    up_to = ch->patience.overdue;
    if (ch->patience.timeout_ms)
        next_ms = ch->patience.next_ms;
    map_each(&ch->subscriptions, i) {
        struct subscription *sub = ch->subscriptions.slots[i].value;
        struct patience *patience = &sub->patience;
        note_look(ch, patience, now_ms);
        if (sub->consumer.unacked > 0 && patience->overdue > up_to)
            up_to = patience->overdue;
        if (patience->timeout_ms && patience->next_ms < next_ms)
            next_ms = patience->next_ms;
    }
    const struct patience *overdue = up_to ? find_overdue(ch, up_to) : NULL;
    if (overdue)
        run_out(ch, overdue);
    else if (next_ms < UINT64_MAX)
        set_timer(ch, next_ms);
}

void patience_begin(struct channel *ch, struct patience *patience, uint64_t timeout_ms)
{
    uint64_t looked_ms = patience->looked_ms;
    *patience = (struct patience){.timeout_ms = timeout_ms, .looked_ms = looked_ms};
    if (timeout_ms == 0)
        return;
    patience->next_ms = server_now_ms(channel_server(ch)) + interval_ms(patience);
    set_timer(ch, patience->next_ms);
}

void patience_end(struct channel *ch)
{
    timer_clear(&channel_server(ch)->timers, &ch->patience_timer);
    ch->patience.timeout_ms = 0;
}
