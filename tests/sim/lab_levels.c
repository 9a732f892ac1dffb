/* lab_levels.c - the order between priorities: what a queue hands out in a turn is not of a lower priority
 * than something that was ready when the turn began and still is when it ends. */
#include "broker/channel.h"
#include "broker/vhost.h"
#include "queue/lane.h"
#include "tests/sim/lab.h"

struct handed {
    struct lab *lab;
    uint64_t seen, last;
    int lowest[LAB_QUEUES]; /* of what was handed out in this turn; -1 = nothing was */
};

static void see(void *arg, uint64_t tag, const struct unacked_item *item)
{
    struct handed *handed = arg;
    int queue = item->queue->name.len ? lab_find(handed->lab, item->queue->name) : -1;
    handed->last = tag > handed->last ? tag : handed->last;
    if (tag <= handed->seen || queue < 0 || !item->queue->levels)
        return;
    int *lowest = &handed->lowest[queue], level = item->entry.lane;
    *lowest = *lowest < 0 || level < *lowest ? level : *lowest;
}

static void see_user(struct lab_user *user, struct handed *handed)
{
    const struct connection *conn = client_peer(&user->client);
    if (!conn)
        return;
    if (conn->id != user->seen_connection)
        memset(user->seen_tag, 0, sizeof(user->seen_tag));
    user->seen_connection = conn->id;
    bool open[LAB_CHANNELS] = {false}; /* one that was closed begins anew with its tags */
    for (size_t i = 0; i < conn->channels.capacity; i++) {
        const struct channel *ch = conn->channels.slots[i];
        if (!ch || ch->number == 0 || ch->number >= LAB_CHANNELS || ch->state != CHANNEL_OPEN)
            continue;
        open[ch->number] = true;
        handed->seen = handed->last = user->seen_tag[ch->number];
        if (!giveback_is_through(&ch->giveback)) /* what a transaction had is back: not handed out */
            handed->seen = UINT64_MAX;
        unacked_each(&ch->unacked, see, handed);
        user->seen_tag[ch->number] = handed->last;
    }
    for (int i = 0; i < LAB_CHANNELS; i++)
        user->seen_tag[i] = open[i] ? user->seen_tag[i] : 0;
}

static void check(struct lab *lab, struct lab_queue *lq, struct queue *q, int lowest)
{
    struct order *order = q->levels ? levels_front(q->levels) : NULL;
    if (order && lq->top.known && lowest >= 0) {
        const struct order *above = levels_at(q->levels, lq->top.level);
        lab->counts.leveled += lq->top.level > 0;
        assertf((unsigned)lowest >= lq->top.level || !above || !order_find(above, lq->top.sequence),
                "%s handed out something of priority %d while sequence %llu of %u waited", lq->name, lowest,
                (unsigned long long)lq->top.sequence, lq->top.level);
    }
    const struct entry *first = order && order_loaded(order) ? order_first(order) : NULL;
    lq->top.known = first && !first->redelivered;
    if (first)
        lq->top.level = lane_of_id(order->id), lq->top.sequence = first->sequence;
}

void lab_levels_look(struct lab *lab)
{
    struct vhost *v = server_find_vhost(&lab->world->server, SLICE("/"));
    struct handed handed = {.lab = lab};
    for (int i = 0; i < LAB_QUEUES; i++)
        handed.lowest[i] = -1;
    for (unsigned i = 0; i < lab->user_count; i++)
        see_user(&lab->users[i], &handed);
    for (int i = 0; v && i < LAB_QUEUES; i++) {
        struct queue *q = vhost_find_queue(v, slice_of_string(lab->queues[i].name));
        if (q)
            check(lab, &lab->queues[i], q, handed.lowest[i]);
    }
}
