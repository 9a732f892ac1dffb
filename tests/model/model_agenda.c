/* model_agenda.c - messages that expire while they are on disk, against a naive list: random expirations from
 * milliseconds to months, time that passes in small and large steps, tiny pages on a fake disk whose plug is
 * pulled at random calls. None goes before its time; when the disk has been given some turns all that were
 * due are gone, each once; dead letters come with their bodies; after a crash nothing confirmed is missing.
 * SEED=n runs one round with that seed; otherwise ROUNDS (2) rounds from a random one. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/rand.h"
#include "queue/lane.h"
#include "queue/paging.h"
#include "store/page_disk.h"
#include "tests/model/plug.h"
#include "tests/model/restored.h"
#include "tests/model/rounds.h"
#include "tests/sim/fakedisk.h"

enum { STEPS = 2000, ITEMS_MAX = 40000, SEGMENT_BYTES = 24 * 1024, QUEUE = 5, QUIET_TURNS = 6000,
       WAIT_MS = 10 /* until what waits for the disk is looked at again, at most */ };

enum state {
    WAITS,
    MAYBE, /* a crash may or may not have taken it, or brought it back */
    GONE,
};

struct item {
    uint64_t deadline_ms, published, settled; /* in which batches */
    enum state state;
    bool persistent;
};

struct model {
    struct fakedisk *disk;
    struct store *store;
    struct slab_pool pool;
    struct queue_home home;
    struct queue *queue; /* NULL = its definition did not make it */
    struct item items[ITEMS_MAX];
    uint32_t count;
    struct rand rand;
    unsigned crashes, dead, damaged;
    bool dead_letters, paged, noted, merged, mixed;
    char error[512];
};

static uint64_t below(struct model *m, uint64_t bound)
{
    return rand_below(&m->rand, bound);
}

static void configure(struct model *m)
{
    struct settings settings = settings_none();
    settings.dead_letters = m->dead_letters;
    queue_make_durable(m->queue);
    queue_configure(m->queue, &settings);
}

static void make_queue(struct model *m)
{
    m->queue = queue_new(&m->home, SLICE("q"), SLICE(""), QUEUE);
    configure(m);
}

static void define(struct model *m)
{
    struct definition definition = {
        .kind = DEFINITION_QUEUE, .id = QUEUE, .vhost = SLICE("/"), .name = SLICE("q")};
    make_queue(m);
    store_define(m->store, &definition);
}

/* A property expiration. */
static struct slice props_of(uint64_t ms, char bytes[32])
{
    int len = snprintf(bytes + 3, 24, "%" PRIu64, ms);
    assert(len > 0 && len < 24);
    bytes[0] = 1, bytes[1] = 0, bytes[2] = (char)len;
    return slice_of(bytes, 3 + (size_t)len);
}

static void push(struct model *m)
{
    static const uint64_t scales_ms[] = {30, 1000, 20000, 120000, 7200000, 86400000, 3456000000};
    char bytes[32];
    struct queue *q = m->queue;
    if (m->count == ITEMS_MAX)
        return;
    struct item *item = &m->items[m->count];
    uint64_t ms = below(m, scales_ms[below(m, array_size(scales_ms))]), size = 4 + below(m, 60);
    *item = (struct item){.deadline_ms = m->home.now_ms + ms, .persistent = !m->mixed || below(m, 4) > 0};
    struct message *msg = message_new(&m->pool, SLICE(""), SLICE("k"), props_of(ms, bytes), size);
    memset(message_body_at(msg), 'x', size);
    memcpy(message_body_at(msg), &m->count, sizeof(m->count));
    msg->born_ms = m->home.now_ms;
    msg->persistent = item->persistent;
    item->published = store_open_batch(m->store);
    if (item->persistent) {
        struct stored_target target = lane_target(q, msg);
        struct stored_message record = {&target,            1, message_exchange(msg), message_key(msg),
                                        message_props(msg), message_body(msg)};
        record.born_ms = msg->born_ms;
        msg->batch = store_message(m->store, &record);
        msg->journal_refs = 1;
    }
    queue_push(q, msg, item->persistent);
    message_unref(&m->pool, &msg);
    m->count++;
}

/* With dead letters each that leaves is seen. */
static void take_outcomes(struct model *m, uint64_t budget)
{
    struct outcome outcome;
    for (; budget > 0 && outcome_take(&m->home, &outcome); budget--) {
        uint32_t index;
        memcpy(&index, message_body(outcome.entry.message).at, sizeof(index));
        assertf(index < m->count && outcome.reason == OUTCOME_EXPIRED, "message %u", index);
        struct item *item = &m->items[index];
        assertf(item->state != GONE, "message %u expires twice", index);
        assertf(item->deadline_ms < m->home.now_ms, "message %u goes early", index);
        assert(outcome.entry.message->body_size == sizeof(index) ||
               message_body(outcome.entry.message).at[sizeof(index)] == 'x');
        item->state = GONE;
        item->settled = store_open_batch(m->store);
        m->dead++;
        outcome_settle(&outcome);
    }
}

/* --- crashes --- */

static void on_definition(void *arg, const struct definition *definition)
{
    assert(definition->id == QUEUE);
    make_queue(arg);
}

static void on_message(void *arg, const struct stored_message *stored, uint64_t batch)
{
    struct model *m = arg;
    struct message *msg = restored_message(&m->pool, stored, batch);
    assert(stored->target_count == 1 && m->queue && stored->born_ms > 0);
    msg->journal_refs = 1;
    queue_restore(m->queue, 0, msg, stored->targets[0].sequence, stored->returns[0]);
    message_unref(&m->pool, &msg);
}

static void on_page(void *arg, uint64_t queue_id, uint32_t slot)
{
    struct model *m = arg;
    assert(queue_id == QUEUE);
    queue_restore_page(m->queue, slot);
}

static void on_delivered(void *arg, uint64_t queue_id, uint64_t sequence)
{
    (void)arg, (void)queue_id, (void)sequence;
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
    m->home.agenda.runs.gathered_max = 1 + (uint32_t)below(m, below(m, 2) ? 1000 : 30);
    m->home.agenda.runs.part_max = 1 + (uint32_t)below(m, below(m, 2) ? RUNS_PART_NOTES : 10);
    m->home.agenda.runs.run_max = 2 + below(m, 100);
    m->home.agenda.runs.stale_min = 1 + (uint32_t)below(m, 2000);
    m->queue = NULL;
    paging_configure(&m->home.paging, 1 + (uint32_t)below(m, 40), 256 + (uint32_t)below(m, 4000),
                     below(m, 3) ? 1 : 100000000);
    int failed = store_open(&m->store, &options, m->error, sizeof(m->error));
    m->home.store = m->store;
    return failed ? failed : store_recover(m->store, &sink, m->error, sizeof(m->error));
}

static void forget(struct model *m)
{
    m->home.store = NULL;
    store_abandon(&m->store);
    if (m->queue)
        queue_delete(&m->queue);
    queue_home_free(&m->home);
    slab_pool_free(&m->pool);
}

/* What a crash after batch `durable` makes of a message. Without dead letters nobody saw what has left. */
static void judge(const struct model *m, struct item *item, uint64_t durable)
{
    if (!item->persistent)
        item->state = GONE;
    else if (item->state == GONE)
        item->state = item->settled > durable ? MAYBE : GONE;
    else if (item->published > durable || !m->dead_letters)
        item->state = item->published > durable || item->deadline_ms < m->home.now_ms ? MAYBE : WAITS;
    item->published = item->published > durable ? UINT64_MAX : 0;
}

static void crash(struct model *m)
{
    uint64_t durable = store_durable(m->store);
    forget(m);
    fakedisk_crash(m->disk, (enum fakedisk_loss)below(m, 3));
    m->crashes++;
    for (uint32_t i = 0; i < m->count; i++)
        judge(m, &m->items[i], durable);
    m->home.now_ms += below(m, 3) ? below(m, 1000) : below(m, 20000000);
    int failed = try_open(m);
    assertf(failed == 0, "%s", m->error);
    if (!m->queue)
        define(m);
    else
        queue_restored(m->queue, store_open_batch(m->store) << SEQUENCES_PER_BATCH_BITS);
}

/* --- the turn --- */

static void sync_now(struct model *m)
{
    if (!plug_sync(m->store, m->disk, &m->rand, 60, 14))
        crash(m);
    fakedisk_fail_at(m->disk, 0, 0, false);
}

static void move_outcome(void *arg, struct outcome *outcome)
{
    paging_move(outcome->queue, &outcome->entry, *(const uint64_t *)arg, true);
}

static void turn(struct model *m, uint64_t later_ms)
{
    m->home.now_ms += later_ms;
    paging_arrive(&m->home);
    expiry_run(&m->home, m->home.now_ms, 1 + below(m, 400));
    take_outcomes(m, below(m, 400));
    queue_home_bury(&m->home, 50);
    paging_squeeze(&m->home);
    paging_fetch(&m->home);
    uint64_t limit = store_sparse_batch(m->store);
    if (limit) {
        paging_move_waiting(m->queue, limit), delays_move(&m->home.delays, limit);
        outcomes_walk_old(&m->home, limit, move_outcome, &limit);
        mover_finish(&m->home);
    }
    store_commit(m->store);
    struct store_stats stats;
    store_stats(m->store, &stats);
    m->paged |= stats.pages > 0;
    m->noted |= m->home.agenda.runs.count > 0;
    m->merged |= m->home.agenda.runs.merge != NULL;
    if (below(m, 2) == 0)
        sync_now(m);
}

/* As many wait as should: of those that are to wait longer none is missing, of the others none is left. */
static void check(struct model *m, uint64_t due_before_ms)
{
    size_t waits = 0, maybe = 0;
    for (uint32_t i = 0; i < m->count; i++) {
        const struct item *item = &m->items[i];
        bool left = item->state == GONE || item->deadline_ms < due_before_ms;
        waits += !left && item->state == WAITS && item->deadline_ms >= m->home.now_ms;
        maybe += !left;
    }
    size_t found = queue_ready(m->queue);
    assertf(found >= waits && found <= maybe, "%zu wait, %zu to %zu should", found, waits, maybe);
    queue_check(m->queue);
}

/* After a crash pages are read one by one; after a long time groups of notes are dealt turn by turn. */
static bool is_busy(const struct model *m, uint64_t now_ms)
{
    const struct expiry *expiry = &m->queue->order.expiry;
    for (size_t i = 0; i < EXPIRY_PAGES; i++)
        if (expiry->pages[i])
            return true;
    if (store_pages(m->store)->loader.under_way > 0 || !list_empty(&m->home.agenda.runs.waiting))
        return true; /* a turn will be woken by what is read, or on disk */
    return expiry->reading > 0 || agenda_next_ms(&m->home) <= m->home.now_ms + WAIT_MS ||
           (expiry->unread.count > 0 && expiry->unread.at[0].deadline_ms < now_ms);
}

static void settle_down(struct model *m)
{
    uint64_t now_ms = m->home.now_ms;
    unsigned crashes = m->crashes;
    size_t unread = SIZE_MAX;
    for (int i = 0; i < QUIET_TURNS && (i < 300 || is_busy(m, now_ms)); i++) {
        turn(m, below(m, 4));
        if (m->crashes != crashes || m->queue->order.expiry.unread.count < unread) /* it goes on */
            i = 0, crashes = m->crashes, unread = m->queue->order.expiry.unread.count;
    }
    take_outcomes(m, UINT64_MAX);
    for (uint32_t i = 0; i < m->count && m->dead_letters; i++)
        assertf(m->items[i].state != WAITS || m->items[i].deadline_ms >= now_ms,
                "message %u is %" PRIu64 " ms late", i, now_ms - m->items[i].deadline_ms);
    check(m, now_ms);
}

static void pass_time(struct model *m)
{
    static const uint64_t steps_ms[] = {10, 200, 5000, 30000, 100000, 5000000, 100000000};
    uint64_t dice = below(m, 100);
    turn(m, below(m, dice < 80 ? 10 : steps_ms[below(m, array_size(steps_ms))]));
    check(m, 0);
}

/* Some notes on disk are not what was written: all are gathered anew when they are read. */
static void damage_notes(struct model *m)
{
    const struct runs *runs = &m->home.agenda.runs;
    char path[256];
    if (list_empty(&runs->all))
        return;
    const struct run *run = list_first(&runs->all, struct run, link);
    if (run->pages.size == 0)
        return;
    const struct page *page = pages_at(store_pages(m->store), run_page_ring_at(&run->pages, 0)->slot);
    if (page->batch > store_durable(m->store))
        return;
    bool fits = page_disk_path("data", page->file->number, path, sizeof(path));
    struct slice bytes = fakedisk_get(m->disk, path);
    assert(fits && bytes.len >= page->offset + page->bytes);
    struct buf damaged = {0};
    buf_append_slice(&damaged, bytes);
    size_t first = page->offset + PAGE_HEADER_BYTES + PAGE_RECORD_HEADER_BYTES;
    damaged.at[first + below(m, page->bytes - PAGE_HEADER_BYTES - PAGE_RECORD_HEADER_BYTES)] ^= 1;
    fakedisk_put(m->disk, path, buf_slice(&damaged));
    buf_free(&damaged);
    m->damaged++;
}

static void run_round(uint64_t seed)
{
    struct model *m = mem_zalloc(sizeof(*m));
    m->rand = rand_seeded(seed);
    m->disk = fakedisk_new(seed);
    m->home.now_ms = 1700000000000;
    m->dead_letters = below(m, 2);
    m->mixed = below(m, 2);
    int failed = try_open(m);
    assertf(failed == 0, "%s", m->error);
    define(m);
    for (int i = 0; i < STEPS; i++) {
        for (uint64_t n = below(m, 40); n > 0; n--)
            push(m);
        pass_time(m);
        if (below(m, 200) == 0)
            settle_down(m);
        if (below(m, 300) == 0)
            damage_notes(m);
        if (below(m, 500) == 0)
            crash(m);
    }
    for (int i = 0; i < 2000 && queue_ready(m->queue) > 0; i++) {
        if (expiry_next_ms(&m->home) > m->home.now_ms && expiry_next_ms(&m->home) != UINT64_MAX)
            m->home.now_ms = expiry_next_ms(&m->home) + below(m, 1000000000);
        settle_down(m);
    }
    assertf(queue_ready(m->queue) == 0, "%zu never go", queue_ready(m->queue));
    printf("seed %" PRIu64 ": %u crashes, %u times damaged, %u messages, %u dead letters\n", seed, m->crashes,
           m->damaged, m->count, m->dead);
    assert(m->paged && m->noted && m->merged);
    m->home.store = NULL;
    store_close(&m->store);
    queue_delete(&m->queue);
    queue_home_free(&m->home);
    slab_pool_free(&m->pool);
    fakedisk_free(&m->disk);
    mem_free(m);
}

/* Rounds that once failed: bytes of messages on their way out of a page were missing in its row after a
 * crash; the row of a page
 * that was read early forgot the time of what was on its way out. */
static const uint64_t found_seeds[] = {306, 325, 1789983863};

int main(void)
{
    model_rounds(run_round, found_seeds, array_size(found_seeds), 2);
    return 0;
}
