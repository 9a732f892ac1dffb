/* test_queue.c - a queue: rotation and credit, requeue, purge and deletion, limits, and what
 * recovery puts in. */
#include <check.h>
#include <signal.h>
#include <stdlib.h>

#include "base/buf.h"
#include "protocol/table.h"
#include "queue/lane.h"
#include "tests/sim/fakedisk.h"
#include "tests/unit/suite.h"

static struct slab_pool pool;
static struct queue_home home;
static struct list parked;

static void setup(void)
{
    slab_pool_init(&pool);
    queue_home_init(&home, &pool, NULL);
    list_init(&parked);
}

static void teardown(void)
{
    queue_home_free(&home);
    ck_assert_uint_eq(home.queue_count, 0);
    slab_pool_free(&pool); /* panics when a message is left */
}

static struct queue *make(const char *overflow, int64_t messages_max, int64_t bytes_max)
{
    struct buf args = {0};
    if (messages_max >= 0)
        table_put_int(&args, "x-max-length", messages_max);
    if (bytes_max >= 0)
        table_put_int(&args, "x-max-length-bytes", bytes_max);
    if (overflow)
        table_put_string(&args, "x-overflow", slice_of_string(overflow));
    struct queue *q = queue_new(&home, SLICE("q"), buf_slice(&args), 7);
    buf_free(&args);
    return q;
}

static struct queue *make_plain(void)
{
    return make(NULL, -1, -1);
}

/* A message whose body is `size` times the letter. */
static struct message *letter(char which, size_t size)
{
    struct message *m = message_new(&pool, SLICE(""), SLICE("q"), (struct slice){0}, size);
    memset(message_body_at(m), which, size);
    return m;
}

static void push_size(struct queue *q, char which, size_t size)
{
    struct message *m = letter(which, size);
    queue_push(q, m, false);
    message_unref(&pool, &m);
    queue_check(q);
}

static void push(struct queue *q, const char *letters)
{
    for (; *letters; letters++)
        push_size(q, *letters, 1);
}

static char letter_of(const struct entry *entry)
{
    return (char)message_body(entry->message).at[0];
}

/* What waits, oldest first, by taking it all. */
static void expect_waiting(struct queue *q, const char *letters)
{
    struct entry entry;
    ck_assert_uint_eq(queue_ready(q), strlen(letters));
    for (; *letters; letters++) {
        ck_assert(queue_get(q, true, &entry));
        ck_assert_int_eq(letter_of(&entry), *letters);
        queue_settle(q, &entry, false);
    }
    ck_assert(!queue_get(q, true, &entry));
    ck_assert_uint_eq(q->ready_bytes, 0);
}

static struct consumer *join(struct queue *q, struct consumer *c, uint32_t prefetch)
{
    *c = (struct consumer){.prefetch = prefetch};
    consumer_enter(c, q);
    queue_check(q);
    return c;
}

static struct entry next(struct queue *q, struct consumer *expected, char which)
{
    ck_assert_ptr_eq(queue_turn(q), expected);
    struct entry entry = queue_next(q, expected);
    ck_assert_int_eq(letter_of(&entry), which);
    queue_check(q);
    return entry;
}

static void ack(struct queue *q, struct consumer *c, struct entry *entry)
{
    queue_settle(q, entry, true);
    ck_assert_ptr_null(entry->message);
    consumer_settled(c);
}

static bool is_ready(const struct queue *q)
{
    return list_linked(&q->ready_link);
}

/* --- rotation --- */

START_TEST(test_round_robin)
{
    struct consumer a, b;
    struct queue *q = make_plain();
    ck_assert_ptr_null(queue_turn(q));
    join(q, &a, 0);
    join(q, &b, 0);
    ck_assert(!is_ready(q));
    push(q, "1234");
    ck_assert(is_ready(q));
    struct entry entries[4];
    for (int i = 0; i < 4; i++)
        entries[i] = next(q, i % 2 ? &b : &a, (char)('1' + i));
    ck_assert(!is_ready(q));
    ck_assert_uint_eq(q->unacked, 4);
    ck_assert_uint_eq(a.unacked, 2);
    for (int i = 0; i < 4; i++)
        ack(q, i % 2 ? &b : &a, &entries[i]);
    ck_assert_uint_eq(q->unacked, 0);
    ck_assert_uint_eq(q->counters.acked, 4);
    ck_assert_uint_eq(q->counters.delivered, 4);
    consumer_exit(&a);
    consumer_exit(&b);
    queue_delete(&q);
}
END_TEST

START_TEST(test_credit)
{
    struct consumer c;
    struct queue *q = make_plain();
    join(q, &c, 2);
    push(q, "123");
    struct entry first = next(q, &c, '1'), second = next(q, &c, '2');
    ck_assert_int_eq(c.state, CONSUMER_SATED);
    ck_assert(!is_ready(q));
    ack(q, &c, &second);
    ck_assert_int_eq(c.state, CONSUMER_ROTATING);
    ck_assert(is_ready(q));
    struct entry third = next(q, &c, '3');
    consumer_exit(&c); /* cancelled with two unacked, which stay with the channel */
    ck_assert_int_eq(c.state, CONSUMER_GONE);
    ck_assert_uint_eq(q->unacked, 2);
    ack(q, &c, &third);
    queue_requeue(q, &first, true);
    consumer_settled(&c);
    ck_assert_uint_eq(c.unacked, 0);
    ck_assert_int_eq(c.state, CONSUMER_GONE);
    expect_waiting(q, "1");
    queue_delete(&q);
}
END_TEST

START_TEST(test_parked)
{
    struct consumer a, b;
    struct queue *q = make_plain();
    join(q, &a, 1);
    join(q, &b, 0);
    push(q, "12");
    consumer_park(&a, &parked);
    ck_assert(is_ready(q));
    consumer_park(&b, &parked);
    ck_assert(!is_ready(q));
    consumer_unpark(&a);
    struct entry entry = next(q, &a, '1');
    ck_assert(!is_ready(q)); /* one is sated, the other still parked */
    consumer_unpark(&b);
    ck_assert(is_ready(q));
    consumer_exit(&b);
    ack(q, &a, &entry);
    consumer_park(&a, &parked);
    consumer_exit(&a); /* out of the owner's list too */
    ck_assert(list_empty(&parked));
    expect_waiting(q, "2");
    queue_delete(&q);
}
END_TEST

START_TEST(test_exclusive_consumer)
{
    struct queue *q = make_plain();
    struct consumer c = {.exclusive = true};
    ck_assert(!q->consumers.had_some);
    consumer_enter(&c, q);
    ck_assert(q->consumers.exclusive && q->consumers.had_some);
    ck_assert_uint_eq(q->consumers.count, 1);
    consumer_exit(&c);
    ck_assert(!q->consumers.exclusive && q->consumers.had_some);
    ck_assert_uint_eq(q->consumers.count, 0);
    queue_delete(&q);
}
END_TEST

/* --- requeue, purge, deletion --- */

START_TEST(test_requeue)
{
    struct entry entries[3];
    struct queue *q = make_plain();
    push(q, "12345");
    for (int i = 0; i < 3; i++)
        ck_assert(queue_get(q, false, &entries[i]));
    queue_requeue(q, &entries[1], true);
    queue_requeue(q, &entries[2], false); /* nobody saw it */
    queue_requeue(q, &entries[0], true);
    ck_assert_ptr_null(entries[0].message);
    ck_assert_uint_eq(q->unacked, 0);
    for (int i = 0; i < 3; i++) {
        ck_assert(queue_get(q, false, &entries[i]));
        ck_assert_int_eq(letter_of(&entries[i]), '1' + i);
        ck_assert_int_eq(entries[i].redelivered, i != 2);
    }
    ck_assert_uint_eq(q->counters.redelivered, 2);
    queue_requeue(q, &entries[0], false); /* seen once is seen for ever */
    ck_assert(queue_first(q)->redelivered);
    queue_settle(q, &entries[1], true);
    queue_settle(q, &entries[2], true);
    expect_waiting(q, "145");
    queue_delete(&q);
}
END_TEST

START_TEST(test_purge)
{
    struct entry entry;
    struct consumer c;
    struct queue *q = make_plain();
    ck_assert_uint_eq(queue_purge(q), 0);
    push(q, "1234");
    ck_assert(queue_get(q, false, &entry));
    join(q, &c, 0);
    ck_assert(is_ready(q));
    ck_assert_uint_eq(queue_purge(q), 3);
    queue_check(q);
    ck_assert(!is_ready(q));
    ck_assert_uint_eq(q->unacked, 1);
    push(q, "5");
    ck_assert(queue_home_bury(&home, 2)); /* one is left */
    ck_assert(!queue_home_bury(&home, 2));
    queue_requeue(q, &entry, true);
    consumer_exit(&c);
    expect_waiting(q, "15");
    queue_delete(&q);
}
END_TEST

START_TEST(test_delete_with_unacked)
{
    struct entry entries[3];
    struct queue *q = make_plain(), *gone = q;
    push(q, "12345");
    for (int i = 0; i < 3; i++)
        ck_assert(queue_get(q, false, &entries[i]));
    queue_delete(&q);
    ck_assert_ptr_null(q);
    ck_assert_uint_eq(home.queue_count, 1); /* nameless, until the last is settled */
    queue_settle(gone, &entries[0], true);
    queue_requeue(gone, &entries[1], true); /* goes nowhere */
    ck_assert_ptr_null(entries[1].message);
    ck_assert_uint_eq(home.queue_count, 1);
    queue_requeue(gone, &entries[2], true);
    ck_assert_uint_eq(home.queue_count, 0);
}
END_TEST

START_TEST(test_delete_with_consumer)
{
    struct consumer c;
    struct queue *q = make_plain();
    join(q, &c, 0);
    queue_delete(&q);
}
END_TEST

/* --- limits --- */

static void expect_limit(struct queue *q, enum limit_overflow overflow, uint64_t messages, uint64_t bytes)
{
    ck_assert_int_eq(q->settings.limit.overflow, overflow);
    ck_assert_uint_eq(q->settings.limit.messages_max, messages);
    ck_assert_uint_eq(q->settings.limit.bytes_max, bytes);
    queue_delete(&q);
}

START_TEST(test_limit_of_args)
{
    struct buf args = {0};
    expect_limit(make_plain(), LIMIT_NONE, UINT64_MAX, UINT64_MAX);
    expect_limit(make("drop-head", -1, -1), LIMIT_NONE, UINT64_MAX, UINT64_MAX);
    expect_limit(make("reject-publish", -1, -1), LIMIT_NONE, UINT64_MAX, UINT64_MAX);
    expect_limit(make(NULL, 0, -1), LIMIT_DROP_HEAD, 0, UINT64_MAX);
    expect_limit(make(NULL, -1, 0), LIMIT_DROP_HEAD, UINT64_MAX, 0);
    expect_limit(make("drop-head", 5, 6), LIMIT_DROP_HEAD, 5, 6);
    expect_limit(make("reject-publish", 5, INT64_MAX), LIMIT_REJECT, 5, INT64_MAX);
    expect_limit(make("reject-publish-dlx", -1, 6), LIMIT_REJECT_DEAD_LETTER, UINT64_MAX, 6);
    table_put_string(&args, "x-max-length", SLICE("5")); /* no number: never passes the declaration */
    table_put_bool(&args, "x-overflow", true);
    struct limit limit = limit_of_args(buf_slice(&args));
    ck_assert_int_eq(limit.overflow, LIMIT_NONE);
    buf_free(&args);
}
END_TEST

START_TEST(test_drop_head)
{
    struct entry first, second;
    struct queue *q = make(NULL, 2, -1);
    push(q, "12");
    ck_assert(queue_get(q, false, &first));
    push(q, "34"); /* 2 is dropped; what is handed out does not count */
    ck_assert_uint_eq(queue_ready(q), 2);
    ck_assert(queue_get(q, false, &second));
    ck_assert_int_eq(letter_of(&second), '3');
    push(q, "5");
    queue_requeue(q, &second, true); /* 3 is the oldest now */
    ck_assert_uint_eq(queue_ready(q), 2);
    queue_settle(q, &first, true);
    ck_assert_uint_eq(q->counters.published, 5);
    ck_assert_uint_eq(q->counters.acked, 1);
    expect_waiting(q, "45");
    queue_delete(&q);
}
END_TEST

START_TEST(test_drop_head_bytes)
{
    struct queue *q = make("drop-head", 3, 10);
    push_size(q, '1', 5);
    push_size(q, '2', 5);
    ck_assert_uint_eq(queue_ready(q), 2);
    push_size(q, '3', 6); /* both must go */
    ck_assert_uint_eq(queue_ready(q), 1);
    push_size(q, '4', 1);
    push_size(q, '5', 1);
    push_size(q, '6', 1); /* too many now, not too large */
    ck_assert_uint_eq(q->ready_bytes, 3);
    push_size(q, '7', 11); /* all must go, this one too */
    ck_assert_uint_eq(queue_ready(q), 0);
    push_size(q, '8', 10);
    expect_waiting(q, "8");
    queue_delete(&q);
}
END_TEST

/* Nothing is dropped that a consumer is about to take, and the rest as soon as none is. */
START_TEST(test_drop_head_with_consumers)
{
    struct consumer a, b;
    struct queue *q = make(NULL, 1, -1);
    join(q, &a, 1);
    join(q, &b, 1);
    push(q, "12345");
    ck_assert_uint_eq(queue_ready(q), 5);
    struct entry first = next(q, &a, '1');
    ck_assert_uint_eq(queue_ready(q), 4);
    struct entry second = next(q, &b, '2');
    ck_assert_uint_eq(queue_ready(q), 1); /* 3 and 4 are gone */
    ack(q, &a, &first);
    push(q, "67");
    consumer_park(&a, &parked);
    ck_assert_uint_eq(queue_ready(q), 1); /* 7 */
    consumer_unpark(&a);
    push(q, "89");
    consumer_exit(&a);
    ck_assert_uint_eq(queue_ready(q), 1); /* 9 */
    ack(q, &b, &second);
    consumer_exit(&b);
    expect_waiting(q, "9");
    queue_delete(&q);
}
END_TEST

START_TEST(test_drop_head_0)
{
    struct consumer c;
    struct queue *q = make(NULL, 0, -1);
    push(q, "12");
    ck_assert_uint_eq(queue_ready(q), 0);
    join(q, &c, 1);
    push(q, "34");
    struct entry entry = next(q, &c, '3');
    ck_assert_uint_eq(queue_ready(q), 0);
    consumer_exit(&c);
    ack(q, &c, &entry);
    queue_delete(&q);
}
END_TEST

/* Of a queue with priorities the first level may wait for what is due in it, and a limit drop all of that:
 * then the next level can be delivered at once. */
START_TEST(test_drop_head_of_a_late_level)
{
    struct buf args = {0};
    struct consumer c;
    table_put_int(&args, "x-max-priority", 5);
    struct queue *q = queue_new(&home, SLICE("q"), buf_slice(&args), 7);
    buf_free(&args);
    push(q, "ab");
    for (int i = 0; i < 6; i++) {
        static const uint8_t props[] = {0x09, 0, 5, 1, '1'}; /* priority 5, expiration 1 */
        struct message *m = message_new(&pool, SLICE(""), SLICE("q"), slice_of(props, sizeof(props)), 0);
        queue_push(q, m, false);
        message_unref(&pool, &m);
    }
    home.now_ms += 10;
    expiry_run(&home, home.now_ms, 2);
    join(q, &c, 0);
    ck_assert(q->front->expiry.late && !is_ready(q));
    struct settings settings = settings_of_args(SLICE(""));
    settings.limit = (struct limit){LIMIT_DROP_HEAD, 2, UINT64_MAX};
    queue_configure(q, &settings);
    queue_check(q);
    ck_assert(is_ready(q));
    expect_waiting(q, "ab");
    consumer_exit(&c);
    queue_delete(&q);
}
END_TEST

START_TEST(test_reject)
{
    struct entry entry;
    struct queue *q = make("reject-publish", 2, 10);
    ck_assert(!queue_refuses(q, 10));
    ck_assert(queue_refuses(q, 11));
    push_size(q, '1', 6);
    ck_assert(!queue_refuses(q, 4));
    ck_assert(queue_refuses(q, 5));
    push_size(q, '2', 1);
    ck_assert(queue_refuses(q, 0));
    ck_assert(queue_get(q, false, &entry));
    ck_assert(!queue_refuses(q, 9));
    push_size(q, '3', 9);
    queue_requeue(q, &entry, true); /* beyond the limit: nothing is dropped */
    ck_assert(queue_refuses(q, 0));
    expect_waiting(q, "123");
    queue_delete(&q);
}
END_TEST

/* A message of two queues, of which one drops it at once. */
START_TEST(test_shared_message)
{
    struct queue *q = make_plain(), *none = make(NULL, 0, -1);
    struct message *m = letter('1', 1);
    queue_push(none, m, false);
    ck_assert_uint_eq(m->refs, 1);
    queue_push(q, m, false);
    ck_assert_uint_eq(m->refs, 2);
    message_unref(&pool, &m);
    expect_waiting(q, "1");
    queue_delete(&q);
    queue_delete(&none);
}
END_TEST

/* --- recovery, with a store --- */

static struct fakedisk *disk;
static struct store *store;

static void ignore_definition(void *arg, const struct definition *definition)
{
    (void)arg, (void)definition;
}

static void ignore_delivered(void *arg, uint64_t queue_id, uint64_t sequence)
{
    (void)arg, (void)queue_id, (void)sequence;
}

/* As broker/recovery.c. */
static void restore(void *arg, const struct stored_message *stored, uint64_t batch)
{
    struct queue *q = arg;
    struct message *m = letter((char)stored->body.at[0], stored->body.len);
    m->batch = batch;
    m->journal_refs = 1;
    queue_restore(q, 0, m, stored->targets[0].sequence, 0);
    message_unref(&pool, &m);
}

static void open_store(struct queue *q)
{
    char error[512] = "";
    struct recovery_sink sink = {ignore_definition, restore, ignore_delivered, q};
    struct store_options options = {
        .dir = "data", .io = fakedisk_io(disk), .segment_bytes = 16 * 1024, .without_thread = true};
    int failed = store_open(&store, &options, error, sizeof(error));
    ck_assert_msg(failed == 0, "%s", error);
    home.store = store; /* as the server does: recovery must not use it */
    failed = store_recover(store, &sink, error, sizeof(error));
    ck_assert_msg(failed == 0, "%s", error);
}

static void push_stored(struct queue *q, char which)
{
    struct message *m = letter(which, 1);
    struct stored_target target = lane_target(q, m);
    m->batch = store_message(
        store, &(struct stored_message){.targets = &target, .target_count = 1, .body = message_body(m)});
    m->journal_refs = 1;
    queue_push(q, m, true);
    message_unref(&pool, &m);
}

/* Drops the queue's memory without telling the store, and starts again with what is on disk. */
static struct queue *restart(struct queue *q, int64_t messages_max)
{
    store_close(&store);
    home.store = NULL;
    queue_delete(&q);
    while (queue_home_bury(&home, 100))
        ;
    q = make(NULL, messages_max, -1);
    open_store(q);
    return q;
}

START_TEST(test_recovery)
{
    disk = fakedisk_new(3);
    struct queue *q = make_plain();
    open_store(q);
    store_define(store, &(struct definition){.kind = DEFINITION_QUEUE,
                                             .id = q->id,
                                             .vhost = SLICE("/"),
                                             .name = q->name});
    for (char which = '1'; which <= '5'; which++)
        push_stored(q, which);
    q = restart(q, 3);
    ck_assert_uint_eq(queue_ready(q), 5); /* no limit yet: the journal is being read */
    ck_assert_uint_eq(q->order.next_sequence, 6);
    queue_restore_delivered(q, 0, 1);
    ck_assert(queue_first(q)->redelivered);
    queue_restored(q, 1);
    queue_check(q);
    ck_assert_uint_eq(queue_ready(q), 3);
    ck_assert(!queue_first(q)->redelivered);
    struct store_stats stats;
    store_stats(store, &stats);
    ck_assert_uint_eq(stats.live_messages, 3);
    push_stored(q, '6');
    q = restart(q, -1); /* what was dropped stays away */
    queue_restored(q, 100);
    ck_assert_uint_eq(q->order.next_sequence, 100);
    expect_waiting(q, "456");
    store_stats(store, &stats);
    ck_assert_uint_eq(stats.live_messages, 0);
    queue_delete(&q);
    store_close(&store);
    fakedisk_free(&disk);
}
END_TEST

START_TEST(test_restore_out_of_order)
{
    struct queue *q = make_plain();
    struct message *m = letter('1', 1);
    m->journal_refs = 2;
    queue_restore(q, 0, m, 5, 0);
    queue_restore(q, 0, m, 5, 0);
}
END_TEST

static void add_tests(TCase *tcase)
{
    tcase_add_test(tcase, test_round_robin);
    tcase_add_test(tcase, test_credit);
    tcase_add_test(tcase, test_parked);
    tcase_add_test(tcase, test_exclusive_consumer);
    tcase_add_test(tcase, test_requeue);
    tcase_add_test(tcase, test_purge);
    tcase_add_test(tcase, test_delete_with_unacked);
    tcase_add_test_raise_signal(tcase, test_delete_with_consumer, SIGABRT);
    tcase_add_test(tcase, test_limit_of_args);
    tcase_add_test(tcase, test_drop_head);
    tcase_add_test(tcase, test_drop_head_bytes);
    tcase_add_test(tcase, test_drop_head_with_consumers);
    tcase_add_test(tcase, test_drop_head_0);
    tcase_add_test(tcase, test_drop_head_of_a_late_level);
    tcase_add_test(tcase, test_reject);
    tcase_add_test(tcase, test_shared_message);
    tcase_add_test(tcase, test_recovery);
    tcase_add_test_raise_signal(tcase, test_restore_out_of_order, SIGABRT);
}

int main(void)
{
    Suite *suite = suite_create("queue");
    TCase *tcase = tcase_create("queue");
    tcase_add_checked_fixture(tcase, setup, teardown);
    add_tests(tcase);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
