/* patience.c - channels whose consumers do not settle in time are closed.
 *
 * Owner: the channel (its timer) and its subscriptions. The timer runs while one of them has a limit. */
#include "broker/patience.h"

#include "broker/channel.h"

struct search {
    const struct consumer *consumer; /* NULL: of basic.get */
    uint64_t tag;
    bool found;
};

static void compare(void *arg, uint64_t tag, const struct unacked_item *item)
{
    struct search *search = arg;
    search->found |= tag <= search->tag && item->consumer == search->consumer;
}

/* Looks: true when something that was there at the oldest look still is. */
static bool is_overdue(const struct channel *ch, struct patience *patience, const struct consumer *consumer,
                       uint64_t now_ms)
{
    if (patience->timeout_ms == 0 || now_ms < patience->next_ms)
        return false;
    struct search search = {consumer, patience->tags[patience->oldest], false};
    if (search.tag && unacked_first(&ch->unacked) <= search.tag)
        unacked_each(&ch->unacked, compare, &search);
    patience->tags[patience->oldest] = ch->delivery_tag;
    patience->oldest = (patience->oldest + 1) % PATIENCE_LOOKS;
    patience->next_ms = now_ms + patience->timeout_ms / PATIENCE_LOOKS + 1;
    return search.found;
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
    struct patience *overdue = is_overdue(ch, &ch->patience, NULL, now_ms) ? &ch->patience : NULL;
    assert(ch->state == CHANNEL_OPEN);
    map_each(&ch->subscriptions, i) {
        struct subscription *sub = ch->subscriptions.slots[i].value;
        if (is_overdue(ch, &sub->patience, &sub->consumer, now_ms))
            overdue = &sub->patience;
    }
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
    patience->next_ms = server_now_ms(channel_server(ch)) + timeout_ms / PATIENCE_LOOKS + 1;
    ch->patience_timer.fire = look;
    if (!heap_linked(&ch->patience_timer.node) || ch->patience_timer.node.key > patience->next_ms)
        timer_set(&channel_server(ch)->timers, &ch->patience_timer, patience->next_ms);
}

void patience_end(struct channel *ch)
{
    timer_clear(&channel_server(ch)->timers, &ch->patience_timer);
    ch->patience.timeout_ms = 0;
}
