/* model_paging.c - queues that go to disk, against a naive list: random pushes, gets, acks, requeues,
 * purges and deletions with tiny pages on a fake disk whose plug is pulled at random calls. What comes out
 * of a queue must be what went in, in order; after a crash nothing confirmed is missing and nothing acked
 * on disk comes back. Time passes: what has waited too long is gone, wherever it is, and nothing else is; in
 * queues that dead-letter it comes out of the list of outcomes, once. SEED=n runs one round with that
 * seed; otherwise ROUNDS (40) rounds from a random one. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/rand.h"
#include "queue/paging.h"
#include "tests/model/plug.h"
#include "tests/model/restored.h"
#include "tests/model/rounds.h"
#include "tests/sim/fakedisk.h"

enum { STEPS = 4000, QUEUES = 4, TAKEN_MAX = 200, SEGMENT_BYTES = 24 * 1024 };

enum state {
    READY,
    MAYBE, /* a crash may or may not have taken it, or brought it back */
    TAKEN, /* handed out, not settled */
    LEAVING, /* was an outcome, and is being settled */
    GONE,
};

struct item {
    uint64_t sequence, published, settled; /* in which batches */
    uint64_t leaves; /* when handed out to be acked: the batch it had to wait for */
    size_t body_size;
    uint64_t born, deadline;
    enum state state;
    bool persistent;
    bool out;  /* handed out in this run */
    bool rejected; /* and not yet seen as an outcome */
    bool seen; /* a client saw it before a crash */
};

struct line {
    struct queue *queue; /* NULL = there is none */
    uint64_t id;
    uint64_t undefined; /* the batch in which it was deleted */
    struct item *items;
    size_t count, capacity, first; /* all before `first` are gone */
    bool durable;
};

struct taken {
    struct entry entry;
    struct line *line;
    size_t index; /* of its item */
};

struct model {
    struct fakedisk *disk;
    struct store *store;
    struct slab_pool pool;
    struct queue_home home;
    struct line lines[QUEUES];
    struct taken taken[TAKEN_MAX];
    size_t taken_count;
    struct rand rand;
    uint64_t id_next, handed;
    uint64_t looked_ms; /* what was due before this is gone, unless it is on disk */
    struct buf
        unwanted; /* batches of messages of queues that were deleted, to be released after the recovery */
    unsigned crashes, paged, loaded, moved, outcomes;
    uint64_t merged;
    char error[512];
};

static uint64_t below(struct model *m, uint64_t bound)
{
    return rand_below(&m->rand, bound);
}

/* --- queues --- */

static struct definition definition_of(const struct line *line)
{
    static const char *const names[QUEUES] = {"a", "b", "c", "d"};
    return (struct definition){.kind = DEFINITION_QUEUE,
                               .id = line->id,
                               .vhost = SLICE("/"),
                               .name = slice_of_string(names[line->id % QUEUES])};
}

/* The first queue has no deadlines; one dead-letters, one has a time of its own and one has not. */
static void configure(const struct line *line)
{
    size_t at = line->id % QUEUES;
    struct settings settings = settings_none();
    if (at == 1 || at == 3)
        settings.ttl_ms = 1500;
    if (at == 1)
        settings.dead_letters = true;
    queue_configure(line->queue, &settings);
}

static bool is_due(const struct model *m, const struct item *item)
{
    return item->deadline < m->home.now_ms;
}

static void make_queue(struct model *m, struct line *line)
{
    size_t at = (size_t)(line - m->lines);
    line->id = m->id_next++ * QUEUES + at;
    line->durable = at != 3;
    line->queue = queue_new(&m->home, SLICE("q"), SLICE(""), line->id);
    if (line->durable)
        queue_make_durable(line->queue);
    configure(line);
    line->count = line->first = 0;
    line->undefined = 0;
    if (line->durable) {
        struct definition definition = definition_of(line);
        store_define(m->store, &definition);
    }
}

/* The line's item with that sequence. */
static struct item *find(struct line *line, uint64_t sequence)
{
    size_t low = 0, high = line->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (line->items[middle].sequence < sequence)
            low = middle + 1;
        else
            high = middle;
    }
    assertf(low < line->count && line->items[low].sequence == sequence,
            "no message %" PRIu64 " was published", sequence);
    return &line->items[low];
}

static void fill(struct message *msg, uint64_t queue_id, uint64_t sequence)
{
    uint8_t *body = message_body_at(msg);
    for (size_t i = 0; i < msg->body_size; i++)
        body[i] = (uint8_t)(queue_id * 7 + sequence * 13 + i);
}

static void check_body(const struct message *msg, const struct line *line, const struct item *item)
{
    struct slice body = message_body(msg);
    assert(body.len == item->body_size && slice_is(message_key(msg), "key") &&
           msg->persistent == item->persistent);
    for (size_t i = 0; i < body.len; i++)
        assert(body.at[i] == (uint8_t)(line->id * 7 + item->sequence * 13 + i));
}

/* Property bytes with an expiration, or none. */
static struct slice choose_props(struct model *m, const struct line *line, struct item *item, char *bytes)
{
    uint64_t ms = below(m, 2) ? below(m, 4000) : 300 + below(m, 20);
    item->born = m->home.now_ms;
    item->deadline = UINT64_MAX;
    if (line->queue->settings.ttl_ms != SETTINGS_NEVER)
        item->deadline = item->born + line->queue->settings.ttl_ms;
    if (line->id % QUEUES == 0 || below(m, 2))
        return SLICE("");
    if (item->deadline > item->born + ms)
        item->deadline = item->born + ms;
    int len = snprintf(bytes + 3, 16, "%" PRIu64, ms);
    bytes[0] = 1, bytes[1] = 0, bytes[2] = (char)len;
    return slice_of(bytes, 3 + (size_t)len);
}

static void push(struct model *m, struct line *line)
{
    char bytes[32];
    struct queue *q = line->queue;
    uint64_t sequence = q->order.next_sequence;
    struct item item = {.sequence = sequence, .body_size = (size_t)below(m, below(m, 40) ? 120 : 5000)};
    item.persistent = below(m, 5) > 0;
    struct slice props = choose_props(m, line, &item, bytes);
    struct message *msg = message_new(&m->pool, SLICE(""), SLICE("key"), props, item.body_size);
    msg->born_ms = item.born;
    msg->persistent = item.persistent;
    fill(msg, line->id, sequence);
    bool journalled = item.persistent && line->durable;
    item.published = store_open_batch(m->store);
    if (journalled) {
        struct stored_target target = {line->id, sequence};
        struct stored_message record = {&target,            1, message_exchange(msg), message_key(msg),
                                        message_props(msg), message_body(msg)};
        record.born_ms = queue_keeps_birth(q, msg) ? msg->born_ms : 0;
        msg->batch = store_message(m->store, &record);
        msg->journal_refs = 1;
    }
    queue_push(q, msg, journalled);
    message_unref(&m->pool, &msg);
    /* A sequence that only a lost batch used comes again. */
    for (; line->count > 0 && line->items[line->count - 1].sequence >= sequence; line->count--)
        assert(line->items[line->count - 1].state == MAYBE || line->items[line->count - 1].state == GONE);
    if (line->first > line->count)
        line->first = line->count;
    if (line->count == line->capacity) {
        line->capacity = line->capacity ? line->capacity * 2 : 64;
        line->items = mem_realloc(line->items, line->capacity * sizeof *line->items);
    }
    line->items[line->count++] = item;
}

static void settled(struct model *m, struct item *item)
{
    item->state = GONE;
    item->settled = store_open_batch(m->store);
}

/* Takes what comes next and makes sure that nothing was passed over. */
static bool take(struct model *m, struct line *line, bool no_ack)
{
    struct entry entry;
    if (m->taken_count == TAKEN_MAX || !queue_get(line->queue, no_ack, &entry))
        return false;
    struct item *item = find(line, entry.sequence);
    for (size_t i = line->first; &line->items[i] < item; i++) {
        if (line->items[i].rejected || is_due(m, &line->items[i])) /* it may come back with a crash */
            continue;
        assertf(line->items[i].state != READY,
                "message %" PRIu64 " came before %" PRIu64 " of queue %" PRIu64, entry.sequence,
                line->items[i].sequence, line->id);
        if (line->items[i].state == MAYBE)
            line->items[i].state = GONE, line->items[i].settled = 0;
    }
    while (line->first < line->count && line->items[line->first].state == GONE)
        line->first++;
    assertf(item->state == READY || item->state == MAYBE, "message %" PRIu64 " came again: %d",
            entry.sequence, (int)item->state);
    check_body(entry.message, line, item);
    assertf(!is_due(m, item) || line->queue->order.expiry.late || item->deadline >= m->looked_ms,
            "message %" PRIu64 " of queue %" PRIu64 " was due %" PRIu64 " ms ago", entry.sequence, line->id,
            m->home.now_ms - item->deadline);
    assertf(!queue_keeps_birth(line->queue, entry.message) || entry.message->born_ms == item->born,
            "message %" PRIu64 " was born at another time", entry.sequence);
    assertf(entry.redelivered || !(item->seen || item->out),
            "message %" PRIu64 " is not flagged redelivered: page %u seen %d out %d crashes %u",
            entry.sequence, entry.page, item->seen, item->out, m->crashes);
    m->loaded += entry.page != 0;
    if (no_ack) {
        settled(m, item);
        queue_settle(line->queue, &entry, false);
        return true;
    }
    item->state = TAKEN;
    item->out = true;
    item->leaves = queue_delivery_batch(line->queue, &entry);
    m->taken[m->taken_count++] = (struct taken){entry, line, (size_t)(item - line->items)};
    return true;
}

static void give_back(struct model *m, size_t at)
{
    struct taken taken = m->taken[at];
    struct line *line = taken.line;
    struct item *item = &line->items[taken.index];
    m->taken[at] = m->taken[--m->taken_count];
    if (below(m, 3) == 0) {
        item->state = READY;
        if (line->first > taken.index)
            line->first = taken.index;
        queue_requeue(line->queue, &taken.entry, true);
        m->looked_ms = 0; /* it may be due */
    } else if (line->queue->settings.dead_letters && below(m, 2)) {
        item->state = READY;
        if (line->first > taken.index)
            line->first = taken.index;
        item->rejected = true;
        queue_reject(line->queue, &taken.entry, OUTCOME_REJECTED);
    } else {
        settled(m, item);
        queue_settle(line->queue, &taken.entry, true);
    }
}

static void give_back_all(struct model *m, const struct line *line)
{
    for (size_t i = m->taken_count; i--;)
        if (m->taken[i].line == line)
            give_back(m, i);
}

static void purge(struct model *m, struct line *line)
{
    queue_purge(line->queue);
    while (queue_home_bury(&m->home, 1 + below(m, 50)))
        ;
    for (size_t i = line->first; i < line->count; i++)
        if (line->items[i].state <= MAYBE && !line->items[i].rejected && !is_due(m, &line->items[i]))
            settled(m, &line->items[i]);
}

static void delete_queue(struct model *m, struct line *line)
{
    if (line->durable) {
        struct definition definition = definition_of(line);
        store_undefine(m->store, &definition);
        line->undefined = store_open_batch(m->store);
    }
    give_back_all(m, line);
    queue_delete(&line->queue);
    while (below(m, 3) && queue_home_bury(&m->home, 1 + below(m, 50)))
        ;
    make_queue(m, line);
}

static void check_counts(struct model *m, const struct line *line)
{
    size_t ready = 0, maybe = 0;
    for (size_t i = line->first; i < line->count; i++) {
        const struct item *item = &line->items[i];
        bool sure = item->state == READY && !item->rejected && !is_due(m, item);
        ready += sure;
        maybe += !sure && (item->state == READY || item->state == MAYBE);
    }
    size_t found = queue_ready(line->queue);
    assertf(found >= ready && found <= ready + maybe, "%zu wait, %zu to %zu should", found, ready,
            ready + maybe);
    queue_check(line->queue);
    (void)m;
}

/* --- the disk --- */

static void on_definition(void *arg, const struct definition *definition)
{
    struct model *m = arg;
    struct line *line = &m->lines[definition->id % QUEUES];
    if (line->id != definition->id)
        return; /* deleted in a batch that did not make it, or not made before the crash: judged below */
    line->queue = queue_new(&m->home, SLICE("q"), SLICE(""), line->id);
    queue_make_durable(line->queue);
    configure(line);
}

static struct queue *queue_of(struct model *m, uint64_t id)
{
    struct line *line = &m->lines[id % QUEUES];
    return line->id == id ? line->queue : NULL;
}

static void on_message(void *arg, const struct stored_message *stored, uint64_t batch)
{
    struct model *m = arg;
    struct message *msg = restored_message(&m->pool, stored, batch);
    msg->born_ms = stored->born_ms ? stored->born_ms : m->home.now_ms;
    for (size_t i = 0; i < stored->target_count; i++) {
        struct queue *q = queue_of(m, stored->targets[i].queue_id);
        if (!q)
            continue;
        msg->journal_refs++;
        queue_restore(q, 0, msg, stored->targets[i].sequence, stored->returns[i]);
    }
    if (msg->journal_refs == 0)
        buf_append(&m->unwanted, &batch, sizeof batch);
    message_unref(&m->pool, &msg);
}

static void on_page(void *arg, uint64_t queue_id, uint32_t slot)
{
    struct model *m = arg;
    struct queue *q = queue_of(m, queue_id);
    if (q)
        queue_restore_page(q, slot);
    else
        pages_drop(store_pages(m->store), slot);
}

static void on_delivered(void *arg, uint64_t queue_id, uint64_t sequence)
{
    struct queue *q = queue_of(arg, queue_id);
    if (q)
        queue_restore_delivered(q, 0, sequence);
}

static int try_open(struct model *m)
{
    struct store_options options = {
        .dir = "data", .io = fakedisk_io(m->disk), .segment_bytes = SEGMENT_BYTES, .without_thread = true};
    struct recovery_sink sink = {on_definition, on_message, on_delivered, m, on_page};
    m->unwanted.len = 0;
    uint64_t now = m->home.now_ms;
    slab_pool_init(&m->pool);
    queue_home_init(&m->home, &m->pool, NULL);
    m->home.now_ms = now;
    paging_configure(&m->home.paging, 1 + (uint32_t)below(m, 40), 256 + (uint32_t)below(m, 2000),
                     below(m, 2) ? 1 : 100000000);
    for (size_t i = 0; i < QUEUES; i++)
        m->lines[i].queue = NULL;
    int failed = store_open(&m->store, &options, m->error, sizeof m->error);
    m->home.store = m->store;
    return failed ? failed : store_recover(m->store, &sink, m->error, sizeof m->error);
}

/* Memory is gone, the disk stays. */
static void forget(struct model *m)
{
    m->home.store = NULL;
    m->merged += m->home.paging.merged_pages;
    store_abandon(&m->store);
    while (m->taken_count) {
        struct taken *taken = &m->taken[--m->taken_count];
        queue_settle(taken->line->queue, &taken->entry, true);
    }
    for (size_t i = 0; i < QUEUES; i++)
        if (m->lines[i].queue)
            queue_delete(&m->lines[i].queue);
    queue_home_free(&m->home);
    slab_pool_free(&m->pool);
}

/* What a crash after batch `durable` makes of a message. */
static void judge(struct item *item, bool line_durable, uint64_t durable)
{
    if (!item->persistent || !line_durable) {
        item->state = GONE;
    } else if (item->state == GONE) {
        if (item->settled > durable)
            item->state = MAYBE;
    } else if (item->published > durable || item->state == MAYBE) {
        item->state = MAYBE;
    } else {
        item->state = READY;
    }
    item->seen |= item->out && item->leaves <= durable;
    item->out = item->rejected = false;
    /* What was not confirmed may go with a later crash, too. */
    item->published = item->published > durable ? UINT64_MAX : 0;
}

static void rebuild(struct model *m, struct line *line, uint64_t durable)
{
    for (size_t i = 0; i < line->count; i++)
        judge(&line->items[i], line->durable, durable);
    line->first = 0;
    if (!line->queue) {
        for (size_t i = 0; i < line->count; i++)
            assertf(line->items[i].state != READY, "queue %" PRIu64 " is missing", line->id);
        make_queue(m, line);
        return;
    }
    queue_restored(line->queue, store_open_batch(m->store) << 20);
    check_counts(m, line);
}

static void crash(struct model *m)
{
    uint64_t durable = store_durable(m->store);
    forget(m);
    fakedisk_crash(m->disk, (enum fakedisk_loss)below(m, 3));
    m->crashes++;
    while (below(m, 4) == 0) { /* the plug is pulled while it recovers, too */
        fakedisk_fail_at(m->disk, fakedisk_changes(m->disk) + 1 + below(m, 12), EIO, true);
        int failed = try_open(m);
        assertf(failed == 0 || failed == -EIO, "%s", m->error);
        forget(m);
        fakedisk_crash(m->disk, (enum fakedisk_loss)below(m, 3));
    }
    int failed = try_open(m);
    assertf(failed == 0, "%s", m->error);
    for (size_t at = 0; at < m->unwanted.len; at += sizeof(uint64_t)) {
        uint64_t batch;
        memcpy(&batch, m->unwanted.at + at, sizeof batch);
        store_release(m->store, batch);
    }
    m->id_next = store_queue_id_next(m->store) / QUEUES + 1;
    m->looked_ms = 0;
    for (size_t i = 0; i < QUEUES; i++)
        rebuild(m, &m->lines[i], durable);
}

/* Everything batched is on disk; the plug is pulled now and then. */
static void sync_now(struct model *m)
{
    if (!plug_sync(m->store, m->disk, &m->rand, 12, 14))
        crash(m);
    fakedisk_fail_at(m->disk, 0, 0, false);
}

static void move_outcome(void *arg, struct outcome *outcome)
{
    paging_move(outcome->queue, &outcome->entry, *(const uint64_t *)arg, true);
}

static void move_old(struct model *m)
{
    m->home.mover.looks_max = 1 + (unsigned)below(m, 2);
    uint64_t limit = mover_run(&m->home);
    if (!limit)
        return;
    m->moved++;
    outcomes_walk_old(&m->home, limit, move_outcome, &limit);
    for (size_t i = 0; i < m->taken_count; i++)
        paging_move(m->taken[i].line->queue, &m->taken[i].entry, limit, true);
    mover_finish(&m->home);
}

/* What left is settled, now or in a later batch. */
static void take_outcomes(struct model *m, uint64_t budget)
{
    struct outcome outcome;
    for (; budget > 0 && outcome_take(&m->home, &outcome); budget--) {
        struct line *line = &m->lines[outcome.queue->id % QUEUES];
        m->outcomes++;
        if (line->queue == outcome.queue) {
            struct item *item = find(line, outcome.entry.sequence);
            assertf(item->state == READY || item->state == MAYBE, "message %" PRIu64 " left again: %d",
                    item->sequence, (int)item->state);
            assert(item->rejected == (outcome.reason == OUTCOME_REJECTED));
            assert(item->rejected || (outcome.reason == OUTCOME_EXPIRED && is_due(m, item)));
            check_body(outcome.entry.message, line, item);
            item->rejected = false;
            settled(m, item);
        }
        outcome_settle(&outcome);
    }
}

static void turn(struct model *m)
{
    m->home.now_ms += below(m, 8) ? below(m, 20) : below(m, 300);
    paging_arrive(&m->home);
    bool all = expiry_run(&m->home, m->home.now_ms, 1 + below(m, 400)) > 0;
    m->looked_ms = all ? m->home.now_ms : 0;
    take_outcomes(m, below(m, 200));
    queue_home_bury(&m->home, 20);
    paging_squeeze(&m->home);
    paging_fetch(&m->home);
    move_old(m);
    store_commit(m->store);
    struct store_stats stats;
    store_stats(m->store, &stats);
    m->paged += stats.pages > 0;
}

static void step(struct model *m)
{
    struct line *line = &m->lines[below(m, QUEUES)];
    switch (below(m, 16)) {
    case 0: case 1: case 2:
        for (uint64_t i = below(m, 60); i--;)
            push(m, line);
        break;
    case 3: case 4: case 5:
        if (below(m, 2)) {
            paging_arrive(&m->home);
            m->looked_ms = 0; /* what came may be due */
        }
        for (uint64_t i = below(m, 60); i-- && take(m, line, below(m, 4) == 0);)
            ;
        if (line->queue->order.backlog && queue_ready(line->queue) > 0)
            paging_await(&line->queue->order);
        break;
    case 6: case 7: case 8:
        for (uint64_t i = below(m, 40); i-- && m->taken_count;)
            give_back(m, (size_t)below(m, below(m, 2) ? m->taken_count : 1));
        break;
    case 9:
        if (below(m, 12) == 0)
            purge(m, line);
        else if (below(m, 12) == 0)
            delete_queue(m, line);
        break;
    case 10: case 11: case 12:
        turn(m);
        break;
    case 13: case 14:
        sync_now(m);
        break;
    default:
        check_counts(m, line);
        if (below(m, 30) == 0)
            crash(m);
    }
}

/* With time all that has a deadline goes by itself. */
static void wait_for_deadlines(struct model *m)
{
    for (int i = 0; i < 3000; i++) {
        turn(m);
        store_sync_now(m->store);
    }
    take_outcomes(m, UINT64_MAX);
    for (size_t i = 0; i < QUEUES; i++) {
        const struct line *line = &m->lines[i];
        size_t undying = 0;
        for (size_t j = 0; j < line->count; j++)
            undying += line->items[j].state != GONE && !is_due(m, &line->items[j]);
        assertf(queue_ready(line->queue) <= undying, "queue %" PRIu64 " holds %zu messages, not %zu",
                line->id, queue_ready(line->queue), undying);
        assert(line->queue->order.expiry.dues.count <= 4096);
    }
}

/* All that is left comes out, and nothing else. */
static void drain(struct model *m)
{
    while (m->taken_count)
        give_back(m, 0);
    wait_for_deadlines(m);
    for (size_t i = 0; i < QUEUES; i++) {
        struct line *line = &m->lines[i];
        for (int idle = 0; queue_ready(line->queue) > 0; idle++) {
            assertf(idle < 100000, "%zu messages do not come", queue_ready(line->queue));
            if (take(m, line, true))
                continue;
            paging_await(&line->queue->order);
            turn(m);
            store_sync_now(m->store);
            paging_arrive(&m->home); /* who waits is served before memory is looked after */
            expiry_run(&m->home, m->home.now_ms, SIZE_MAX);
            take_outcomes(m, UINT64_MAX);
        }
        for (size_t j = line->first; j < line->count; j++)
            assertf(line->items[j].state != READY || is_due(m, &line->items[j]),
                    "message %" PRIu64 " is lost", line->items[j].sequence);
    }
    for (int i = 0; i < 20; i++) {
        turn(m);
        store_sync_now(m->store);
    }
    struct store_stats stats;
    store_stats(m->store, &stats);
    assertf(stats.pages == 0 && stats.page_live_bytes == 0, "%u pages are left", stats.pages);
    assertf(stats.page_bytes <= 4 * SEGMENT_BYTES, "%" PRIu64 " bytes of page files are left",
            stats.page_bytes);
}

static void run_round(uint64_t seed)
{
    struct model *m = mem_zalloc(sizeof *m);
    m->rand = rand_seeded(seed);
    m->disk = fakedisk_new(seed);
    m->home.now_ms = 1000000;
    m->id_next = 1;
    int failed = try_open(m);
    assertf(failed == 0, "%s", m->error);
    for (size_t i = 0; i < QUEUES; i++)
        make_queue(m, &m->lines[i]);
    for (int i = 0; i < STEPS; i++)
        step(m);
    drain(m);
    printf("seed %" PRIu64 ": %u crashes, %u messages read back, %u moves, %" PRIu64 " pages merged\n", seed,
           m->crashes, m->loaded, m->moved, m->merged + m->home.paging.merged_pages);
    assert(m->paged > 0 && m->loaded > 0);
    m->home.store = NULL;
    store_close(&m->store);
    for (size_t i = 0; i < QUEUES; i++) {
        queue_delete(&m->lines[i].queue);
        mem_free(m->lines[i].items);
    }
    queue_home_free(&m->home);
    slab_pool_free(&m->pool);
    fakedisk_free(&m->disk);
    buf_free(&m->unwanted);
    mem_free(m);
}

/* Rounds that found something once. */
static const uint64_t regressions[] = {
    6, 1650640320, /* pages were on disk before what the journal said of them: their sequences came again */
    1144941996, /* what a purge found in a thinned page was not acked if not all was persistent */
};

int main(void)
{
    model_rounds(run_round, regressions, array_size(regressions), 40);
    return 0;
}
