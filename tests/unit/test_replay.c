/* test_replay.c - what a journal leaves un-acked, in batches made here: messages that were moved on come
 * later than younger ones. */
#include <check.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/rand.h"
#include "store/format.h"
#include "store/pages.h"
#include "store/replay.h"
#include "tests/unit/suite.h"

enum { QUEUE = 1, MANY = 400000, SEQUENCES = 60, RUNS = 300 };

struct journal {
    struct buf batches[300];
    uint32_t records[300];
    size_t count;
};

static struct pages pages;
static struct store_options options;
static struct replay replay;
static struct journal journal;
static uint64_t heard[MANY + SEQUENCES], heard_batch[SEQUENCES];
static size_t heard_count;

static void begin_batch(void)
{
    static const uint8_t header[BATCH_HEADER_BYTES];
    ck_assert_uint_lt(journal.count, array_size(journal.batches));
    buf_append(&journal.batches[journal.count++], header, sizeof header);
}

static void add_record(enum format_record_type type, uint64_t sequence, uint64_t count)
{
    uint8_t record[MESSAGE_HEADER_BYTES + TARGET_BYTES] = {0};
    bool acks = type == RECORD_ACKS;
    uint8_t *at = record + (acks ? MARKS_HEADER_BYTES : MESSAGE_HEADER_BYTES);
    record[RECORD_TYPE] = (uint8_t)type;
    format_put_u32(record + RECORD_SIZE, sizeof record);
    format_put_u32(record + (acks ? MARKS_COUNT : MESSAGE_TARGETS), 1);
    format_put_u64(at, QUEUE);
    format_put_u64(at + 8, sequence);
    if (acks)
        format_put_u64(at + 16, count);
    buf_append(&journal.batches[journal.count - 1], record, sizeof record);
    journal.records[journal.count - 1]++;
}

static struct read_batch batch_at(size_t i)
{
    return (struct read_batch){.bytes = journal.batches[i].at,
                               .number = i + 1,
                               .size = journal.batches[i].len,
                               .records = journal.records[i]};
}

static void on_message(void *arg, const struct stored_message *message, uint64_t batch)
{
    (void)arg;
    ck_assert_uint_eq(message->target_count, 1);
    if (message->targets->sequence < SEQUENCES)
        heard_batch[message->targets->sequence] = batch;
    heard[heard_count++] = message->targets->sequence;
}

/* Both readings. */
static void read_all(void)
{
    const struct recovery_sink sink = {.message = on_message};
    heard_count = 0;
    memset(heard_batch, 0, sizeof heard_batch);
    pages_init(&pages, &options);
    replay_init(&replay, &pages);
    replay_define(&replay, QUEUE);
    for (size_t i = 0; i < journal.count; i++) {
        struct read_batch batch = batch_at(i);
        ck_assert_uint_eq(replay_learn(&replay, &batch), 0);
    }
    for (size_t i = 0; i < journal.count; i++) {
        struct read_batch batch = batch_at(i);
        replay_report(&replay, &batch, &sink);
    }
    replay_free(&replay);
    pages_free(&pages);
}

static void forget(void)
{
    for (size_t i = 0; i < journal.count; i++)
        buf_free(&journal.batches[i]);
    journal = (struct journal){0};
}

/* A consumer held on to the oldest messages until their segments went. That took a quarter of a millisecond
 * for each, as all younger ones were shifted. */
START_TEST(many_are_moved)
{
    begin_batch();
    for (uint64_t i = 0; i < MANY / 2; i++)
        add_record(RECORD_MESSAGE, MANY / 2 + i, 1);
    for (uint64_t i = 0; i < MANY / 2; i++) {
        if (i % 1000 == 0)
            begin_batch();
        add_record(RECORD_MOVED, i, 1);
    }
    add_record(RECORD_ACKS, 5, 10);
    read_all();
    ck_assert_uint_eq(heard_count, MANY - 10);
    for (size_t i = 0; i < MANY / 2; i++)
        ck_assert_uint_eq(heard[i], MANY / 2 + i);
    for (size_t i = MANY / 2; i < heard_count; i++)
        ck_assert_uint_eq(heard[i], i - MANY / 2 < 5 ? i - MANY / 2 : i - MANY / 2 + 10);
    forget();
}
END_TEST

/* Whatever order things come in, a message is told once, of the batch that it was in last. */
START_TEST(any_order)
{
    struct rand rand = rand_seeded(_i + 1);
    uint64_t alive[SEQUENCES] = {0}, next = 0;
    while (journal.count < 20) {
        begin_batch();
        for (uint64_t i = rand_below(&rand, 12); i > 0 && next + 2 < SEQUENCES; i--) {
            next += 1 + rand_below(&rand, 2);
            /* The place of some is a segment that is gone: they are moved without having been there. */
            bool unseen = rand_below(&rand, 3) == 0;
            alive[next] = unseen ? UINT64_MAX : journal.count;
            if (!unseen)
                add_record(RECORD_MESSAGE, next, 1);
        }
        for (uint64_t i = rand_below(&rand, 12); i > 0; i--) {
            uint64_t sequence = rand_below(&rand, next + 1);
            if (alive[sequence] == 0 || alive[sequence] == journal.count)
                continue; /* once a batch */
            alive[sequence] = journal.count;
            add_record(RECORD_MOVED, sequence, 1);
        }
        for (uint64_t i = rand_below(&rand, 4); i > 0; i--) {
            uint64_t sequence = rand_below(&rand, next + 1), count = 1 + rand_below(&rand, 3);
            for (uint64_t k = sequence; k < sequence + count && k <= next; k++)
                alive[k] = 0;
            add_record(RECORD_ACKS, sequence, sequence + count <= next + 1 ? count : next + 1 - sequence);
        }
    }
    read_all();
    size_t wanted = 0;
    for (uint64_t i = 0; i < SEQUENCES; i++) {
        bool there = alive[i] > 0 && alive[i] < UINT64_MAX;
        wanted += there;
        ck_assert_uint_eq(heard_batch[i], there ? alive[i] : 0);
    }
    ck_assert_uint_eq(heard_count, wanted);
    forget();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("replay");
    TCase *tests = tcase_create("all");
    tcase_set_timeout(tests, 20);
    tcase_add_test(tests, many_are_moved);
    tcase_add_loop_test(tests, any_order, 0, RUNS);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
