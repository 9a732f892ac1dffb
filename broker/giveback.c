/* giveback.c - what a channel does with very many messages at once.
 *
 * Owner: the channel (struct giveback) and the server (struct givings). Invariants: a channel is in a list
 * iff its step is not IDLE; while something is under way nobody else takes from the channel's unacked up to
 * giveback.up_to, or from its transaction, as its frames wait. So what was held is what comes back.
 *
 * A transaction is in one batch: while a large one is committed the batch is not handed over. That is why
 * there is one at a time, and a batch between two of them. */
#include "broker/giveback.h"

#include "broker/ack.h"
#include "broker/consume.h"
#include "broker/pace.h"
#include "broker/tx.h"
#include "queue/hold.h"

enum {
    PART = 512,    /* of a channel, until it is another one's turn */
    HOLD_PART = 4  /* holding so many queues is as much work as to give one message back */
};

void giveback_init(struct givings *givings, size_t turn_max)
{
    assert(turn_max > 0);
    list_init(&givings->channels);
    list_init(&givings->commits);
    givings->room = givings->turn_max = turn_max;
    givings->committed_in = UINT64_MAX;
}

static struct givings *givings_of(const struct channel *ch)
{
    return &channel_server(ch)->giving;
}

/* --- the steps: each returns what it has cost, at most `room` --- */

/* The next item that is to be given back; false when all were looked at. */
static bool find_next(struct channel *ch, uint64_t *tag, const struct unacked_item **item)
{
    struct giveback *g = &ch->giveback;
    *item = unacked_next(&ch->unacked, g->from, tag);
    if (!*item || *tag > g->up_to)
        return false;
    g->from = *tag + 1;
    return true;
}

static bool comes_back(const struct giveback *g, const struct unacked_item *item)
{
    return item->consumer || g->extent == GIVEBACK_ALL;
}

static size_t hold_some(struct channel *ch, size_t room)
{
    struct giveback *g = &ch->giveback;
    const struct unacked_item *item;
    uint64_t tag;
    size_t count = 0;
    while (count < room * HOLD_PART) {
        if (!find_next(ch, &tag, &item)) {
            g->step = GIVEBACK_RETURN;
            g->from = 0;
            break;
        }
        if (comes_back(g, item))
            hold_add(item->queue);
        count++;
    }
    return count / HOLD_PART;
}

static size_t return_some(struct channel *ch, size_t room)
{
    struct giveback *g = &ch->giveback;
    const struct unacked_item *next;
    struct unacked_item item;
    uint64_t tag;
    size_t count = 0;
    for (; count < room; count++) {
        if (!find_next(ch, &tag, &next)) {
            g->step = GIVEBACK_IDLE;
            break;
        }
        if (!comes_back(g, next))
            continue;
        unacked_take(&ch->unacked, tag, &item);
        if (g->holds)
            hold_drop(item.queue);
        ack_settle(ch, &item, g->how);
    }
    return count;
}

static size_t publish_some(struct channel *ch, size_t room)
{
    size_t count = tx_commit_publishes(ch, room);
    if (tx_uncommitted(ch, false) == 0)
        ch->giveback.step = ch->giveback.holds ? GIVEBACK_HOLD_SETTLED : GIVEBACK_SETTLE;
    /* Outside of a turn's input nobody else sees to these. */
    if (ch->giveback.detached)
        pace_stop(ch->conn);
    return count;
}

static size_t hold_settled(struct channel *ch, size_t room)
{
    struct giveback *g = &ch->giveback;
    size_t before = g->at;
    g->at = tx_hold_settlements(ch, g->at, room * HOLD_PART);
    if (g->at == tx_uncommitted(ch, true))
        g->step = GIVEBACK_SETTLE;
    return (g->at - before) / HOLD_PART;
}

static size_t settle_some(struct channel *ch, size_t room)
{
    size_t count = tx_commit_settlements(ch, room, ch->giveback.holds);
    if (tx_uncommitted(ch, true) == 0)
        ch->giveback.step = GIVEBACK_IDLE;
    return count;
}

static size_t roll_some_back(struct channel *ch, size_t room)
{
    struct giveback *g = &ch->giveback;
    size_t count = tx_rollback(ch, room);
    if (tx_uncommitted(ch, false) + tx_uncommitted(ch, true) > 0)
        return count;
    if (g->extent == GIVEBACK_NOTHING) {
        g->step = GIVEBACK_IDLE;
        return count;
    }
    tx_free(ch);
    g->step = g->holds ? GIVEBACK_HOLD : GIVEBACK_RETURN;
    return count;
}

/* Until it is through, or has cost `room`; returns what it has cost. */
static size_t work(struct channel *ch, size_t room)
{
    static size_t (*const steps[])(struct channel *, size_t) = {
        [GIVEBACK_PUBLISH] = publish_some, [GIVEBACK_HOLD_SETTLED] = hold_settled,
        [GIVEBACK_SETTLE] = settle_some,   [GIVEBACK_ROLLBACK] = roll_some_back,
        [GIVEBACK_HOLD] = hold_some,       [GIVEBACK_RETURN] = return_some};
    size_t used = 0;
    while (ch->giveback.step != GIVEBACK_IDLE && used < room) {
        assertf(steps[ch->giveback.step], "step %d", ch->giveback.step);
        enum giveback_step before = ch->giveback.step;
        size_t cost = steps[before](ch, room - used);
        assert(cost > 0 || ch->giveback.step != before || room - used < HOLD_PART);
        used += cost;
    }
    return used;
}

/* --- to begin --- */

/* Of the end, which may come when something else is over: true when there is anything to do. */
static bool turn_to_end(struct channel *ch)
{
    struct giveback *g = &ch->giveback;
    if (g->given >= g->asked)
        return false;
    g->step = GIVEBACK_ROLLBACK;
    g->extent = g->asked;
    g->from = 0;
    g->up_to = UINT64_MAX;
    g->how = SETTLE_RECOVER;
    return true;
}

/* What is through, and what follows. */
static void settle_step(struct channel *ch)
{
    struct giveback *g = &ch->giveback;
    struct givings *givings = givings_of(ch);
    assert(g->step == GIVEBACK_IDLE);
    if (givings->committing == ch) {
        givings->committing = NULL;
        givings->committed_in = store_open_batch(channel_server(ch)->store);
    }
    if (g->up_to == UINT64_MAX && g->extent > g->given)
        g->given = g->extent;
    turn_to_end(ch);
}

/* What a client was handed before basic.recover-ok counts as given back: so until then nothing is. */
static void pause_consumers(struct channel *ch, bool pause)
{
    uint32_t max = ch->global_prefetch ? ch->global_prefetch : UINT32_MAX;
    consume_limit(ch, pause ? 0 : max);
}

/* Takes its place behind others; a commit waits for the one that is under way. */
static void line_up(struct channel *ch)
{
    struct giveback *g = &ch->giveback;
    struct givings *givings = givings_of(ch);
    if (g->step == GIVEBACK_HOLD || g->step == GIVEBACK_ROLLBACK) {
        if (g->step == GIVEBACK_HOLD && g->how == SETTLE_RECOVER)
            pause_consumers(ch, true);
        list_push_back(&givings->channels, &g->link);
    } else {
        g->step = GIVEBACK_WAIT;
        list_push_back(&givings->commits, &g->link);
    }
}

/* All in this turn, but for a commit of few messages that turns out to be to many queues: it goes on as a
 * large one. */
static void give_at_once(struct channel *ch, size_t weight)
{
    struct giveback *g = &ch->giveback;
    struct givings *givings = givings_of(ch);
    bool publishes = g->step == GIVEBACK_PUBLISH && !givings->committing;
    size_t room = givings->room;
    assert(weight <= room);
    givings->room -= weight;
    ch->conn->share.effort += (unsigned)weight;
    if (publishes)
        (void)publish_some(ch, room);
    if (publishes && g->step == GIVEBACK_PUBLISH) {
        g->holds = true;
        givings->committing = ch;
        list_push_back(&givings->channels, &g->link);
        return;
    }
    (void)work(ch, SIZE_MAX / HOLD_PART);
    settle_step(ch);
    assert(g->step == GIVEBACK_IDLE);
}

/* The step is set; `weight`: how many messages it is about. */
static void begin(struct channel *ch, size_t weight)
{
    struct giveback *g = &ch->giveback;
    assert(!list_linked(&g->link));
    g->at = 0;
    g->holds = weight > givings_of(ch)->room;
    if (g->holds)
        line_up(ch);
    else
        give_at_once(ch, weight);
}

/* A method that is handled for the first time, or again. */
static bool through(struct channel *ch)
{
    struct giveback *g = &ch->giveback;
    if (g->step == GIVEBACK_IDLE) {
        if (ch->unacked_max == 0)
            pause_consumers(ch, false);
        g->done = false;
        return true;
    }
    giveback_await(ch->conn);
    return false;
}

static size_t in_transaction(const struct channel *ch)
{
    return tx_uncommitted(ch, false) + tx_uncommitted(ch, true);
}

bool giveback_requeue(struct channel *ch, uint64_t up_to, enum settlement how)
{
    struct giveback *g = &ch->giveback;
    if (!giveback_began(g)) {
        uint64_t first = unacked_first(&ch->unacked);
        uint64_t tags = first > up_to ? 0 : up_to - first + 1;
        size_t weight = tags < ch->unacked.size ? (size_t)tags : ch->unacked.size;
        assert(up_to < UINT64_MAX);
        g->extent = GIVEBACK_ALL;
        g->from = 0;
        g->up_to = up_to;
        g->how = how;
        g->step = weight > givings_of(ch)->room ? GIVEBACK_HOLD : GIVEBACK_RETURN;
        begin(ch, weight);
    }
    return through(ch);
}

static bool end_transaction(struct channel *ch, enum giveback_step step)
{
    struct giveback *g = &ch->giveback;
    if (!giveback_began(g)) {
        g->extent = GIVEBACK_NOTHING;
        g->step = step;
        begin(ch, in_transaction(ch));
    }
    return through(ch);
}

bool giveback_commit(struct channel *ch)
{
    return end_transaction(ch, GIVEBACK_PUBLISH);
}

bool giveback_rollback(struct channel *ch)
{
    return end_transaction(ch, GIVEBACK_ROLLBACK);
}

bool giveback_end(struct channel *ch, enum giveback_extent extent)
{
    struct giveback *g = &ch->giveback;
    if (g->asked < extent)
        g->asked = extent;
    if (g->step == GIVEBACK_WAIT) { /* it has not begun, and the disk may be full: it will not be */
        list_remove(&g->link);
        g->step = GIVEBACK_IDLE;
    }
    if (g->step == GIVEBACK_IDLE && turn_to_end(ch))
        begin(ch, in_transaction(ch) + ch->unacked.size);
    return giveback_is_through(g);
}

void giveback_await(struct connection *conn)
{
    flow_pause(conn, FLOW_BACK);
    conn->share.again = true;
}

void giveback_detach(struct channel *ch)
{
    struct giveback *g = &ch->giveback;
    assert(list_linked(&g->link) && !g->detached && g->asked == GIVEBACK_ALL);
    g->detached = true;
    ch->conn->flow.detached++;
    ch->conn->vhost->detached++;
}

/* --- the turn --- */

/* The channel's part is through: whoever waits for it goes on. */
static void leave(struct channel *ch)
{
    struct connection *conn = ch->conn;
    list_remove(&ch->giveback.link);
    if (!ch->giveback.detached) {
        ch->giveback.done = ch->giveback.asked == GIVEBACK_NOTHING;
        flow_resume(conn, FLOW_BACK);
        return;
    }
    assert(conn->flow.detached > 0 && conn->vhost->detached > 0);
    conn->flow.detached--;
    conn->vhost->detached--;
    channel_free(&ch);
    if (conn->flow.detached == 0) /* the connection has left it; nothing keeps it from going any more */
        conn->vhost = NULL;
}

static size_t give_some(struct givings *givings, size_t room)
{
    struct channel *ch = list_first(&givings->channels, struct channel, giveback.link);
    size_t used = work(ch, room < PART ? room : PART);
    if (ch->giveback.step == GIVEBACK_IDLE)
        settle_step(ch);
    if (ch->giveback.step == GIVEBACK_IDLE) {
        leave(ch);
    } else {
        list_remove(&ch->giveback.link);
        list_push_back(&givings->channels, &ch->giveback.link);
    }
    return used;
}

/* The next large tx.commit, if the batch of the last one is closed, or has nothing in it. */
static void begin_commit(struct server *s)
{
    struct givings *givings = &s->giving;
    uint64_t open = store_open_batch(s->store);
    if (givings->committing || list_empty(&givings->commits) ||
        (givings->committed_in == open && store_last_batch(s->store) == open))
        return;
    struct list *node = list_pop_front(&givings->commits);
    givings->committing = container_of(node, struct channel, giveback.link);
    givings->committing->giveback.step = GIVEBACK_PUBLISH;
    list_push_back(&givings->channels, node);
}

void giveback_run(struct server *s)
{
    struct givings *givings = &s->giving;
    size_t room = givings->turn_max;
    if (s->company.present && room > GIVEBACK_COMPANY)
        room = GIVEBACK_COMPANY;
    givings->room = room;
    begin_commit(s);
    while (room > 0 && !list_empty(&givings->channels)) {
        size_t used = give_some(givings, room);
        room -= used < room ? used + (used == 0) : room;
    }
}

void giveback_finish(struct server *s)
{
    struct givings *givings = &s->giving;
    while (giveback_is_busy(givings)) {
        givings->committed_in = UINT64_MAX;
        begin_commit(s);
        give_some(givings, SIZE_MAX);
    }
}

void giveback_each_detached(const struct givings *givings, void (*each)(void *arg, struct channel *ch),
                            void *arg)
{
    const struct list *const lists[] = {&givings->channels, &givings->commits};
    for (size_t i = 0; i < array_size(lists); i++) {
        list_each(node, lists[i]) {
            struct channel *ch = container_of(node, struct channel, giveback.link);
            if (ch->giveback.detached)
                each(arg, ch);
        }
    }
}
