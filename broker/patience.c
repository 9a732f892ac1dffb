/* patience.c - channels whose consumers do not settle in time are closed.
 *
 * Owner: the channel (its timer) and its subscriptions. The timer runs while one of them has a limit. */
#include "broker/patience.h"

#include "broker/channel.h"

/* Looks are no closer together, however short a timeout is: each goes through what is unacked. */
enum { LOOK_LEAST_MS = 125 };

static uint64_t next_look_ms(uint64_t now_ms, uint64_t timeout_ms)
{
    uint64_t part = timeout_ms / PATIENCE_LOOKS;
    return now_ms + (part > LOOK_LEAST_MS ? part : LOOK_LEAST_MS) + 1;
}

/* Notes the last delivery, if it is time for that. From then on what is overdue has a tag up to
 * patience.overdue, if it is still there. */
static void note_look(const struct channel *ch, struct patience *patience, uint64_t now_ms)
{
    patience->overdue = 0;
    if (patience->timeout_ms == 0 || now_ms < patience->next_ms)
        return;
    patience->overdue = patience->tags[patience->oldest];
    patience->tags[patience->oldest] = ch->delivery_tag;
    patience->oldest = (patience->oldest + 1) % PATIENCE_LOOKS;
    patience->next_ms = next_look_ms(now_ms, patience->timeout_ms);
}

/* Whose time it is on; NULL when he is gone, and nobody waits for him. */
static const struct patience *patience_of(const struct channel *ch, const struct consumer *consumer)
{
    if (!consumer)
        return &ch->patience;
    return consumer->state == CONSUMER_GONE
               ? NULL
               : &container_of(consumer, const struct subscription, consumer)->patience;
}

/* Goes through what is unacked up to that tag, once for all consumers; NULL when nothing is overdue. */
static const struct patience *find_overdue(const struct channel *ch, uint64_t up_to)
{
    const struct unacked_item *item;
    uint64_t tag = 0;
    while ((item = unacked_next(&ch->unacked, tag + 1, &tag)) && tag <= up_to) {
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

static void schedule(struct channel *ch)
{
    uint64_t next_ms = ch->patience.timeout_ms ? ch->patience.next_ms : UINT64_MAX;
    map_each(&ch->subscriptions, i) {
        const struct subscription *sub = ch->subscriptions.slots[i].value;
        if (sub->patience.timeout_ms && sub->patience.next_ms < next_ms)
            next_ms = sub->patience.next_ms;
    }
    if (next_ms < UINT64_MAX)
        timer_set(&channel_server(ch)->timers, &ch->patience_timer, next_ms);
}

static void look(struct timer *timer)
{
    struct channel *ch = container_of(timer, struct channel, patience_timer);
    uint64_t now_ms = server_now_ms(channel_server(ch));
    assert(ch->state == CHANNEL_OPEN);
    note_look(ch, &ch->patience, now_ms);
    uint64_t up_to = ch->patience.overdue;
    map_each(&ch->subscriptions, i) {
        struct subscription *sub = ch->subscriptions.slots[i].value;
        note_look(ch, &sub->patience, now_ms);
        up_to = sub->patience.overdue > up_to ? sub->patience.overdue : up_to;
    }
    const struct patience *overdue = up_to ? find_overdue(ch, up_to) : NULL;
    if (overdue)
        run_out(ch, overdue);
    else
        schedule(ch);
}

void patience_begin(struct channel *ch, struct patience *patience, uint64_t timeout_ms)
{
    *patience = (struct patience){.timeout_ms = timeout_ms};
    if (timeout_ms == 0)
        return;
    patience->next_ms = next_look_ms(server_now_ms(channel_server(ch)), timeout_ms);
    ch->patience_timer.fire = look;
    if (!heap_linked(&ch->patience_timer.node) || ch->patience_timer.node.key > patience->next_ms)
        timer_set(&channel_server(ch)->timers, &ch->patience_timer, patience->next_ms);
}

void patience_end(struct channel *ch)
{
    timer_clear(&channel_server(ch)->timers, &ch->patience_timer);
    ch->patience.timeout_ms = 0;
}
