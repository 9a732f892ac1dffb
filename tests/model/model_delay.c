/* model_delay.c - a calendar against a naive list: messages with random delays, from milliseconds to months,
 * time that passes in small and large steps, tiny pages on a fake disk whose plug is pulled at random calls,
 * messages that are listed and cancelled wherever they are. What is due comes, never before its time, once;
 * after a crash nothing confirmed is missing and nothing settled on disk comes again. SEED=n runs one round
 * with that seed; otherwise ROUNDS (40) rounds from a random one. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/rand.h"
#include "queue/delay_look.h"
#include "queue/lane.h"
#include "queue/paging.h"
#include "tests/model/plug.h"
#include "tests/model/restored.h"
#include "tests/model/rounds.h"
#include "tests/sim/fakedisk.h"

enum { STEPS = 3000, ITEMS_MAX = 40000, SEGMENT_BYTES = 24 * 1024, CALENDAR = 7, QUIET_TURNS = 4000 };

enum state {
    WAITS,
    MAYBE, /* a crash may or may not have taken it, or brought it back */
    GONE,
};

struct item {
    uint64_t due_ms, published, settled; /* in which batches */
    size_t body_size;
    enum state state;
    bool persistent, listed;
};

struct model {
    struct fakedisk *disk;
    struct store *store;
    struct slab_pool pool;
    struct queue_home home;
    struct delay *delay; /* NULL = its definition did not make it */
    struct item items[ITEMS_MAX];
    uint32_t count, wanted; /* wanted: the one to be cancelled */
    struct rand rand;
    unsigned crashes, came, cancelled, listed, moved;
    bool paged;
    char error[512];
};

static uint64_t below(struct model *m, uint64_t bound)
{
    return rand_below(&m->rand, bound);
}

static struct definition definition_of(void)
{
    return (struct definition){
        .kind = DEFINITION_QUEUE, .id = CALENDAR, .vhost = SLICE("/"), .name = SLICE("calendar")};
}

static void define(struct model *m)
{
    struct definition definition = definition_of();
    m->delay = delay_new(&m->home, CALENDAR, NULL, true);
    store_define(m->store, &definition);
}

static struct item *item_of(struct model *m, const struct message *msg)
{
    uint32_t index;
    assertf(msg->body_size >= sizeof(index), "%u bytes", msg->body_size);
    memcpy(&index, message_body(msg).at, sizeof(index));
    assertf(index < m->count, "message %u of %u", index, m->count);
    struct item *item = &m->items[index];
    assertf(item->body_size == msg->body_size && item->due_ms == msg->born_ms, "message %u differs", index);
    assert(item->persistent == msg->persistent);
    return item;
}

static void push(struct model *m)
{
    static const uint64_t scales_ms[] = {1, 100, 3000, 60000, 7200000, 86400000, 3456000000};
    if (m->count == ITEMS_MAX)
        return;
    struct item *item = &m->items[m->count];
    *item = (struct item){.body_size = 4 + below(m, below(m, 20) ? 40 : 3000), .persistent = below(m, 8) > 0};
    item->due_ms = m->home.now_ms + below(m, scales_ms[below(m, array_size(scales_ms))]);
    struct message *msg = message_new(&m->pool, SLICE("x"), SLICE("k"), SLICE("\0\0"), item->body_size);
    memset(message_body_at(msg), 'x', item->body_size);
    memcpy(message_body_at(msg), &m->count, sizeof(m->count));
    msg->persistent = item->persistent;
    delay_push(m->delay, msg, item->due_ms);
    item->published = store_open_batch(m->store);
    assert(!msg->persistent || msg->batch == item->published);
    message_unref(&m->pool, &msg);
    m->count++;
}

static void settled(struct model *m, struct item *item)
{
    assertf(item->state != GONE, "message %td comes twice", item - m->items);
    item->state = GONE;
    item->settled = store_open_batch(m->store);
}

static void take_due(struct model *m, uint64_t budget)
{
    struct delayed delayed;
    for (; budget > 0 && delay_take(&m->home.delays, m->home.now_ms, &delayed); budget--) {
        struct item *item = item_of(m, delayed.entry.message);
        assertf(item->due_ms <= m->home.now_ms, "%" PRIu64 " ms early", item->due_ms - m->home.now_ms);
        assert(delay_of(&delayed) == m->delay);
        settled(m, item);
        m->came++;
        delay_settle(&delayed);
    }
}

/* --- looking --- */

static bool lists(void *arg, const struct delay *delay, const struct message *msg)
{
    struct model *m = arg;
    assert(delay == m->delay);
    item_of(m, msg)->listed = true;
    m->listed++;
    return false;
}

static bool cancels(void *arg, const struct delay *delay, const struct message *msg)
{
    struct model *m = arg;
    struct item *item = item_of(m, msg);
    assert(delay == m->delay);
    if (item != &m->items[m->wanted] || item->state == GONE)
        return false;
    settled(m, item);
    m->cancelled++;
    return true;
}

static void turn(struct model *m, uint64_t later_ms);

/* Time stands still, so what waits waits. */
static void look(struct model *m, struct delay_look *look)
{
    unsigned crashes = m->crashes;
    bool begun = delay_look_begin(look, &m->home);
    assert(begun);
    for (int i = 0; !look->done && i < 20 * QUIET_TURNS; i++) {
        delay_look_step(look);
        if (below(m, 3) == 0)
            turn(m, 0);
        if (m->crashes != crashes)
            return; /* and with it the look */
    }
    assertf(look->done, "a look that never ends");
    delay_look_end(look);
}

static void list_all(struct model *m)
{
    struct delay_look all = {.picks = lists, .arg = m};
    unsigned crashes = m->crashes, came = m->came;
    for (uint32_t i = 0; i < m->count; i++)
        m->items[i].listed = false;
    look(m, &all);
    for (uint32_t i = 0; i < m->count && m->crashes == crashes && m->came == came; i++)
        assertf(m->items[i].listed ? m->items[i].state != GONE : m->items[i].state != WAITS,
                "message %u, state %d, listed %d", i, m->items[i].state, m->items[i].listed);
}

static void cancel_one(struct model *m)
{
    if (m->count == 0)
        return;
    for (int i = 0; i < 20 && (i == 0 || m->items[m->wanted].state != WAITS); i++)
        m->wanted = (uint32_t)below(m, m->count); /* mostly one that waits */
    const struct item *item = &m->items[m->wanted];
    struct delay_look one = {.picks = cancels, .arg = m, .id = CALENDAR, .due_ms = item->due_ms};
    unsigned crashes = m->crashes;
    look(m, &one);
    assertf(m->crashes != crashes || item->state != WAITS, "message %u was not found", m->wanted);
}

/* --- crashes --- */

static void on_definition(void *arg, const struct definition *definition)
{
    struct model *m = arg;
    assert(definition->id == CALENDAR);
    m->delay = delay_new(&m->home, CALENDAR, NULL, true);
}

static void on_message(void *arg, const struct stored_message *stored, uint64_t batch)
{
    struct model *m = arg;
    struct message *msg = restored_message(&m->pool, stored, batch);
    assert(stored->target_count == 1 && m->delay);
    msg->journal_refs = 1;
    delay_restore(m->delay, lane_of_id(stored->targets[0].queue_id), msg, stored->targets[0].sequence);
    message_unref(&m->pool, &msg);
}

static void on_page(void *arg, uint64_t queue_id, uint32_t slot)
{
    struct model *m = arg;
    assert((queue_id & STORE_QUEUE_ID_MAX) == CALENDAR);
    delay_restore_page(m->delay, slot);
}

static void on_delivered(void *arg, uint64_t queue_id, uint64_t sequence)
{
    (void)arg, (void)queue_id, (void)sequence; /* after a loss in the journal only */
}

static int try_open(struct model *m)
{
    struct store_options options = {
        .dir = "data", .io = fakedisk_io(m->disk), .segment_bytes = SEGMENT_BYTES, .without_thread = true};
    struct recovery_sink sink = {on_definition, on_message, on_delivered, m, on_page, NULL};
    uint64_t now_ms = m->home.now_ms;
    slab_pool_init(&m->pool);
    queue_home_init(&m->home, &m->pool, NULL);
    m->home.now_ms = now_ms;
    m->delay = NULL;
    paging_configure(&m->home.paging, 1 + (uint32_t)below(m, 40), 256 + (uint32_t)below(m, 2000),
                     below(m, 2) ? 1 : 100000000);
    int failed = store_open(&m->store, &options, m->error, sizeof(m->error));
    m->home.store = m->store;
    return failed ? failed : store_recover(m->store, &sink, m->error, sizeof(m->error));
}

/* Memory is gone, the disk stays. */
static void forget(struct model *m)
{
    m->home.store = NULL;
    store_abandon(&m->store);
    if (m->home.delays.look)
        delay_look_end(m->home.delays.look);
    if (m->delay)
        delay_delete(&m->delay);
    queue_home_free(&m->home);
    slab_pool_free(&m->pool);
}

/* What a crash after batch `durable` makes of a message. */
static void judge(struct item *item, uint64_t durable)
{
    if (!item->persistent)
        item->state = GONE;
    else if (item->state == GONE)
        item->state = item->settled > durable ? MAYBE : GONE;
    else if (item->published > durable)
        item->state = MAYBE;
    item->published = item->published > durable ? UINT64_MAX : 0;
}

static void crash(struct model *m)
{
    uint64_t durable = store_durable(m->store);
    forget(m);
    fakedisk_crash(m->disk, (enum fakedisk_loss)below(m, 3));
    m->crashes++;
    m->home.now_ms += below(m, 3) ? below(m, 1000) : below(m, 200000000);
    while (below(m, 4) == 0) { /* the plug is pulled while it recovers, too */
        fakedisk_fail_at(m->disk, fakedisk_changes(m->disk) + 1 + below(m, 12), EIO, true);
        int failed = try_open(m);
        assertf(failed == 0 || failed == -EIO, "%s", m->error);
        forget(m);
        fakedisk_crash(m->disk, (enum fakedisk_loss)below(m, 3));
    }
    int failed = try_open(m);
    assertf(failed == 0, "%s", m->error);
    for (uint32_t i = 0; i < m->count; i++)
        judge(&m->items[i], durable);
    if (!m->delay)
        define(m);
    else
        delay_restored(m->delay, store_open_batch(m->store) << SEQUENCES_PER_BATCH_BITS);
    delay_check(m->delay);
}

/* --- the turn --- */

static void sync_now(struct model *m)
{
    if (!plug_sync(m->store, m->disk, &m->rand, 60, 14))
        crash(m);
    fakedisk_fail_at(m->disk, 0, 0, false);
}

static void turn(struct model *m, uint64_t later_ms)
{
    m->home.now_ms += later_ms;
    paging_arrive(&m->home);
    delay_run(&m->home.delays, m->home.now_ms);
    take_due(m, below(m, 400));
    queue_home_bury(&m->home, 50);
    paging_squeeze(&m->home);
    paging_fetch(&m->home);
    uint64_t limit = store_sparse_batch(m->store);
    if (limit) {
        m->moved++;
        delays_move(&m->home.delays, limit);
    }
    store_commit(m->store);
    struct store_stats stats;
    store_stats(m->store, &stats);
    m->paged |= stats.pages > 0;
    if (below(m, 2) == 0)
        sync_now(m);
}

/* All that is due comes within some turns, though time stands still but for the milliseconds that waiting for
 * the disk takes. */
static void settle_down(struct model *m)
{
    for (int i = 0; i < QUIET_TURNS && delay_next_ms(&m->home.delays) <= m->home.now_ms; i++)
        turn(m, below(m, 4));
    uint64_t now_ms = m->home.now_ms;
    for (int i = 0; i < 200; i++)
        turn(m, 1);
    for (uint32_t i = 0; i < m->count; i++)
        assertf(m->items[i].state != WAITS || m->items[i].due_ms > now_ms,
                "message %u is %" PRIu64 " ms late", i, now_ms - m->items[i].due_ms);
    delay_check(m->delay);
}

static void pass_time(struct model *m)
{
    static const uint64_t steps_ms[] = {10, 200, 5000, 100000, 5000000, 100000000};
    uint64_t dice = below(m, 100);
    turn(m, below(m, dice < 60 ? 10 : steps_ms[below(m, array_size(steps_ms))]));
}

static void step(struct model *m)
{
    uint64_t dice = below(m, 1000);
    if (dice < 700)
        for (uint64_t i = below(m, 12); i > 0; i--)
            push(m);
    if (dice < 990)
        pass_time(m);
    else if (dice < 993)
        settle_down(m);
    else if (dice < 994)
        list_all(m);
    else if (dice < 999)
        cancel_one(m);
    else
        crash(m);
}

static void run_round(uint64_t seed)
{
    struct model *m = mem_zalloc(sizeof(*m));
    m->rand = rand_seeded(seed);
    m->disk = fakedisk_new(seed);
    m->home.now_ms = 1700000000000;
    int failed = try_open(m);
    assertf(failed == 0, "%s", m->error);
    define(m);
    for (int i = 0; i < STEPS; i++)
        step(m);
    list_all(m);
    for (int i = 0; i < 1000 && m->home.delays.count > 0; i++) {
        if (delay_next_ms(&m->home.delays) > m->home.now_ms)
            m->home.now_ms = delay_next_ms(&m->home.delays) + below(m, 1000000000);
        settle_down(m);
    }
    assertf(m->home.delays.count == 0, "%zu never came", m->home.delays.count);
    printf("seed %" PRIu64 ": %u crashes, %u messages, %u came, %u cancelled, %u listed, %u moves\n", seed,
           m->crashes, m->count, m->came, m->cancelled, m->listed, m->moved);
    assert(m->paged && m->came > 0);
    m->home.store = NULL;
    store_close(&m->store);
    delay_delete(&m->delay);
    queue_home_free(&m->home);
    slab_pool_free(&m->pool);
    fakedisk_free(&m->disk);
    mem_free(m);
}

/* Rounds that once failed: what was long due was not found to be cancelled while it took its turn. */
static const uint64_t found_seeds[] = {2, 35};

int main(void)
{
    model_rounds(run_round, found_seeds, array_size(found_seeds), 40);
    return 0;
}
