/* model_dedup.c - what is remembered of messages, against plain arrays, over a store on a fake disk whose
 * plug is pulled now and then. What was durable is known again, the journal does not grow with it, and
 * nothing is known that was never taken. SEED=n repeats a run. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/rand.h"
#include "queue/dedup.h"
#include "tests/sim/fakedisk.h"
#include "tests/unit/world.h"

enum { OWNERS = 3, PRODUCERS = 30, WINDOW = 40, IDS_MAX = 20000, STEPS = 12000, SEGMENT_BYTES = 16 * 1024 };
enum { QUEUE_ID = 7 };

/* The highest sequence that was taken, and the highest that is durable. */
struct producer {
    uint64_t taken, durable;
    uint64_t batch; /* of `taken` */
};

struct id {
    int owner;
    uint64_t batch;
    bool lost; /* in a crash */
};

struct model {
    struct fakedisk *disk;
    struct store *store;
    struct rand rand;
    struct dedup_home home;
    struct dedup *dedups[OWNERS];
    struct producer producers[OWNERS][PRODUCERS];
    struct id ids[IDS_MAX];
    size_t id_count;
    uint64_t sequence, now_ms;
    unsigned crashes, segments_most;
};

static struct model model;

static uint64_t owner_id(int owner)
{
    return UINT64_C(1) << 63 | (uint64_t)owner;
}

static void on_definition(void *arg, const struct definition *definition)
{
    (void)arg, (void)definition;
}

static void on_message(void *arg, const struct stored_message *message, uint64_t batch)
{
    (void)arg, (void)message;
    store_release(model.store, batch);
}

static void on_delivered(void *arg, uint64_t queue_id, uint64_t sequence)
{
    (void)arg, (void)queue_id, (void)sequence;
}

static void on_note(void *arg, const struct stored_note *note, uint64_t batch)
{
    struct model *m = arg;
    int owner = (int)(note->owner_id & 0xff);
    expect(note->owner_id >> 63 && owner < OWNERS, "owner %llu", (unsigned long long)note->owner_id);
    dedup_restore(m->dedups[owner], note, batch);
}

static void identify(struct dedup_ids *ids, enum dedup_kind kind, uint64_t name, uint64_t value)
{
    *ids = (struct dedup_ids){.now_ms = model.now_ms};
    dedup_identify(ids, kind, slice_of(&name, sizeof(name)), value);
}

static bool knows(int owner, enum dedup_kind kind, uint64_t name, uint64_t value)
{
    struct dedup_ids ids;
    uint64_t batch = 0;
    identify(&ids, kind, name, value);
    return dedup_knows(model.dedups[owner], &ids, &batch);
}

static void open_store(struct model *m)
{
    struct dedup_limits limits = {.max = {[DEDUP_PRODUCER] = PRODUCERS, [DEDUP_MESSAGE_ID] = WINDOW}};
    struct store_options options = {
        .dir = "data", .io = fakedisk_io(m->disk), .segment_bytes = SEGMENT_BYTES, .without_thread = true};
    struct recovery_sink sink = {on_definition, on_message, on_delivered, m, NULL, on_note};
    char error[512] = "";
    dedup_home_init(&m->home);
    for (int i = 0; i < OWNERS; i++)
        m->dedups[i] = dedup_new(&m->home, owner_id(i), &limits);
    expect(store_open(&m->store, &options, error, sizeof(error)) == 0, "%s", error);
    expect(store_recover(m->store, &sink, error, sizeof(error)) == 0, "%s", error);
    for (int i = 0; i < OWNERS; i++)
        dedup_restored(m->dedups[i]);
    dedup_renew(&m->home, m->store);
}

/* A message that is acked at once, so that only notes keep the journal. */
static void store_something(struct model *m)
{
    static uint8_t body[2000];
    struct stored_target target = {QUEUE_ID, ++m->sequence};
    struct stored_message message = {&target, 1, SLICE("x"), SLICE("k"), {0},
                                     slice_of(body, rand_below(&m->rand, sizeof(body)))};
    struct store_run run = {0};
    uint64_t batch = store_message(m->store, &message);
    store_ack(m->store, &run, QUEUE_ID, m->sequence);
    store_release(m->store, batch);
}

static void take_producer(struct model *m)
{
    struct dedup_ids ids;
    int owner = (int)rand_below(&m->rand, OWNERS);
    /* Some are nearly always silent: their notes have to be written again and again. */
    uint64_t name = rand_below(&m->rand, 20) ? rand_below(&m->rand, 3) : rand_below(&m->rand, PRODUCERS);
    struct producer *p = &m->producers[owner][name];
    uint64_t sequence = p->taken + 3 - rand_below(&m->rand, 5);
    if (p->taken < 2)
        sequence = p->taken + 1;
    expect(knows(owner, DEDUP_PRODUCER, name, sequence) == (sequence <= p->taken),
           "producer %llu: %llu after %llu", (unsigned long long)name, (unsigned long long)sequence,
           (unsigned long long)p->taken);
    if (sequence <= p->taken)
        return;
    identify(&ids, DEDUP_PRODUCER, name, sequence);
    dedup_take(m->dedups[owner], &ids, m->store);
    p->taken = sequence;
    p->batch = store_open_batch(m->store);
}

static void take_id(struct model *m)
{
    struct dedup_ids ids;
    int owner = (int)rand_below(&m->rand, OWNERS);
    if (m->id_count == IDS_MAX)
        return;
    expect(!knows(owner, DEDUP_MESSAGE_ID, m->id_count, 0), "id %zu is new", m->id_count);
    identify(&ids, DEDUP_MESSAGE_ID, m->id_count, m->now_ms);
    dedup_take(m->dedups[owner], &ids, m->store);
    m->ids[m->id_count++] = (struct id){owner, store_open_batch(m->store), false};
    size_t count = dedup_count(m->dedups[owner], DEDUP_MESSAGE_ID);
    expect(count <= WINDOW, "%zu ids", count);
}

/* The last WINDOW ids of each owner are known, as far as they are durable; `all`: in any case. */
static void check_ids(struct model *m, uint64_t durable, bool all)
{
    size_t seen[OWNERS] = {0};
    for (size_t i = m->id_count; i-- > 0;) {
        const struct id *id = &m->ids[i];
        if (id->lost)
            continue;
        bool recent = ++seen[id->owner] <= WINDOW;
        if (recent && (all || id->batch <= durable))
            expect(knows(id->owner, DEDUP_MESSAGE_ID, i, 0), "id %zu of batch %llu is forgotten", i,
                   (unsigned long long)id->batch);
        if (!recent && all)
            expect(!knows(id->owner, DEDUP_MESSAGE_ID, i, 0), "id %zu is still known", i);
    }
}

static void note_durable(struct model *m, uint64_t durable)
{
    for (int owner = 0; owner < OWNERS; owner++)
        for (int i = 0; i < PRODUCERS; i++)
            if (m->producers[owner][i].batch <= durable)
                m->producers[owner][i].durable = m->producers[owner][i].taken;
}

static void check_after_crash(struct model *m, uint64_t durable)
{
    check_ids(m, durable, false);
    for (int owner = 0; owner < OWNERS; owner++)
        for (int i = 0; i < PRODUCERS; i++) {
            struct producer *p = &m->producers[owner][i];
            expect(!p->durable || knows(owner, DEDUP_PRODUCER, (uint64_t)i, p->durable),
                   "producer %d: %llu is forgotten", i, (unsigned long long)p->durable);
            expect(!knows(owner, DEDUP_PRODUCER, (uint64_t)i, p->taken + 1), "producer %d: never taken", i);
            while (p->taken > p->durable && !knows(owner, DEDUP_PRODUCER, (uint64_t)i, p->taken))
                p->taken--;
            p->durable = p->taken, p->batch = 0;
        }
    for (size_t i = 0; i < m->id_count; i++) /* what was not durable may be gone */
        m->ids[i].lost |= m->ids[i].batch > durable && !knows(m->ids[i].owner, DEDUP_MESSAGE_ID, i, 0);
}

static void close_memory(struct model *m)
{
    for (int i = 0; i < OWNERS; i++)
        dedup_free(&m->dedups[i]);
    expect(m->home.count == 0 && m->home.users == 0, "%zu notes left", m->home.count);
}

static void crash(struct model *m)
{
    uint64_t durable = store_durable(m->store);
    note_durable(m, durable);
    store_abandon(&m->store);
    fakedisk_crash(m->disk, (enum fakedisk_loss)rand_below(&m->rand, 3));
    close_memory(m);
    open_store(m);
    check_after_crash(m, durable);
    m->crashes++;
}

static void check_journal(struct model *m)
{
    struct store_stats stats;
    store_stats(m->store, &stats);
    m->segments_most = stats.segments > m->segments_most ? stats.segments : m->segments_most;
    expect(stats.segments <= 6, "%u segments for %zu notes", stats.segments, m->home.count);
}

START_TEST(durable_as_the_messages)
{
    struct model *m = &model;
    *m = (struct model){.rand = rand_seeded(world_seed("model_dedup"))};
    m->disk = fakedisk_new(rand_u64(&m->rand));
    m->now_ms = 1000000;
    open_store(m);
    for (int step = 0; step < STEPS; step++) {
        m->now_ms++;
        switch (rand_below(&m->rand, 5)) {
        case 0: take_id(m); break;
        case 1: store_something(m); break;
        default: take_producer(m); break;
        }
        if (rand_below(&m->rand, 3) == 0) {
            dedup_renew(&m->home, m->store);
            store_commit(m->store);
        }
        if (rand_below(&m->rand, 3) == 0) {
            store_sync_now(m->store);
            note_durable(m, store_durable(m->store));
        }
        if (step % 100 == 0)
            check_journal(m);
        if (rand_below(&m->rand, 400) == 0)
            crash(m);
    }
    expect(m->crashes > 5 && m->segments_most > 2, "%u crashes, %u segments", m->crashes, m->segments_most);
    store_close(&m->store);
    close_memory(m);
    fakedisk_free(&m->disk);
}
END_TEST

/* Without crashes the window is exactly the last ids. */
START_TEST(a_window_is_the_last_ids)
{
    struct model *m = &model;
    *m = (struct model){.rand = rand_seeded(world_seed("model_dedup, window"))};
    m->disk = fakedisk_new(rand_u64(&m->rand));
    m->now_ms = 1000000;
    open_store(m);
    for (int step = 0; step < 2000; step++) {
        m->now_ms++;
        take_id(m);
        if (step % 10 == 0) {
            dedup_renew(&m->home, m->store);
            store_commit(m->store);
            store_sync_now(m->store);
        }
        if (step % 100 == 0)
            check_ids(m, 0, true);
    }
    store_close(&m->store);
    close_memory(m);
    open_store(m);
    check_ids(m, 0, true);
    store_close(&m->store);
    close_memory(m);
    fakedisk_free(&m->disk);
}
END_TEST

/* Old ones are taken again, though there is room for them. */
START_TEST(a_window_with_an_age)
{
    struct dedup_limits limits = {.max = {[DEDUP_MESSAGE_ID] = 100}, .age_ms = {[DEDUP_MESSAGE_ID] = 1000}};
    struct dedup_ids ids;
    model = (struct model){.now_ms = 5000};
    dedup_home_init(&model.home);
    model.dedups[0] = dedup_new(&model.home, 1, &limits);
    identify(&ids, DEDUP_MESSAGE_ID, 1, model.now_ms);
    dedup_take(model.dedups[0], &ids, NULL);
    model.now_ms = 5999;
    ck_assert(knows(0, DEDUP_MESSAGE_ID, 1, 0));
    model.now_ms = 6000;
    ck_assert(!knows(0, DEDUP_MESSAGE_ID, 1, 0));
    identify(&ids, DEDUP_MESSAGE_ID, 2, model.now_ms);
    dedup_take(model.dedups[0], &ids, NULL);
    ck_assert_uint_eq(dedup_count(model.dedups[0], DEDUP_MESSAGE_ID), 1);
    dedup_free(&model.dedups[0]);
}
END_TEST

/* A note may say itself when it goes; taken again it lasts as long as the last one says. */
/* Two tables that may have a million each have a million together: who grows forgets its own oldest. */
START_TEST(all_tables_share_a_bound)
{
    struct dedup_home home;
    struct dedup_limits limits = {.max[DEDUP_MESSAGE_ID] = DEDUP_MAX};
    struct dedup_ids ids = {0};
    struct dedup *both[2];
    uint64_t batch = 0;
    dedup_home_init(&home);
    for (int i = 0; i < 2; i++)
        both[i] = dedup_new(&home, owner_id(i), &limits);
    for (uint64_t name = 0; name < DEDUP_MAX + 10000; name++) {
        identify(&ids, DEDUP_MESSAGE_ID, name, 0);
        dedup_take(both[name % 2], &ids, NULL);
    }
    ck_assert_uint_le(home.count, DEDUP_MAX + 1);
    ck_assert(dedup_knows(both[1], &ids, &batch)); /* the last one */
    identify(&ids, DEDUP_MESSAGE_ID, 1, 0);
    ck_assert(!dedup_knows(both[1], &ids, &batch));
    for (int i = 0; i < 2; i++)
        dedup_free(&both[i]);
    ck_assert_uint_eq(home.count, 0);
}
END_TEST

START_TEST(a_note_that_says_when_it_goes)
{
    struct dedup_home home;
    struct dedup_limits limits = {.max[DEDUP_HEADER] = 10, .age_ms[DEDUP_HEADER] = 1000};
    struct dedup_ids ids = {.now_ms = 5000};
    uint64_t batch = 0;
    dedup_home_init(&home);
    struct dedup *dedup = dedup_new(&home, 1, &limits);
    dedup_identify(&ids, DEDUP_HEADER, SLICE("short"), DEDUP_EXPIRES | 5100);
    dedup_take(dedup, &ids, NULL);
    ids.now_ms = 5099;
    ck_assert(dedup_knows(dedup, &ids, &batch));
    ids.now_ms = 5100;
    ck_assert(!dedup_knows(dedup, &ids, &batch));
    dedup_identify(&ids, DEDUP_HEADER, SLICE("short"), 5100); /* as long as the table has it */
    dedup_take(dedup, &ids, NULL);
    ids.now_ms = 6099;
    ck_assert(dedup_knows(dedup, &ids, &batch));
    ids.now_ms = 6100;
    ck_assert(!dedup_knows(dedup, &ids, &batch));
    dedup_identify(&ids, DEDUP_HEADER, SLICE("long"), DEDUP_EXPIRES | 100000);
    dedup_take(dedup, &ids, NULL);
    ids.now_ms = 99999;
    ck_assert(dedup_knows(dedup, &ids, &batch));
    ck_assert_uint_le(dedup_count(dedup, DEDUP_HEADER), 2);
    /* After a restart the last that was written counts, also when it goes earlier. */
    struct stored_note note = {1, {ids.of[DEDUP_HEADER].key[0], ids.of[DEDUP_HEADER].key[1]}, 99000};
    dedup_restore(dedup, &note, 1);
    ck_assert(dedup_knows(dedup, &ids, &batch));
    ids.now_ms = 100000;
    ck_assert(!dedup_knows(dedup, &ids, &batch));
    dedup_free(&dedup);
    ck_assert_uint_eq(home.count, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("model_dedup");
    TCase *tcase = tcase_create("model");
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, durable_as_the_messages);
    tcase_add_test(tcase, a_window_is_the_last_ids);
    tcase_add_test(tcase, a_window_with_an_age);
    tcase_add_test(tcase, a_note_that_says_when_it_goes);
    tcase_add_test(tcase, all_tables_share_a_bound);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
