/* test_mover.c - old messages of very many queues are moved on in the journal: no turn looks at more than a
 * bounded number of queues, however many there are, and all of the old part goes. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "queue/paging.h"
#include "tests/sim/fakedisk.h"
#include "tests/unit/suite.h"

enum {
    QUEUES = 100000,
    SEGMENT_BYTES = 1024 * 1024,
    CHURN = 300000,               /* messages that are acked at once, in the same segments */
    TURNS_MAX = 20000
};

static struct fakedisk *disk;
static struct store *store;
static struct slab_pool pool;
static struct queue_home home;
static struct queue *queues[QUEUES];
static uint64_t looks_max, longest_ns, moves;

static void ignore_definition(void *arg, const struct definition *definition)
{
    (void)arg, (void)definition;
}

static void begin(void)
{
    char error[256];
    struct store_options options = {.dir = "data", .segment_bytes = SEGMENT_BYTES, .without_thread = true};
    struct recovery_sink sink = {.definition = ignore_definition};
    disk = fakedisk_new(1);
    options.io = fakedisk_io(disk);
    slab_pool_init(&pool);
    ck_assert_msg(store_open(&store, &options, error, sizeof error) == 0, "%s", error);
    ck_assert_msg(store_recover(store, &sink, error, sizeof error) == 0, "%s", error);
    queue_home_init(&home, &pool, store);
    for (size_t i = 0; i < QUEUES; i++) {
        queues[i] = queue_new(&home, SLICE("q"), SLICE(""), i + 1);
        queues[i]->durable = true;
    }
}

static void end(void)
{
    home.store = NULL;
    store_close(&store);
    for (size_t i = 0; i < QUEUES; i++)
        queue_delete(&queues[i]);
    queue_home_free(&home);
    slab_pool_free(&pool);
    fakedisk_free(&disk);
}

static uint64_t now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

static void turn(void)
{
    uint64_t before = now_ns();
    moves += mover_run(&home) > 0;
    uint64_t took = now_ns() - before;
    longest_ns = took > longest_ns ? took : longest_ns;
    looks_max = home.mover.looks > looks_max ? home.mover.looks : looks_max;
    store_commit(store);
    store_sync_now(store);
}

/* One message to `count` queues. */
static void publish(size_t first, size_t count)
{
    struct stored_target targets[8];
    struct message *m = message_new(&pool, SLICE(""), SLICE("q"), SLICE(""), 20);
    memset(message_body_at(m), 'x', m->body_size);
    m->persistent = true;
    for (size_t i = 0; i < count; i++)
        targets[i] = (struct stored_target){queues[first + i]->id, queues[first + i]->order.next_sequence};
    m->batch = store_message(store, &(struct stored_message){targets, (uint32_t)count, message_exchange(m),
                                                             message_key(m), message_props(m),
                                                             message_body(m)});
    m->journal_refs = (uint32_t)count;
    for (size_t i = 0; i < count; i++)
        queue_push(queues[first + i], m, true);
    message_unref(&pool, &m);
}

/* A message that is gone as soon as it is there. */
static void churn(void)
{
    struct entry entry;
    publish(0, 1);
    while (queue_ready(queues[0]) > 1)
        if (queue_get(queues[0], false, &entry))
            queue_settle(queues[0], &entry, true);
}

START_TEST(no_turn_looks_at_all_queues)
{
    struct store_stats stats;
    begin();
    for (size_t i = 0; i < QUEUES; i += 4) { /* every message is in four queues */
        publish(i, 4);
        for (int n = 0; n < CHURN / (QUEUES / 4); n++)
            churn();
        if (i % 400 == 0)
            turn();
    }
    for (int i = 0; i < TURNS_MAX && (mover_is_busy(&home.mover) || home.mover.to > 0); i++)
        turn();
    store_stats(store, &stats);
    printf("%llu slices, %u segments, %.1f MB moved; at most %llu queues in a turn, %.2f ms\n",
           (unsigned long long)moves, stats.segments, (double)stats.moved_bytes / 1e6,
           (unsigned long long)looks_max, (double)longest_ns / 1e6);
    fflush(stdout);
    ck_assert_uint_gt(moves, 10);
    ck_assert_uint_le(looks_max, QUEUES / 16);
    ck_assert_uint_ge(stats.moved_bytes, (uint64_t)QUEUES * 20);
    end();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("mover");
    TCase *tests = tcase_create("mover");
    tcase_add_test(tests, no_turn_looks_at_all_queues);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
