/* model_queue.c - two queues with consumers and limits against plain arrays: random pushes (also of
 * one message to both), deliveries, gets, settlements, requeues, purges, comings, goings and
 * parkings of consumers, and deletions. Some queues order by priority, some have one consumer active
 * at a time, consumers have priorities: the model sorts and searches. After each step the queues say
 * the same as the arrays and pass queue_check; in the end every reference is gone. With a store, what
 * it recovers is exactly what the queues hold, and after a crash no message that a client may have
 * seen is taken for a fresh one. SEED=n runs that seed alone. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/rand.h"
#include "protocol/table.h"
#include "protocol/props.h"
#include "tests/model/queue_model.h"
#include "tests/sim/fakedisk.h"
#include "tests/unit/suite.h"

/* check's own assertions write to a file even when they hold. */
#define expect(expr) ((expr) ? (void)0 : ck_abort_msg("%s:%d: %s", __FILE__, __LINE__, #expr))

static struct rand rand_state;
static struct slab_pool pool;
static struct queue_home home;
static struct held held[HELD_MAX];
static size_t held_size;
static struct list parked;
static struct fakedisk *disk;
static struct store *store;
static uint64_t last_id;
static struct delivery deliveries[STEPS];
static size_t delivery_count;
static struct found found;

static uint64_t below(uint64_t bound)
{
    return rand_below(&rand_state, bound);
}

/* --- the model's rules --- */

static void forget_first(struct model *m)
{
    slots[m->waiting[0].slot].holders--;
    m->bytes -= slots[m->waiting[0].slot].message->body_size;
    memmove(m->waiting, m->waiting + 1, --m->size * sizeof(*m->waiting));
}

static bool is_beyond(const struct model *m, size_t count, uint64_t bytes)
{
    return count > m->messages_max || bytes > m->bytes_max;
}

/* The oldest go, unless a consumer is about to take some. */
static void shed(struct model *m)
{
    if (m->overflow != LIMIT_DROP_HEAD || (m->size > 0 && whose_turn(m) >= 0))
        return;
    while (m->size > 0 && is_beyond(m, m->size, m->bytes))
        forget_first(m);
}

static bool goes_before(const struct waiting *a, const struct waiting *b)
{
    return a->level != b->level ? a->level > b->level : a->sequence < b->sequence;
}

static void insert(struct model *m, struct waiting waiting)
{
    size_t i = m->size++;
    for (; i > 0 && goes_before(&waiting, &m->waiting[i - 1]); i--)
        m->waiting[i] = m->waiting[i - 1];
    m->waiting[i] = waiting;
    m->bytes += slots[waiting.slot].message->body_size;
}

static unsigned level_of(const struct model *m, size_t slot)
{
    const struct message *message = slots[slot].message;
    unsigned level = message->has_priority ? message->priority : m->priority_missing;
    return level < m->priority_max ? level : m->priority_max;
}

/* --- comparing --- */

static void check_queue(const struct model *m)
{
    const struct queue *q = m->queue;
    queue_check(q);
    expect(queue_ready(q) == m->size);
    expect(q->ready_bytes == m->bytes);
    expect(q->unacked == m->unacked);
    for (unsigned level = 0; level <= m->priority_max; level++) {
        const struct order *order = lane_at(m->queue, level);
        expect((order ? order->next_sequence : 1) == m->next_sequence[level]);
    }
    struct entry *first = queue_first(q);
    expect((first == NULL) == (m->size == 0));
    if (first) {
        expect(first->sequence == m->waiting[0].sequence);
        expect(first->redelivered == m->waiting[0].redelivered);
        expect(first->message == slots[m->waiting[0].slot].message);
    }
    int who = whose_turn(m);
    expect(queue_turn(q) == (who < 0 ? NULL : &members[who].consumer));
    size_t consumers = 0;
    for (size_t i = 0; i < MEMBERS; i++)
        consumers += members[i].used && members[i].consumer.queue == q;
    expect(q->consumers.rotation.active == (m->active < 0 ? NULL : &members[m->active].consumer));
    expect(q->consumers.count == consumers);
    uint64_t size = below(BODY_MAX);
    expect(queue_refuses(q, size) ==
           (m->overflow == LIMIT_REJECT && is_beyond(m, m->size + 1, m->bytes + size)));
}

static void check_all(void)
{
    size_t ready = 0, linked = 0;
    for (size_t i = 0; i < QUEUES; i++) {
        check_queue(&models[i]);
        ready += models[i].size > 0 && whose_turn(&models[i]) >= 0;
    }
    list_each(node, &home.ready)
        linked++;
    expect(linked == ready);
    for (size_t i = 0; i < MEMBERS; i++) {
        if (!members[i].used)
            continue;
        expect(members[i].consumer.state == members[i].state);
        expect(members[i].consumer.unacked == members[i].unacked);
    }
    if (!list_empty(&home.graveyard))
        return;
    for (size_t i = 0; i < SLOTS; i++) {
        if (!slots[i].message)
            continue;
        expect(slots[i].message->refs == 1 + slots[i].holders);
        if (slots[i].holders == 0)
            message_unref(&pool, &slots[i].message);
    }
}

/* --- steps: each does one thing to the queue and to the model, and compares what came of it --- */

static void add_kind_args(struct model *m, struct buf *args)
{
    m->active = -1;
    m->quorum = below(5) == 0;
    m->single = below(3) == 0;
    if (m->quorum)
        table_put_string(args, "x-queue-type", SLICE("quorum"));
    m->priority_max = m->quorum ? LEVELS - 1 : below(2) ? 0 : (unsigned)below(12);
    m->priority_missing = m->quorum ? 4 : 0;
    if (!m->quorum && (m->priority_max || below(2)))
        table_put_int(args, "x-max-priority", m->priority_max);
    if (m->single)
        table_put_bool(args, "x-single-active-consumer", true);
}

static struct buf limit_args(struct model *m)
{
    static const char *const overflows[] = {"drop-head", "reject-publish", "reject-publish-dlx"};
    struct buf args = {0};
    size_t overflow = below(3);
    m->overflow = LIMIT_NONE;
    m->messages_max = m->bytes_max = UINT64_MAX;
    if (below(2)) {
        m->messages_max = below(2) ? below(4) : below(60);
        table_put_int(&args, "x-max-length", (int64_t)m->messages_max);
    }
    if (below(3) == 0) {
        m->bytes_max = below(20 * BODY_MAX);
        table_put_int(&args, "x-max-length-bytes", (int64_t)m->bytes_max);
    }
    if (overflow || below(2))
        table_put_string(&args, "x-overflow", slice_of_string(overflows[overflow]));
    if (m->messages_max < UINT64_MAX || m->bytes_max < UINT64_MAX)
        m->overflow = overflow ? LIMIT_REJECT : LIMIT_DROP_HEAD;
    return args;
}

static struct definition definition_of(const struct model *m, char *name, size_t size)
{
    snprintf(name, size, "q%llu", (unsigned long long)m->queue->id);
    return (struct definition){.kind = DEFINITION_QUEUE,
                               .id = m->queue->id,
                               .vhost = SLICE("/"),
                               .name = slice_of_string(name)};
}

static void new_queue(struct model *m)
{
    char name[32];
    *m = (struct model){0};
    for (int level = 0; level < LEVELS; level++)
        m->next_sequence[level] = 1;
    struct buf args = limit_args(m);
    add_kind_args(m, &args);
    m->queue = queue_new(&home, SLICE("q"), buf_slice(&args), ++last_id);
    buf_free(&args);
    if (!home.store)
        return;
    struct definition definition = definition_of(m, name, sizeof(name));
    store_define(store, &definition);
}

static size_t new_message(void)
{
    size_t slot = 0;
    while (slot < SLOTS && slots[slot].message)
        slot++;
    if (slot == SLOTS)
        return SLOTS;
    uint64_t size = below(4) ? below(BODY_MAX) : 0;
    uint8_t bytes[3] = {PROP_priority >> 8, 0, (uint8_t)below(below(2) ? 4 : 40)};
    struct slice props = below(3) ? slice_of(bytes, sizeof(bytes)) : slice_of(bytes, 0);
    struct message *m = message_new(&pool, SLICE("x"), SLICE("key"), props, size);
    memset(message_body_at(m), (int)slot & 255, size);
    slots[slot] = (struct slot){m, 0};
    return slot;
}

/* As broker/submit.c does it: one record, then the pushes. */
static void push_to(struct model **targets, size_t count, size_t slot)
{
    struct message *message = slots[slot].message;
    bool journalled = store && count > 0 && below(3) > 0;
    if (journalled) {
        struct stored_target stored[QUEUES];
        for (size_t i = 0; i < count; i++)
            stored[i] = lane_target(targets[i]->queue, message);
        message->batch = store_message(
            store, &(struct stored_message){.targets = stored,
                                            .target_count = count,
                                            .exchange = message_exchange(message),
                                            .key = message_key(message),
                                            .props = message_props(message),
                                            .body = message_body(message)});
        message->journal_refs = (uint32_t)count;
    }
    for (size_t i = 0; i < count; i++) {
        queue_push(targets[i]->queue, message, journalled);
        slots[slot].holders++;
        unsigned level = level_of(targets[i], slot);
        insert(targets[i],
               (struct waiting){targets[i]->next_sequence[level]++, level, slot, false, journalled});
        shed(targets[i]);
    }
}

static void step_push(void)
{
    struct model *targets[QUEUES];
    size_t count = 0, slot = new_message();
    if (slot == SLOTS)
        return;
    uint64_t size = slots[slot].message->body_size, which = below(4); /* the first, the second, both */
    for (size_t i = 0; i < QUEUES; i++)
        if ((which == i || which >= QUEUES) && !queue_refuses(models[i].queue, size))
            targets[count++] = &models[i];
    push_to(targets, count, slot);
}

/* The model's first entry is the one that was handed out. */
static size_t expect_first(struct model *m, const struct entry *entry)
{
    struct waiting *first = &m->waiting[0];
    size_t slot = first->slot;
    expect(m->size > 0);
    expect(entry->sequence == first->sequence);
    expect(entry->redelivered == first->redelivered);
    expect(entry->journalled == first->journalled);
    expect(entry->message == slots[slot].message);
    slots[slot].holders++;
    forget_first(m);
    return slot;
}

static void handed_out(int i, const struct entry *entry, size_t slot, int member)
{
    struct queue *q = models[i].queue;
    held[held_size++] = (struct held){*entry, q, i, member, slot};
    models[i].unacked++;
    if (store)
        deliveries[delivery_count++] =
            (struct delivery){lane_of(q, entry)->id, entry->sequence,
                              queue_delivery_batch(q, entry)};
}

static void step_deliver(void)
{
    int i = (int)below(QUEUES);
    struct model *m = &models[i];
    struct consumer *turn = queue_turn(m->queue);
    int who = whose_turn(m);
    expect((turn == NULL) == (who < 0));
    if (!turn || m->size == 0 || held_size == HELD_MAX)
        return;
    struct member *member = &members[who];
    expect(turn == &member->consumer);
    struct entry entry = queue_next(m->queue, turn);
    size_t slot = expect_first(m, &entry);
    member->unacked += !turn->no_ack;
    join_rotation(m, who);
    shed(m);
    if (turn->no_ack) {
        queue_settle(m->queue, &entry, false);
        slots[slot].holders--;
    } else {
        handed_out(i, &entry, slot, who);
    }
}

static void step_get(void)
{
    int i = (int)below(QUEUES);
    struct model *m = &models[i];
    struct entry entry;
    bool no_ack = below(2);
    if (held_size == HELD_MAX)
        return;
    bool there = queue_get(m->queue, no_ack, &entry);
    expect(there == (m->size > 0));
    if (!there)
        return;
    size_t slot = expect_first(m, &entry);
    if (no_ack) {
        queue_settle(m->queue, &entry, false);
        slots[slot].holders--;
    } else {
        handed_out(i, &entry, slot, -1);
    }
}

static void requeue(struct held *item, bool seen)
{
    bool redelivered = item->entry.redelivered || seen;
    unsigned level = item->home < 0 ? 0 : level_of(&models[item->home], item->slot);
    struct waiting waiting = {item->entry.sequence, level, item->slot, redelivered, item->entry.journalled};
    queue_requeue(item->queue, &item->entry, seen);
    if (item->home < 0) {
        slots[item->slot].holders--;
        return;
    }
    insert(&models[item->home], waiting);
    shed(&models[item->home]);
}

/* As broker/ack.c: the entry first, then the consumer's credit. */
static void settle(size_t i, bool back)
{
    struct held item = held[i];
    held[i] = held[--held_size];
    if (item.home >= 0)
        models[item.home].unacked--;
    if (back) {
        requeue(&item, below(4) > 0);
    } else {
        queue_settle(item.queue, &item.entry, true);
        slots[item.slot].holders--;
    }
    if (item.member < 0)
        return;
    struct member *member = &members[item.member];
    bool fades = member->fading;
    consumer_settled(&member->consumer);
    member->unacked--;
    if (member->state == CONSUMER_SATED)
        join_rotation(&models[member->home], item.member);
    else if (fades && member->unacked == 0)
        give_way(&models[member->home], item.member);
    if (member->state == CONSUMER_GONE && member->unacked == 0)
        member->used = false;
}

static void step_settle(void)
{
    if (held_size)
        settle(below(held_size), below(3) == 0);
}

static void step_add_consumer(void)
{
    int i = (int)below(MEMBERS), which = (int)below(QUEUES);
    struct member *member = &members[i];
    if (member->used)
        return;
    *member = (struct member){.used = true, .home = which};
    member->consumer.prefetch = (uint32_t)below(4);
    member->consumer.no_ack = below(4) == 0;
    member->consumer.priority = below(2) ? 0 : (int64_t)below(5) - 2;
    struct model *m = &models[which];
    int active = m->active;
    bool yields = active >= 0 && m->quorum && !members[active].fading &&
                  member->consumer.priority > members[active].consumer.priority;
    consumer_enter(&member->consumer, m->queue);
    if (m->single && active < 0)
        m->active = i;
    join_rotation(m, i);
    if (!yields)
        return;
    members[active].fading = true;
    if (members[active].state != CONSUMER_PARKED)
        members[active].state = CONSUMER_FADING;
    if (members[active].unacked == 0)
        give_way(m, active);
    shed(m);
}

static void remove_consumer(int i)
{
    struct member *member = &members[i];
    struct model *m = &models[member->home];
    consumer_exit(&member->consumer);
    member->state = CONSUMER_GONE;
    member->used = member->unacked > 0;
    member->home = -1;
    member->fading = false;
    int active = m->active, heir = find_heir(m);
    if (active == i) {
        choose_heir(m);
    } else if (active >= 0 && members[active].fading &&
               (heir < 0 || members[heir].consumer.priority <= members[active].consumer.priority)) {
        members[active].fading = false;
        if (members[active].state == CONSUMER_FADING)
            join_rotation(m, active);
    }
    shed(m);
}

/* A consumer that is there and not GONE, or -1. */
static int any_member(void)
{
    int i = (int)below(MEMBERS);
    return members[i].used && members[i].state != CONSUMER_GONE ? i : -1;
}

static void step_remove_consumer(void)
{
    int i = any_member();
    if (i >= 0)
        remove_consumer(i);
}

static void step_park(void)
{
    int i = any_member();
    if (i < 0 || (members[i].state != CONSUMER_PARKED && members[i].state != CONSUMER_ROTATING))
        return;
    struct model *m = &models[members[i].home];
    if (members[i].state == CONSUMER_PARKED) {
        consumer_unpark(&members[i].consumer);
        join_rotation(m, i);
        return;
    }
    consumer_park(&members[i].consumer, &parked);
    members[i].state = CONSUMER_PARKED;
    shed(m);
}

static void forget_all(struct model *m)
{
    while (m->size)
        forget_first(m);
}

static void step_purge(void)
{
    struct model *m = &models[below(QUEUES)];
    expect(queue_purge(m->queue) == m->size);
    forget_all(m);
}

static void delete_queue(int which)
{
    struct model *m = &models[which];
    char name[32];
    struct definition definition = definition_of(m, name, sizeof(name));
    if (home.store)
        store_undefine(store, &definition);
    for (int i = 0; i < MEMBERS; i++)
        if (members[i].used && members[i].home == which)
            remove_consumer(i);
    for (size_t i = 0; i < held_size; i++)
        if (held[i].home == which)
            held[i].home = -1;
    forget_all(m);
    queue_delete(&m->queue);
    expect(m->queue == NULL);
}

static void step_delete(void)
{
    int which = (int)below(QUEUES);
    delete_queue(which);
    new_queue(&models[which]);
}

static void step_bury(void)
{
    bool left = queue_home_bury(&home, below(20));
    expect(left == !list_empty(&home.graveyard));
}

static void step_turn(void)
{
    if (!store)
        return;
    store_commit(store);
    if (below(2))
        store_sync_now(store);
}

/* --- the journal --- */

static bool is_held(uint64_t id, uint64_t sequence)
{
    for (size_t i = 0; i < QUEUES; i++)
        for (size_t k = 0; models[i].queue->id == (id & STORE_QUEUE_ID_MAX) && k < models[i].size; k++)
            if (models[i].waiting[k].sequence == sequence && models[i].waiting[k].journalled &&
                lane_of_id(id) == models[i].waiting[k].level)
                return true;
    for (size_t i = 0; i < held_size; i++)
        if (held[i].home >= 0 && held[i].queue->id == (id & STORE_QUEUE_ID_MAX) &&
            held[i].entry.sequence == sequence &&
            level_of(&models[held[i].home], held[i].slot) == lane_of_id(id))
            return held[i].entry.journalled;
    return false;
}

static void found_definition(void *arg, const struct definition *definition)
{
    (void)arg, (void)definition;
}

static void found_message(void *arg, const struct stored_message *message, uint64_t batch)
{
    (void)arg, (void)batch;
    for (size_t i = 0; i < message->target_count; i++) {
        expect(found.count < FOUND_MAX);
        found.targets[found.count++] = message->targets[i];
    }
}

static void found_delivered(void *arg, uint64_t queue_id, uint64_t sequence)
{
    (void)arg;
    expect(found.delivered_count < FOUND_MAX);
    found.delivered[found.delivered_count++] = (struct stored_target){queue_id, sequence};
}

static void open_store(void)
{
    char error[512] = "";
    struct recovery_sink sink = {found_definition, found_message, found_delivered, NULL};
    found.count = found.delivered_count = 0;
    struct store_options options = {.dir = "data",
                                    .io = fakedisk_io(disk),
                                    .segment_bytes = SEGMENT_BYTES,
                                    .without_thread = true};
    int failed = store_open(&store, &options, error, sizeof(error));
    failed = failed ? failed : store_recover(store, &sink, error, sizeof(error));
    ck_assert_msg(failed == 0, "%s", error);
}

/* A restart at this point finds exactly what the queues hold. */
static void check_restart(void)
{
    size_t count = 0;
    while (queue_home_bury(&home, 7))
        ;
    store_close(&store);
    open_store();
    for (size_t i = 0; i < found.count; i++)
        expect(is_held(found.targets[i].queue_id, found.targets[i].sequence));
    for (size_t i = 0; i < QUEUES; i++)
        for (size_t k = 0; k < models[i].size; k++)
            count += models[i].waiting[k].journalled;
    for (size_t i = 0; i < held_size; i++)
        count += held[i].home >= 0 && held[i].entry.journalled;
    ck_assert_uint_eq(found.count, count);
}

static bool is_marked(const struct stored_target *target)
{
    for (size_t i = 0; i < found.delivered_count; i++)
        if (found.delivered[i].queue_id == target->queue_id &&
            found.delivered[i].sequence >= target->sequence)
            return true;
    return false;
}

/* After a crash: what is there again, and left the server before, is known to have been delivered. */
static void check_crash(void)
{
    uint64_t durable = store_durable(store);
    store_abandon(&store);
    fakedisk_crash(disk, (enum fakedisk_loss)below(3));
    open_store();
    for (size_t i = 0; i < found.count; i++)
        for (size_t k = 0; k < delivery_count; k++)
            if (deliveries[k].queue_id == found.targets[i].queue_id &&
                deliveries[k].sequence == found.targets[i].sequence && deliveries[k].batch <= durable)
                expect(is_marked(&found.targets[i]));
}

/* --- rounds --- */

static void (*const steps[])(void) = {
    step_push,   step_push,        step_push,         step_push, step_push, step_deliver,
    step_deliver, step_deliver,    step_deliver,      step_get,  step_settle, step_settle,
    step_settle, step_add_consumer, step_remove_consumer, step_park, step_park, step_bury,
    step_turn,
};

static void run_steps(void)
{
    uint64_t calm = below(40); /* some steps in a row are the same: bursts */
    void (*step)(void) = step_push;
    for (int i = 0; i < STEPS; i++) {
        if (below(40) >= calm)
            step = steps[below(array_size(steps))];
        if (below(400) == 0)
            step_purge();
        else if (below(600) == 0)
            step_delete();
        else
            step();
        check_all();
    }
}

static void end_round(bool delete_first)
{
    for (int i = 0; delete_first && i < QUEUES; i++)
        delete_queue(i);
    for (int i = 0; i < MEMBERS; i++)
        if (members[i].used && members[i].home >= 0)
            remove_consumer(i);
    while (held_size)
        settle(below(held_size), below(2));
    for (int i = 0; i < QUEUES; i++)
        if (models[i].queue)
            delete_queue(i);
    while (queue_home_bury(&home, 3))
        ;
    for (size_t i = 0; i < SLOTS; i++) {
        if (!slots[i].message)
            continue;
        ck_assert_uint_eq(slots[i].holders, 0);
        ck_assert_uint_eq(slots[i].message->refs, 1);
        ck_assert_uint_eq(slots[i].message->journal_refs, 0);
        message_unref(&pool, &slots[i].message);
    }
    ck_assert_uint_eq(home.queue_count, 0);
    ck_assert(list_empty(&parked));
    queue_home_free(&home);
    slab_pool_free(&pool); /* panics when a block is still in use */
}

static void run_round(uint64_t seed, bool stored)
{
    rand_state = rand_seeded(seed);
    delivery_count = 0;
    slab_pool_init(&pool);
    list_init(&parked);
    if (stored) {
        disk = fakedisk_new(seed);
        open_store();
    }
    queue_home_init(&home, &pool, store);
    for (size_t i = 0; i < QUEUES; i++)
        new_queue(&models[i]);
    run_steps();
    uint64_t end = below(3);
    if (stored && end > 0) {
        if (end == 1)
            check_restart();
        else
            check_crash();
        store_abandon(&store);
        home.store = NULL; /* what is dropped from here on is no ack */
    }
    end_round(below(2));
    if (stored && end == 0) { /* all was acked or forgotten while the store was there */
        struct store_stats stats;
        store_stats(store, &stats);
        ck_assert_uint_eq(stats.live_messages, 0);
        store_close(&store);
    }
    if (disk)
        fakedisk_free(&disk);
}

START_TEST(test_random)
{
    const char *text = getenv("SEED");
    struct rand secure = rand_secure();
    uint64_t seed = text ? strtoull(text, NULL, 0) : rand_u64(&secure);
    for (int i = 0; i < (text ? 1 : ROUNDS); i++) {
        printf("SEED=%llu\n", (unsigned long long)(seed + (uint64_t)i));
        fflush(stdout);
        run_round(seed + (uint64_t)i, _i);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("model_queue");
    TCase *tcase = tcase_create("queue");
    tcase_add_loop_test(tcase, test_random, 0, 2); /* without a store, with one */
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
