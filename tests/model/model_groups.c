/* model_groups.c - a queue with x-group-by against a list: random pushes of messages of few groups, consumers
 * that come, take, settle, requeue, park and go, gets, expiry, purges, tiny pages on a fake disk, and
 * crashes. After each step: a group's unacked are with one consumer; what is handed out is the oldest of its
 * group; a group that waits lets no other go before it twice; nothing that somebody could take is left
 * lying; nothing is lost. With few seats some groups share one. SEED=n runs one round with that seed;
 * otherwise ROUNDS (60) from a random one. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/rand.h"
#include "protocol/table.h"
#include "queue/lane.h"
#include "queue/paging.h"
#include "tests/model/restored.h"
#include "tests/model/rounds.h"
#include "tests/sim/fakedisk.h"

enum { STEPS = 3000, GROUPS = 9, CONSUMERS = 5, OUT_MAX = 200, SEGMENT_BYTES = 24 * 1024, LOOSE = 0 };

enum state { READY, OUT, GONE };

struct item {
    int group; /* LOOSE = none */
    enum state state;
    uint64_t deadline;
    int holder; /* while OUT: a consumer, or CONSUMERS for a get */
};

struct out {
    struct entry entry;
    uint32_t id;
    int holder;
};

struct model {
    struct fakedisk *disk;
    struct store *store;
    struct slab_pool pool;
    struct queue_home home;
    struct queue *q;
    struct item *items;
    uint32_t count, capacity, first;
    struct consumer consumers[CONSUMERS];
    struct list parked;
    struct out outs[OUT_MAX];
    size_t out_count;
    unsigned served[GROUPS + 1][GROUPS + 1]; /* [a][b]: b since a waits for anybody; the last: the crowd */
    struct rand rand;
    unsigned group_max, delivered, crashes, crowded, paged;
    bool limited, single, ttl;
};

static uint64_t below(struct model *m, uint64_t bound)
{
    return rand_below(&m->rand, bound);
}

/* --- the queue --- */

static void make_queue(struct model *m)
{
    struct buf args = {0};
    table_put_string(&args, "x-group-by", SLICE("routing-key"));
    table_put_int(&args, "x-group-max", m->group_max);
    if (m->single)
        table_put_bool(&args, "x-single-active-consumer", true);
    if (m->limited)
        table_put_int(&args, "x-max-length", 60);
    if (m->ttl)
        table_put_int(&args, "x-message-ttl", 900);
    m->q = queue_new(&m->home, SLICE("q"), buf_slice(&args), 7);
    queue_make_durable(m->q);
    buf_free(&args);
}

static uint32_t id_of(const struct message *msg)
{
    uint32_t id;
    assert(msg->body_size >= sizeof(id));
    memcpy(&id, message_body(msg).at, sizeof(id));
    return id;
}

static void push(struct model *m)
{
    static const char *const names[] = {"", "a", "b", "c", "d", "e", "f", "g", "h"};
    int group = below(m, 3) ? 1 : (int)below(m, GROUPS); /* one floods */
    char bytes[8] = {1, 0, 3, '4', '0', '0'};
    bool expires = below(m, 5) == 0;
    struct message *msg = message_new(&m->pool, SLICE(""), slice_of_string(names[group]),
                                      slice_of(bytes, expires ? 6 : 0), 4 + below(m, 60));
    if (m->count == m->capacity) {
        m->capacity = m->capacity ? m->capacity * 2 : 64;
        m->items = mem_realloc(m->items, m->capacity * sizeof *m->items);
    }
    uint64_t wait = m->ttl ? 900 : UINT64_MAX;
    if (expires && wait > 400)
        wait = 400;
    memset(message_body_at(msg), 0, msg->body_size);
    memcpy(message_body_at(msg), &m->count, sizeof(m->count));
    msg->persistent = true;
    msg->born_ms = m->home.now_ms;
    struct stored_target target = lane_target(m->q, msg);
    struct stored_message record = {&target,            1, message_exchange(msg), message_key(msg),
                                    message_props(msg), message_body(msg)};
    record.born_ms = msg->born_ms;
    msg->batch = store_message(m->store, &record);
    msg->journal_refs = 1;
    m->items[m->count++] =
        (struct item){group, READY, wait == UINT64_MAX ? wait : m->home.now_ms + wait, 0};
    queue_push(m->q, msg, true);
    message_unref(&m->pool, &msg);
}

/* --- what must be true --- */

/* Whether the group has a seat of its own now, or had one and nobody needed it. */
static struct seat *seat_of(const struct model *m, int group)
{
    static const char names[] = "?abcdefgh";
    struct groups *groups = m->q->groups;
    if (group == LOOSE)
        return groups->seats[GROUPS_LOOSE];
    if (group == GROUPS)
        return groups->seats[GROUPS_CROWD];
    struct seat *seat = map_get(&groups->by_name, slice_of(&names[group], 1));
    return seat ? seat : groups->seats[GROUPS_CROWD];
}

/* The others that were served since it began to wait for anybody. */
static void note_served(struct model *m, int group)
{
    const struct seat *crowd = m->q->groups->seats[GROUPS_CROWD];
    int served = seat_of(m, group) == crowd ? GROUPS : group;
    m->crowded += served == GROUPS;
    memset(m->served[served], 0, sizeof(m->served[served]));
    for (int i = 0; i <= GROUPS; i++) {
        if (i == served || (i < GROUPS && seat_of(m, i) == crowd))
            continue;
        m->served[i][served]++;
        /* A limit drops of the longest, which may then have to be read. */
        assertf(m->served[i][served] <= 1 || m->limited, "group %d went before group %d twice", served, i);
    }
}

/* Only those that wait for anybody, and go on to, keep count. */
static void forget_served(struct model *m)
{
    for (int i = 0; i <= GROUPS; i++)
        if (seat_of(m, i)->state != SEAT_OPEN)
            memset(m->served[i], 0, sizeof(m->served[i]));
}

/* Its time has come, or comes within this millisecond: before a basic.get that is enough. */
static bool may_be_gone(const struct model *m, const struct item *item)
{
    return item->deadline <= m->home.now_ms;
}

/* It is the oldest of its group, and nobody else has one. */
static void check_turn(const struct model *m, uint32_t id, int holder)
{
    int group = m->items[id].group;
    for (uint32_t i = m->first; i < m->count; i++) {
        const struct item *item = &m->items[i];
        if (item->group != group || item->state == GONE || i == id)
            continue;
        bool due = may_be_gone(m, item) || m->limited;
        assertf(item->state == OUT || i > id || due, "%u before %u of group %d", id, i, group);
        assertf(item->state != OUT || group == LOOSE || (item->holder == holder && holder < CONSUMERS),
                "group %d is with %d, and goes to %d", group, item->holder, holder);
    }
}

static void take(struct model *m, struct entry *entry, int holder, bool no_ack)
{
    uint32_t id = id_of(entry->message);
    struct item *item = &m->items[id];
    assertf(id < m->count && item->state == READY, "%u is not there", id);
    check_turn(m, id, holder);
    note_served(m, item->group);
    m->delivered++;
    m->paged += entry->page > 0;
    if (no_ack) {
        item->state = GONE;
        queue_settle(m->q, entry, false);
        return;
    }
    item->state = OUT;
    item->holder = holder;
    m->outs[m->out_count++] = (struct out){*entry, id, holder};
}

/* Nothing that is in memory and somebody could take is left lying. */
static void check_idle(const struct model *m)
{
    if (list_linked(&m->q->ready_link))
        return;
    for (int c = 0; c < CONSUMERS; c++) {
        const struct consumer *consumer = &m->consumers[c];
        if (consumer->queue != m->q || consumer->state != CONSUMER_ROTATING)
            continue;
        for (int group = 0; group <= GROUPS; group++) {
            const struct seat *seat = seat_of(m, group);
            bool free = group == LOOSE || seat->unacked == 0 || seat->holder == consumer;
            assertf(!free || !order_loaded(seat->order) || seat->order->expiry.late,
                    "consumer %d could have something of group %d", c, group);
        }
    }
}

static void check(struct model *m)
{
    size_t ready = 0, out = 0, due = 0;
    while (m->first < m->count && m->items[m->first].state == GONE)
        m->first++;
    for (uint32_t i = m->first; i < m->count; i++) {
        ready += m->items[i].state == READY;
        out += m->items[i].state == OUT;
        due += m->items[i].state == READY && may_be_gone(m, &m->items[i]);
    }
    queue_check(m->q);
    assert(m->q->unacked == out);
    size_t found = queue_ready(m->q);
    assertf(found <= ready && (m->limited || found + due >= ready), "%zu of %zu, %zu of these due", found,
            ready, due);
    check_idle(m);
    forget_served(m);
}

/* --- steps --- */

static void deliver(struct model *m)
{
    struct consumer *c = queue_turn(m->q);
    if (!list_linked(&m->q->ready_link) || m->out_count == OUT_MAX)
        return;
    struct entry entry = queue_next(m->q, c);
    take(m, &entry, (int)(c - m->consumers), c->no_ack);
}

static void get(struct model *m)
{
    struct entry entry;
    bool no_ack = below(m, 2);
    expiry_before_get(m->q);
    forget_served(m);
    if (m->out_count < OUT_MAX && queue_get(m->q, no_ack, &entry))
        take(m, &entry, CONSUMERS, no_ack);
    else if (lane_awaited(m->q))
        paging_await(lane_awaited(m->q));
}

static void settle(struct model *m, size_t at, uint64_t how)
{
    struct out out = m->outs[at];
    m->outs[at] = m->outs[--m->out_count];
    m->items[out.id].state = how == 0 ? READY : GONE;
    if (how == 0)
        queue_requeue(m->q, &out.entry, true);
    else if (how == 1)
        queue_reject(m->q, &out.entry, OUTCOME_REJECTED);
    else
        queue_settle(m->q, &out.entry, true);
    if (out.holder < CONSUMERS)
        consumer_settled(&m->consumers[out.holder]);
}

static void change_consumer(struct model *m)
{
    struct consumer *c = &m->consumers[below(m, CONSUMERS)];
    if (c->queue && c->state == CONSUMER_ROTATING && below(m, 2)) {
        consumer_park(c, &m->parked);
    } else if (c->queue && c->state == CONSUMER_PARKED && below(m, 2)) {
        consumer_unpark(c);
    } else if (c->queue) {
        consumer_exit(c);
    } else if (c->unacked == 0) {
        *c = (struct consumer){.prefetch = (uint32_t)below(m, 5), .no_ack = below(m, 5) == 0};
        c->priority = below(m, 3) ? 0 : 1;
        consumer_enter(c, m->q);
    }
}

static void turn(struct model *m)
{
    m->home.now_ms += below(m, 40);
    expiry_run(&m->home, m->home.now_ms, 3);
    paging_arrive(&m->home);
    paging_squeeze(&m->home);
    paging_fetch(&m->home);
    queue_home_bury(&m->home, below(m, 50));
    uint64_t limit = store_sparse_batch(m->store);
    if (limit)
        paging_move_waiting(m->q, limit), delays_move(&m->home.delays, limit);
    for (size_t i = 0; limit && i < m->out_count; i++)
        paging_move(m->q, &m->outs[i].entry, limit, true);
    mover_finish(&m->home);
    store_commit(m->store);
    store_sync_now(m->store);
}

static void purge(struct model *m)
{
    queue_purge(m->q);
    for (uint32_t i = m->first; i < m->count; i++)
        if (m->items[i].state == READY)
            m->items[i].state = GONE;
}

/* --- crashes --- */

static void on_definition(void *arg, const struct definition *definition)
{
    if (definition->kind == DEFINITION_QUEUE)
        make_queue(arg);
}

static void on_message(void *arg, const struct stored_message *stored, uint64_t batch)
{
    struct model *m = arg;
    struct message *msg = restored_message(&m->pool, stored, batch);
    msg->journal_refs = 1;
    queue_restore(m->q, lane_of_id(stored->targets[0].queue_id), msg, stored->targets[0].sequence,
                  stored->returns[0]);
    message_unref(&m->pool, &msg);
}

static void on_page(void *arg, uint64_t queue_id, uint32_t slot)
{
    struct model *m = arg;
    assert((queue_id & STORE_QUEUE_ID_MAX) == m->q->id);
    queue_restore_page(m->q, slot);
}

static void on_delivered(void *arg, uint64_t queue_id, uint64_t sequence)
{
    struct model *m = arg;
    queue_restore_delivered(m->q, lane_of_id(queue_id), sequence);
}

static void open_all(struct model *m)
{
    char error[512] = "";
    struct store_options options = {
        .dir = "data", .io = fakedisk_io(m->disk), .segment_bytes = SEGMENT_BYTES, .without_thread = true};
    struct recovery_sink sink = {on_definition, on_message, on_delivered, m, on_page};
    uint64_t now = m->home.now_ms;
    slab_pool_init(&m->pool);
    queue_home_init(&m->home, &m->pool, NULL);
    m->home.now_ms = now;
    list_init(&m->parked);
    paging_configure(&m->home.paging, 4 + (uint32_t)below(m, 20), 256 + (uint32_t)below(m, 2000),
                     below(m, 3) ? 100000000 : 1);
    int failed = store_open(&m->store, &options, error, sizeof error);
    m->home.store = m->store;
    failed = failed ? failed : store_recover(m->store, &sink, error, sizeof error);
    assertf(failed == 0, "%s", error);
    if (!m->q) {
        make_queue(m);
        struct definition queue = {
            .kind = DEFINITION_QUEUE, .id = m->q->id, .vhost = SLICE("/"), .name = m->q->name};
        store_define(m->store, &queue);
    }
    queue_restored(m->q, store_open_batch(m->store) << 20);
}

/* Memory is gone; the disk stays. */
static void close_all(struct model *m)
{
    m->home.store = NULL;
    store_abandon(&m->store);
    for (int i = 0; i < CONSUMERS; i++)
        if (m->consumers[i].queue)
            consumer_exit(&m->consumers[i]);
    while (m->out_count)
        queue_settle(m->q, &m->outs[--m->out_count].entry, true);
    memset(m->consumers, 0, sizeof(m->consumers));
    queue_delete(&m->q);
    queue_home_free(&m->home);
    slab_pool_free(&m->pool);
}

/* All was on disk: it is all there again. */
static void crash(struct model *m)
{
    while (queue_home_bury(&m->home, SIZE_MAX))
        ;
    for (int i = 0; i < 2; i++) {
        store_commit(m->store);
        store_sync_now(m->store);
    }
    close_all(m);
    fakedisk_crash(m->disk, (enum fakedisk_loss)below(m, 3));
    m->crashes++;
    for (uint32_t i = m->first; i < m->count; i++)
        if (m->items[i].state == OUT)
            m->items[i].state = READY;
    memset(m->served, 0, sizeof(m->served));
    open_all(m);
}

/* --- rounds --- */

static void step(struct model *m)
{
    uint64_t what = below(m, 100), tickets[GROUPS + 1];
    for (int i = 0; i <= GROUPS; i++)
        tickets[i] = seat_of(m, i)->ticket;
    if (what < 30)
        for (uint64_t n = below(m, 4); n-- > 0;)
            push(m);
    else if (what < 55)
        deliver(m);
    else if (what < 60)
        get(m);
    else if (what < 84 && m->out_count)
        settle(m, below(m, m->out_count), below(m, 6));
    else if (what < 90)
        change_consumer(m);
    else if (what < 98)
        turn(m);
    else if (below(m, 20) == 0)
        purge(m);
    else if (below(m, 20) == 0)
        crash(m);
    for (int i = 0; i <= GROUPS && (what < 30 || what >= 55); i++)
        if (seat_of(m, i)->ticket != tickets[i]) /* it was empty, or had to be read, in between */
            memset(m->served[i], 0, sizeof(m->served[i]));
    check(m);
}

static void run_round(uint64_t seed)
{
    struct model m = {.disk = fakedisk_new(seed), .home.now_ms = 1000000};
    m.rand = rand_seeded(seed);
    m.group_max = below(&m, 3) ? GROUPS : 1 + (unsigned)below(&m, 4);
    m.limited = below(&m, 5) == 0;
    m.single = below(&m, 5) == 0;
    m.ttl = below(&m, 4) == 0;
    open_all(&m);
    for (int i = 0; i < STEPS; i++)
        step(&m);
    printf("seed %" PRIu64 ": %u published, %u delivered, %u from pages, %u from the crowd, %u crashes\n",
           seed, m.count, m.delivered, m.paged, m.crowded, m.crashes);
    close_all(&m);
    fakedisk_free(&m.disk);
    mem_free(m.items);
}

int main(void)
{
    model_rounds(run_round, NULL, 0, 60);
    return 0;
}
