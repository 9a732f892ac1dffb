/* model_space.c - space comes back: whatever is published, acked, requeued and kept, soon after the clients
 * are still the directory is no more than twice what is needed plus a fixed journal; and one old message
 * never holds on to more than a segment. Small segments and pages on a fake disk. SEED=n runs one round with
 * that seed; otherwise ROUNDS (20) rounds from a random one. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/rand.h"
#include "queue/paging.h"
#include "tests/model/rounds.h"
#include "tests/sim/fakedisk.h"

enum {
    SEGMENT_BYTES = 64 * 1024,
    PAGE_BYTES = 4096,
    FIXED_BYTES = 20 * SEGMENT_BYTES, /* segments in use and spare ones, and a page file */
    MESSAGES = 20000,
    SEGMENTS_USED_MAX = 2, /* with nothing held: the newest, and one whose end is not on disk yet */
    SEGMENTS_HELD_MAX = SEGMENTS_USED_MAX + 1,
    QUEUES_MAX = 60,
    SETTLE_TURNS = 3000,
    RECORD_BYTES = 60, /* of a record beside its body: at most */
};

struct taken {
    struct queue *queue;
    struct entry entry;
};

struct model {
    struct fakedisk *disk;
    struct store *store;
    struct slab_pool pool;
    struct queue_home home;
    struct queue *queues[QUEUES_MAX];
    size_t queue_count;
    struct rand rand;
    struct taken *taken;
    size_t taken_count;
    uint64_t live_bytes; /* of what is not acked */
    uint64_t thinned, moved;
};

static uint64_t below(struct model *m, uint64_t bound)
{
    return rand_below(&m->rand, bound);
}

static void ignore_definition(void *arg, const struct definition *definition)
{
    (void)arg, (void)definition;
}

static void begin(struct model *m, uint64_t seed)
{
    char error[256];
    *m = (struct model){.rand = rand_seeded(seed), .disk = fakedisk_new(seed)};
    struct store_options options = {
        .dir = "data", .io = fakedisk_io(m->disk), .segment_bytes = SEGMENT_BYTES, .without_thread = true};
    struct recovery_sink sink = {.definition = ignore_definition};
    slab_pool_init(&m->pool);
    int failed = store_open(&m->store, &options, error, sizeof error);
    assertf(failed == 0, "%s", error);
    failed = store_recover(m->store, &sink, error, sizeof error);
    assertf(failed == 0, "%s", error);
    queue_home_init(&m->home, &m->pool, m->store);
    paging_configure(&m->home.paging, 64, PAGE_BYTES, 64 * 1024);
    m->queue_count = below(m, 2) ? 1 : 2 + below(m, QUEUES_MAX - 1);
    for (size_t i = 0; i < m->queue_count; i++) {
        char name[16];
        snprintf(name, sizeof name, "q%zu", i);
        m->queues[i] = queue_new(&m->home, slice_of_string(name), SLICE(""), i + 1);
        m->queues[i]->durable = true;
        struct definition definition = {
            .kind = DEFINITION_QUEUE, .id = i + 1, .vhost = SLICE("/"), .name = m->queues[i]->name};
        store_define(m->store, &definition);
    }
    m->taken = mem_alloc(2 * MESSAGES * sizeof *m->taken);
}

static void settle_last(struct model *m)
{
    struct taken *taken = &m->taken[--m->taken_count];
    queue_settle(taken->queue, &taken->entry, true);
}

static void finish(struct model *m)
{
    m->home.store = NULL;
    store_close(&m->store);
    while (m->taken_count)
        settle_last(m);
    for (size_t i = 0; i < m->queue_count; i++)
        queue_delete(&m->queues[i]);
    queue_home_free(&m->home);
    slab_pool_free(&m->pool);
    fakedisk_free(&m->disk);
    mem_free(m->taken);
}

static void turn(struct model *m)
{
    paging_arrive(&m->home);
    queue_home_bury(&m->home, 1000);
    paging_squeeze(&m->home);
    paging_fetch(&m->home);
    uint64_t limit = mover_run(&m->home);
    if (limit) {
        for (size_t i = 0; i < m->taken_count; i++)
            paging_move(m->taken[i].queue, &m->taken[i].entry, limit, true);
        mover_finish(&m->home);
    }
    store_commit(m->store);
    store_sync_now(m->store);
}

static uint64_t size_of(const struct message *msg)
{
    return msg->body_size + RECORD_BYTES;
}

static void publish(struct model *m)
{
    struct queue *q = m->queues[below(m, m->queue_count)];
    struct stored_target target = {q->id, q->order.next_sequence};
    struct message *msg = message_new(&m->pool, SLICE(""), SLICE("q"), SLICE(""), below(m, 300));
    memset(message_body_at(msg), 'x', msg->body_size);
    msg->persistent = true;
    msg->batch = store_message(m->store, &(struct stored_message){&target, 1, message_exchange(msg),
                                                                  message_key(msg), message_props(msg),
                                                                  message_body(msg)});
    msg->journal_refs = 1;
    m->live_bytes += size_of(msg);
    queue_push(q, msg, true);
    message_unref(&m->pool, &msg);
}

/* A queue in which something waits, NULL when nothing does. */
static struct queue *waiting(struct model *m)
{
    size_t first = below(m, m->queue_count);
    for (size_t i = 0; i < m->queue_count; i++) {
        struct queue *q = m->queues[(first + i) % m->queue_count];
        if (queue_ready(q) > 0)
            return q;
    }
    return NULL;
}

/* Takes the next message of a queue, wherever it is; false when nothing waits. */
static bool take(struct model *m)
{
    struct queue *q = waiting(m);
    struct taken *taken = &m->taken[m->taken_count];
    if (!q)
        return false;
    taken->queue = q;
    while (!queue_get(q, false, &taken->entry)) {
        paging_await(&q->order);
        turn(m);
        paging_arrive(&m->home);
    }
    m->taken_count++;
    return true;
}

static void ack(struct model *m, size_t at)
{
    struct taken taken = m->taken[at];
    m->taken[at] = m->taken[--m->taken_count];
    m->live_bytes -= size_of(taken.entry.message);
    queue_settle(taken.queue, &taken.entry, true);
}

static uint64_t disk_bytes(struct model *m, struct store_stats *stats)
{
    store_stats(m->store, stats);
    return stats->journal_bytes + stats->page_bytes;
}

static bool is_small(struct model *m)
{
    struct store_stats stats;
    return disk_bytes(m, &stats) <= 2 * m->live_bytes + FIXED_BYTES;
}

/* Nothing happens any more but what the broker does by itself. */
static void settle(struct model *m, const char *when)
{
    struct store_stats stats;
    for (int i = 0; i < SETTLE_TURNS && !is_small(m); i++)
        turn(m);
    uint64_t disk = disk_bytes(m, &stats);
    assertf(is_small(m),
            "%s: %" PRIu64 " bytes on disk (journal %" PRIu64 " in %u segments, pages %" PRIu64
            ", of these %" PRIu64 " needed) for %" PRIu64,
            when, disk, stats.journal_bytes, stats.segments, stats.page_bytes, stats.page_live_bytes,
            m->live_bytes);
    m->thinned = stats.thinned_bytes;
    m->moved = stats.moved_bytes;
}

/* Publishes, and turns now and then. */
static void fill(struct model *m, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        publish(m);
        if (below(m, 30) == 0)
            turn(m);
    }
}

/* Every `keep`-th message stays with the consumer, in no order the others are acked. */
static void ack_most(struct model *m, uint64_t keep)
{
    for (size_t i = m->taken_count; i--;)
        if (below(m, keep) > 0) {
            ack(m, i);
            if (below(m, 30) == 0)
                turn(m);
        }
}

static void requeue_all(struct model *m)
{
    while (m->taken_count) {
        struct taken *taken = &m->taken[--m->taken_count];
        queue_requeue(taken->queue, &taken->entry, true);
    }
}

static void mix(struct model *m)
{
    uint64_t keep = 2 + below(m, 60);
    fill(m, MESSAGES);
    settle(m, "filled");
    for (size_t left = MESSAGES - below(m, MESSAGES / 2); left > 0; left--)
        take(m);
    ack_most(m, keep);
    settle(m, "mostly acked");
    if (below(m, 2))
        requeue_all(m);
    fill(m, below(m, MESSAGES / 2));
    settle(m, "filled again");
    while (take(m))
        ;
    ack_most(m, 1000);
    settle(m, "acked but for a few");
    assert(m->thinned > 0);
}

/* What comes is done with at once, but for what was taken before. Returns the most segments in use. */
static unsigned keep_up(struct model *m, size_t held)
{
    struct store_stats stats;
    unsigned most = 0;
    for (int i = 0; i < MESSAGES; i++) {
        for (uint64_t burst = 1 + (i % 8 == 0 ? below(m, 40) : 0); burst > 0; burst--)
            publish(m);
        while (take(m))
            ack(m, held);
        if (below(m, 10) == 0)
            turn(m);
        uint64_t written = disk_bytes(m, &stats);
        assertf(written <= FIXED_BYTES, "one message holds on to %" PRIu64 " bytes", written);
        /* Whose consumer keeps up is written once. */
        assertf(stats.page_bytes == 0, "%u pages of a consumer that keeps up", stats.pages);
        most = stats.segments > most ? stats.segments : most;
    }
    assert(stats.moved_bytes < stats.record_bytes / 100);
    m->moved = stats.moved_bytes;
    return most;
}

/* One message is kept while all that comes later is done with: it holds on to one segment, at most. */
static void hold_one(struct model *m)
{
    unsigned without = keep_up(m, 0);
    assertf(without <= SEGMENTS_USED_MAX, "%u segments, and nothing is held", without);
    publish(m);
    turn(m);
    take(m);
    unsigned with = keep_up(m, 1);
    printf("%u segments in use, %u while one message is held\n", without, with);
    assertf(with <= SEGMENTS_HELD_MAX, "one message holds on to %u segments", with - without);
}

static void run_round(uint64_t seed)
{
    struct model m;
    begin(&m, seed);
    if (seed % 4)
        mix(&m);
    else
        hold_one(&m);
    printf("seed %" PRIu64 ": %zu queues, %" PRIu64 " bytes of pages saved, %" PRIu64 " moved on\n", seed,
           m.queue_count, m.thinned, m.moved);
    finish(&m);
}

int main(void)
{
    model_rounds(run_round, NULL, 0, 20);
    return 0;
}
