/* test_mover.c - old messages of very many queues are moved on in the journal: no turn looks at more than a
 * bounded number of queues, however many there are, and all of the old part goes. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "queue/paging.h"
#include "tests/sim/fakedisk.h"
#include "queue/unacked.h"
#include "tests/unit/steps.h"
#include "tests/unit/suite.h"

enum {
    QUEUES = 100000,
    SEGMENT_BYTES = 1024 * 1024,
    CHURN = 300000,               /* messages that are acked at once, in the same segments */
    TURNS_MAX = 20000,
    CROWD = 10000,                /* queues that share a message */
    SHARED = 100                  /* messages that two queues share */
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

static void turn(void)
{
    uint64_t before = clock_now_ns();
    uint64_t limit = mover_run(&home);
    moves += limit > 0;
    if (limit)
        mover_finish(&home);
    uint64_t took = clock_now_ns() - before;
    longest_ns = took > longest_ns ? took : longest_ns;
    looks_max = home.mover.looks > looks_max ? home.mover.looks : looks_max;
    store_commit(store);
    store_sync_now(store);
}

/* One message to `count` queues. */
static void publish(size_t first, size_t count)
{
    static struct stored_target targets[CROWD];
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
    ck_assert_uint_ge(stats.moved_bytes, (uint64_t)QUEUES / 4 * 20);
    end();
}
END_TEST

/* It is written once for all of them, as when it was published. */
START_TEST(a_message_of_many_queues)
{
    enum { RECORD = 20 + 16 * CROWD + 100 };
    struct store_stats stats;
    begin();
    publish(0, CROWD);
    publish(CROWD, 1);
    turn();
    for (int i = 0; i < 40000; i++) {
        struct entry entry;
        publish(QUEUES - 1, 1);
        ck_assert(queue_get(queues[QUEUES - 1], false, &entry));
        queue_settle(queues[QUEUES - 1], &entry, true);
        if (i % 400 == 0)
            turn();
    }
    for (int i = 0; i < TURNS_MAX && mover_is_busy(&home.mover); i++)
        turn();
    store_stats(store, &stats);
    printf("a message of %d queues: %llu slices, %.1f KB moved, %.2f ms\n", CROWD, (unsigned long long)moves,
           (double)stats.moved_bytes / 1e3, (double)longest_ns / 1e6);
    fflush(stdout);
    ck_assert_uint_ge(moves, 1);
    ck_assert_uint_ge(stats.moved_bytes, 16 * CROWD);
    ck_assert_uint_le(stats.moved_bytes, moves * (RECORD + 200));
    for (size_t i = 0; i <= CROWD; i++)
        ck_assert(entry_ring_at(&queues[i]->order.fresh, 0)->message->batch > 1);
    end();
}
END_TEST

static uint64_t seen[2 * SHARED], seen_count;

static void note_sequence(void *arg, const struct stored_message *message, uint64_t batch)
{
    (void)arg, (void)batch;
    ck_assert_uint_lt(seen_count, array_size(seen));
    seen[seen_count++] = message->targets[0].sequence;
}

/* Where messages are in memory is no order: one run of a simulator would not be like the next. */
START_TEST(shared_ones_keep_their_order)
{
    char error[256];
    struct shared_moves shared;
    struct recovery_sink sink = {.definition = ignore_definition, .message = note_sequence};
    begin();
    for (uint64_t id = 1; id <= 2; id++)
        store_define(store, &(struct definition){.kind = DEFINITION_QUEUE, .id = id, .vhost = SLICE("/"),
                                                 .name = id == 1 ? SLICE("a") : SLICE("b")});
    for (int i = 0; i < SHARED; i++)
        publish(0, 2);
    store_commit(store);
    store_sync_now(store);
    shared_moves_init(&shared, 1);
    uint64_t open = store_open_batch(store);
    for (size_t which = 0; which < 2; which++)
        for (size_t i = 0; i < SHARED; i++) {
            struct entry *entry = entry_ring_at(&queues[which]->order.fresh, i);
            shared_move_add(&shared, entry->message,
                            (struct stored_target){queues[which]->id, entry->sequence}, false);
            entry->message->batch = open;
        }
    shared_moves_write(&shared, store);
    shared_moves_free(&shared);
    store_commit(store);
    store_sync_now(store);
    store_abandon(&store);
    fakedisk_crash(disk, FAKEDISK_LOSE_ALL);
    struct store_options options = {.dir = "data", .segment_bytes = SEGMENT_BYTES, .without_thread = true,
                                    .io = fakedisk_io(disk)};
    ck_assert_msg(store_open(&store, &options, error, sizeof error) == 0, "%s", error);
    ck_assert_msg(store_recover(store, &sink, error, sizeof error) == 0, "%s", error);
    ck_assert_uint_ge(seen_count, SHARED);
    for (uint64_t i = seen_count - SHARED + 1; i < seen_count; i++)
        ck_assert_uint_eq(seen[i], seen[i - 1] + 1);
    end();
}
END_TEST

static struct unacked unacked;
static struct message *kept;

static void expect_none(void *arg, struct unacked_item *item)
{
    (void)arg, (void)item;
    abort();
}

static void walk_the_young(void *arg)
{
    (void)arg;
    unacked_walk_old(&unacked, kept->batch - 1, expect_none, NULL);
}

static void count(void *arg, struct unacked_item *item)
{
    ck_assert(item->entry.message == kept);
    ++*(size_t *)arg;
}

/* What is not old is not looked at one by one, but 32 at a time. */
START_TEST(very_many_unacked)
{
    enum { UNACKED = 100000 };
    size_t found = 0;
    begin();
    kept = message_new(&pool, SLICE(""), SLICE("q"), SLICE(""), 0);
    kept->batch = 7;
    unacked_init(&unacked);
    for (uint64_t tag = 1; tag <= UNACKED; tag++)
        unacked_put(&unacked, tag,
                    &(struct unacked_item){.entry = {.message = kept, .sequence = tag, .journalled = true}});
    uint64_t steps = steps_of(walk_the_young, NULL);
    printf("%d unacked, none of them old: %llu instructions\n", UNACKED, (unsigned long long)steps);
    fflush(stdout);
    ck_assert_uint_lt(steps, UNACKED); /* less than one each, with sanitizers too: chunks are looked at */
    unacked_walk_old(&unacked, 7, count, &found);
    ck_assert_uint_eq(found, UNACKED);
    kept->batch = 9; /* all were moved on, but it is known of those that are looked at only */
    found = 0;
    unacked_walk_old(&unacked, 7, count, &found);
    ck_assert_uint_eq(found, UNACKED);
    unacked_walk_old(&unacked, 8, expect_none, NULL);
    struct unacked_item item;
    for (uint64_t tag; unacked_take_first(&unacked, UINT64_MAX, &tag, &item);)
        continue;
    unacked_free(&unacked);
    message_unref(&pool, &kept);
    end();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("mover");
    TCase *tests = tcase_create("mover");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, no_turn_looks_at_all_queues);
    tcase_add_test(tests, a_message_of_many_queues);
    tcase_add_test(tests, shared_ones_keep_their_order);
    tcase_add_test(tests, very_many_unacked);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
