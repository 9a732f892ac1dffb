/* test_store.c - the store through its header: batches, acks, recovery, recycling, lock, failures,
 * the thread. */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "store/store.h"
#include "tests/sim/fakedisk.h"
#include "tests/sim/recovered.h"
#include "tests/unit/suite.h"

enum { SMALL_SEGMENT = 16 * 1024 };

static struct fakedisk *disk;
static struct store *store;
static struct recovered found;
static char error[512];
static struct buf notes;

static void keep_note(void *arg, enum store_note level, const char *text)
{
    (void)arg;
    buf_printf(&notes, "%d %s\n", (int)level, text);
}

static int try_start(void)
{
    struct store_options options = {.dir = "data",
                                    .io = fakedisk_io(disk),
                                    .segment_bytes = SMALL_SEGMENT,
                                    .without_thread = true,
                                    .note = keep_note};
    struct recovery_sink sink = recovered_sink(&found);
    recovered_free(&found);
    error[0] = 0;
    int failed = store_open(&store, &options, error, sizeof error);
    return failed ? failed : store_recover(store, &sink, error, sizeof error);
}

static void start(void)
{
    int failed = try_start();
    ck_assert_msg(failed == 0, "%s", error);
}

static void crash(enum fakedisk_loss loss)
{
    store_abandon(&store);
    fakedisk_crash(disk, loss);
}

static void restart(enum fakedisk_loss loss)
{
    crash(loss);
    start();
}

static void setup(void)
{
    disk = fakedisk_new(7);
}

static void teardown(void)
{
    store_abandon(&store);
    recovered_free(&found);
    buf_free(&notes);
    fakedisk_free(&disk);
}

static void define_queue(uint64_t id)
{
    char name[32];
    int len = snprintf(name, sizeof name, "q%llu", (unsigned long long)id);
    store_define(store, &(struct definition){.kind = DEFINITION_QUEUE,
                                             .id = id,
                                             .vhost = SLICE("/"),
                                             .name = slice_of(name, (size_t)len)});
}

static uint64_t put(uint64_t queue_id, uint64_t sequence, const char *body)
{
    struct stored_target target = {queue_id, sequence};
    return store_message(store, &(struct stored_message){.targets = &target,
                                                         .target_count = 1,
                                                         .exchange = SLICE("ex"),
                                                         .key = SLICE("key"),
                                                         .props = SLICE("p"),
                                                         .body = slice_of_string(body)});
}

static void sync_all(void)
{
    store_commit(store);
    store_sync_now(store);
    ck_assert_uint_eq(store_durable(store) + 1, store_open_batch(store));
}

START_TEST(batches_become_durable_in_order)
{
    start();
    ck_assert(!store_busy(store));
    ck_assert_uint_eq(store_open_batch(store), 1);
    ck_assert_uint_eq(store_durable(store), 0);
    store_commit(store);
    ck_assert_uint_eq(store_open_batch(store), 1);
    define_queue(1);
    ck_assert_uint_eq(put(1, 1, "a"), 1);
    ck_assert(store_busy(store));
    ck_assert_uint_gt(store_pending_bytes(store), 0);
    store_commit(store);
    ck_assert_uint_eq(store_open_batch(store), 2);
    ck_assert_uint_eq(store_durable(store), 0);
    ck_assert_uint_eq(put(1, 2, "b"), 2);
    size_t pending = store_pending_bytes(store);
    store_commit(store); /* the first is still under way: the second goes on filling */
    ck_assert_uint_eq(store_open_batch(store), 2);
    store_sync_now(store);
    ck_assert_uint_eq(store_durable(store), 1);
    ck_assert_uint_lt(store_pending_bytes(store), pending);
    ck_assert(store_busy(store));
    sync_all();
    ck_assert(!store_busy(store));
    ck_assert_uint_eq(store_pending_bytes(store), 0);
    struct store_stats stats;
    store_stats(store, &stats);
    ck_assert_uint_eq(stats.batches, 2);
    ck_assert_uint_eq(stats.live_messages, 2);
    ck_assert_uint_eq(stats.segments, 1);
    ck_assert_uint_eq(stats.journal_bytes, SMALL_SEGMENT);
    ck_assert_uint_eq(stats.syncs, 3); /* the header's and two */
}
END_TEST

START_TEST(recovers_in_order_what_is_not_acked)
{
    struct store_run run = {0}, other = {0};
    start();
    define_queue(1), define_queue(2);
    struct stored_target both[] = {{1, 2}, {2, 1}};
    put(1, 1, "one");
    store_message(
        store, &(struct stored_message){.targets = both, .target_count = 2, .body = SLICE("two")});
    put(1, 3, "three");
    put(2, 2, "four");
    sync_all();
    store_ack(store, &run, 1, 1);
    store_ack(store, &run, 1, 2);
    store_ack(store, &other, 2, 2);
    put(1, 4, "five");
    store_ack(store, &run, 1, 4); /* within its own batch, and not consecutive */
    sync_all();
    restart(FAKEDISK_LOSE_ALL);
    ck_assert_str_eq(recovered_text(&found.messages), "2:1 |||two\n1:3 ex|key|p|three\n");
    ck_assert_uint_eq(found.batches[0], 1);
    ck_assert_uint_eq(found.batches[1], 1);
    ck_assert_uint_eq(store_open_batch(store), 3);
    ck_assert_uint_eq(store_durable(store), 2);
    struct store_stats stats;
    store_stats(store, &stats);
    ck_assert_uint_eq(stats.live_messages, 2);
    store_release(store, 1);
    store_release(store, 1);
    store_stats(store, &stats);
    ck_assert_uint_eq(stats.live_messages, 0);
}
END_TEST

START_TEST(unsynced_batch_is_lost_whole)
{
    start();
    define_queue(1);
    put(1, 1, "kept");
    sync_all();
    put(1, 2, "lost");
    store_commit(store);
    restart(FAKEDISK_LOSE_NONE);
    ck_assert_str_eq(recovered_text(&found.messages), "1:1 ex|key|p|kept\n");
}
END_TEST

START_TEST(runs_of_acks_are_one_range)
{
    struct store_run run = {0};
    start();
    define_queue(1);
    for (uint64_t i = 1; i <= 1000; i++) {
        put(1, i, "x");
        store_ack(store, &run, 1, i);
        store_delivered(store, &run, 1, i);
    }
    size_t with = store_pending_bytes(store);
    sync_all();
    for (uint64_t i = 1001; i <= 2000; i++)
        put(1, i, "x");
    ck_assert_uint_lt(with, store_pending_bytes(store) + 500);
    sync_all();
    restart(FAKEDISK_LOSE_ALL);
    ck_assert_uint_eq(found.message_count, 1000);
    ck_assert_str_eq(recovered_text(&found.delivered), "1 1000\n");
}
END_TEST

START_TEST(delivered_keeps_the_highest)
{
    struct store_run run = {0};
    start();
    define_queue(1), define_queue(2);
    put(1, 1, "a"), put(1, 2, "b"), put(1, 3, "c"), put(2, 1, "d");
    store_delivered(store, &run, 1, 2);
    store_delivered(store, &run, 1, 1);
    sync_all();
    store_delivered(store, &run, 1, 1);
    sync_all();
    restart(FAKEDISK_LOSE_ALL);
    ck_assert_str_eq(recovered_text(&found.delivered), "1 2\n");
    ck_assert_uint_eq(found.message_count, 4);
}
END_TEST

START_TEST(targets_of_unknown_queues_are_dropped)
{
    start();
    define_queue(1), define_queue(2);
    struct stored_target both[] = {{1, 1}, {2, 1}};
    store_message(
        store, &(struct stored_message){.targets = both, .target_count = 2, .body = SLICE("both")});
    put(2, 2, "only");
    sync_all();
    store_undefine(store, &(struct definition){.kind = DEFINITION_QUEUE, .id = 2});
    sync_all();
    restart(FAKEDISK_LOSE_ALL);
    ck_assert_str_eq(recovered_text(&found.messages), "1:1 |||both\n");
}
END_TEST

/* A queue that was empty at a restart may begin its sequences again: old acks are not about them.
 */
START_TEST(old_acks_spare_new_messages)
{
    struct store_run run = {0};
    start();
    define_queue(1);
    put(1, 1, "old"), put(1, 2, "old");
    store_ack(store, &run, 1, 1), store_ack(store, &run, 1, 2);
    store_delivered(store, &run, 1, 2);
    sync_all();
    restart(FAKEDISK_LOSE_ALL);
    ck_assert_uint_eq(found.message_count, 0);
    put(1, 1, "new"), put(1, 2, "new");
    sync_all();
    restart(FAKEDISK_LOSE_ALL);
    ck_assert_str_eq(recovered_text(&found.messages), "1:1 ex|key|p|new\n1:2 ex|key|p|new\n");
    ck_assert_str_eq(recovered_text(&found.delivered), "");
}
END_TEST

START_TEST(queue_ids_are_never_given_twice)
{
    start();
    ck_assert_uint_eq(store_queue_id_next(store), 1);
    define_queue(9);
    sync_all();
    store_undefine(store, &(struct definition){.kind = DEFINITION_QUEUE, .id = 9});
    sync_all();
    restart(FAKEDISK_LOSE_ALL);
    ck_assert_str_eq(recovered_text(&found.definitions), "");
    ck_assert_uint_eq(store_queue_id_next(store), 10);
}
END_TEST

/* Messages come and go for long: the disk space stays bounded, and nothing acked comes back. */
START_TEST(segments_are_recycled)
{
    struct store_run run = {0};
    struct store_stats stats;
    uint64_t batches[64];
    char body[600];
    memset(body, 'b', sizeof body - 1);
    body[sizeof body - 1] = 0;
    start();
    define_queue(1);
    for (uint64_t i = 0; i < 3000; i++) {
        if (i >= 64) {
            store_ack(store, &run, 1, i - 64);
            store_release(store, batches[i % 64]);
        }
        batches[i % 64] = put(1, i, body);
        if (i % 3 == 0)
            sync_all();
        if (i % 500 == 499) {
            sync_all();
            store_stats(store, &stats);
            unsigned files = stats.segments + stats.spare_segments;
            restart(FAKEDISK_LOSE_SOME);
            ck_assert_uint_eq(found.message_count, 64);
            run = (struct store_run){0};
            store_stats(store, &stats);
            ck_assert_uint_eq(stats.segments + stats.spare_segments, files);
        }
    }
    store_stats(store, &stats);
    ck_assert_uint_eq(stats.live_messages, 64);
    ck_assert_uint_le(stats.segments + stats.spare_segments, 6);
    ck_assert_uint_le(stats.journal_bytes, 6 * SMALL_SEGMENT);
}
END_TEST

START_TEST(many_spares_are_unlinked)
{
    struct store_run run = {0};
    struct store_stats stats;
    char body[6000];
    memset(body, 'b', sizeof body - 1);
    body[sizeof body - 1] = 0;
    start();
    define_queue(1);
    for (uint64_t i = 1; i <= 100; i++) {
        put(1, i, body);
        sync_all();
    }
    store_stats(store, &stats);
    ck_assert_uint_ge(stats.segments, 50);
    for (uint64_t i = 1; i <= 100; i++) {
        store_ack(store, &run, 1, i);
        store_release(store, i);
    }
    for (uint64_t i = 101; i <= 110; i++) {
        put(1, i, "small");
        sync_all();
    }
    store_stats(store, &stats);
    ck_assert_uint_le(stats.spare_segments, 8);
    ck_assert_uint_le(stats.journal_bytes, 10 * SMALL_SEGMENT);
    ck_assert_ptr_null(fakedisk_get(disk, "data/journal-000001.seg").at);
    restart(FAKEDISK_LOSE_SOME);
    ck_assert_uint_eq(found.message_count, 10);
}
END_TEST

START_TEST(oversize_batch_has_its_own_segment)
{
    struct store_run run = {0};
    struct store_stats stats;
    size_t size = 300 * 1000;
    char *body = mem_alloc(size + 1);
    memset(body, 'L', size);
    body[size] = 0;
    start();
    define_queue(1);
    put(1, 1, "before");
    sync_all();
    uint64_t batch = put(1, 2, body);
    sync_all();
    put(1, 3, "after");
    sync_all();
    restart(FAKEDISK_LOSE_ALL);
    ck_assert_uint_eq(found.message_count, 3);
    store_stats(store, &stats);
    ck_assert_uint_ge(stats.journal_bytes, size);
    ck_assert_uint_ge(fakedisk_get(disk, "data/journal-000002.seg").len, size);
    for (uint64_t i = 1; i <= 3; i++) {
        store_ack(store, &run, 1, i);
        store_release(store, i == 1 ? batch - 1 : i == 2 ? batch : batch + 1);
    }
    for (uint64_t i = 0; i < 3; i++) {
        put(1, 4 + i, "later");
        sync_all();
    }
    ck_assert_ptr_null(fakedisk_get(disk, "data/journal-000002.seg").at);
    restart(FAKEDISK_LOSE_ALL);
    ck_assert_uint_eq(found.message_count, 3);
    mem_free(body);
}
END_TEST

START_TEST(lock_names_its_holder)
{
    struct store *second;
    struct store_options options = {.dir = "data", .io = fakedisk_io(disk), .without_thread = true};
    char pid[64];
    start();
    ck_assert_int_eq(store_open(&second, &options, error, sizeof error), -EWOULDBLOCK);
    ck_assert_ptr_null(second);
    snprintf(pid, sizeof pid, "data: in use by the process with pid %ld", (long)getpid());
    ck_assert_str_eq(error, pid);
    store_close(&store);
    ck_assert_ptr_null(store);
    start();
}
END_TEST

START_TEST(close_writes_everything)
{
    start();
    define_queue(1);
    put(1, 1, "a");
    store_commit(store);
    put(1, 2, "b");
    store_close(&store);
    fakedisk_crash(disk, FAKEDISK_LOSE_ALL);
    start();
    ck_assert_uint_eq(found.message_count, 2);
    ck_assert_ptr_nonnull(strstr(recovered_text(&found.definitions), "|q1|"));
}
END_TEST

START_TEST(short_writes_are_completed)
{
    fakedisk_short_writes(disk, true);
    start();
    define_queue(1);
    for (uint64_t i = 1; i <= 50; i++) {
        put(1, i, "body");
        sync_all();
    }
    restart(FAKEDISK_LOSE_ALL);
    ck_assert_uint_eq(found.message_count, 50);
}
END_TEST

/* Whichever call fails: nothing after it is called durable, and what was durable before is there.
 */
START_TEST(failures_are_final)
{
    for (uint64_t at = 1;; at++) {
        teardown();
        setup();
        start();
        define_queue(1);
        put(1, 1, "first");
        sync_all();
        uint64_t durable = store_durable(store);
        fakedisk_fail_at(disk, fakedisk_changes(disk) + at, EIO, false);
        define_queue(2);
        put(1, 2, "second");
        store_commit(store);
        store_sync_now(store);
        int failed = store_failed(store);
        if (failed) {
            ck_assert_int_eq(failed, -EIO);
            ck_assert_uint_eq(store_durable(store), durable);
            store_sync_now(store);
            ck_assert_uint_eq(store_durable(store), durable);
        }
        store_close(&store);
        fakedisk_crash(disk, FAKEDISK_LOSE_SOME);
        start();
        ck_assert_int_eq(strncmp(recovered_text(&found.messages), "1:1 ex|key|p|first\n", 19), 0);
        if (!failed)
            ck_assert_uint_eq(found.message_count, 2);
        if (!failed)
            break;
        ck_assert_uint_lt(at, 100);
    }
}
END_TEST

static void fill_second_batch(void)
{
    static char body[20000]; /* more than what is left of the segment: a new one begins */
    memset(body, 'b', sizeof body - 1);
    define_queue(2);
    put(1, 2, "second");
    put(2, 1, body);
    store_commit(store);
    store_sync_now(store);
}

/* Whichever write finds no space: nothing after it is durable until there is some, and then all is.
 * A sync that fails for that reason is final as any other. */
START_TEST(lack_of_space_is_waited_out)
{
    unsigned waited = 0, failures = 0;
    for (uint64_t at = 1;; at++) {
        teardown();
        setup();
        start();
        define_queue(1);
        put(1, 1, "first");
        sync_all();
        uint64_t durable = store_durable(store);
        notes.len = 0;
        fakedisk_fail_at(disk, fakedisk_changes(disk) + at, at % 2 ? EDQUOT : ENOSPC, true);
        fill_second_batch();
        if (store_failed(store)) {
            ck_assert_int_eq(store_failed(store), -EIO);
            failures++;
            continue;
        }
        if (!store_full(store))
            break;
        for (int i = 0; i < 3; i++) {
            store_sync_now(store);
            put(1, 3 + (uint64_t)i, "meanwhile");
            store_commit(store);
            ck_assert_uint_eq(store_durable(store), durable);
            ck_assert(store_busy(store) && store_full(store));
        }
        ck_assert_str_eq(recovered_text(&notes), "2 data: no space left: nothing is confirmed until "
                                                 "there is some again\n");
        fakedisk_fail_at(disk, 0, 0, false);
        store_sync_now(store);
        ck_assert(!store_full(store));
        ck_assert_uint_eq(store_durable(store), durable + 1);
        sync_all();
        ck_assert_ptr_nonnull(strstr(recovered_text(&notes), "0 data: there is space again\n"));
        restart(FAKEDISK_LOSE_ALL);
        ck_assert_uint_eq(found.message_count, 6);
        ck_assert_ptr_nonnull(strstr(recovered_text(&found.definitions), "|q2|"));
        waited++;
        ck_assert_uint_lt(at, 100);
    }
    ck_assert_uint_gt(waited, 4);
    ck_assert_uint_gt(failures, 2);
}
END_TEST

/* Power goes while there is no space: what was durable is there, what was not may be. */
START_TEST(power_loss_without_space)
{
    for (uint64_t at = 1; at < 12; at++) {
        teardown();
        setup();
        start();
        define_queue(1);
        put(1, 1, "first");
        sync_all();
        fakedisk_fail_at(disk, fakedisk_changes(disk) + at, ENOSPC, true);
        fill_second_batch();
        store_sync_now(store);
        restart(FAKEDISK_LOSE_SOME);
        ck_assert_int_eq(strncmp(recovered_text(&found.messages), "1:1 ex|key|p|first\n", 19), 0);
    }
}
END_TEST

START_TEST(failures_at_start_are_told)
{
    for (uint64_t at = 1;; at++) {
        teardown();
        setup();
        fakedisk_fail_at(disk, at, EIO, false);
        int failed = try_start();
        if (!failed)
            break;
        ck_assert_msg(failed == -EIO, "call %d: %s", (int)at, error);
        ck_assert_msg(strstr(error, "data") && strstr(error, strerror(EIO)), "%s", error);
        store_close(&store);
        start();
    }
}
END_TEST

static pthread_mutex_t woken_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t woken_cond = PTHREAD_COND_INITIALIZER;
static unsigned woken;

static void wake(void *arg)
{
    (void)arg;
    pthread_mutex_lock(&woken_mutex);
    woken++;
    pthread_mutex_unlock(&woken_mutex);
    pthread_cond_signal(&woken_cond);
}

static void wait_durable(uint64_t batch)
{
    pthread_mutex_lock(&woken_mutex);
    while (store_durable(store) < batch)
        pthread_cond_wait(&woken_cond, &woken_mutex);
    pthread_mutex_unlock(&woken_mutex);
}

static void start_threaded(const char *dir)
{
    struct store_options options = {.dir = dir, .segment_bytes = SMALL_SEGMENT, .wake = wake};
    struct recovery_sink sink = recovered_sink(&found);
    recovered_free(&found);
    ck_assert_msg(store_open(&store, &options, error, sizeof error) == 0, "%s", error);
    ck_assert_msg(store_recover(store, &sink, error, sizeof error) == 0, "%s", error);
}

START_TEST(thread_writes_real_files)
{
    char top[] = "/tmp/leveret-test-store-XXXXXX", dir[128], command[160];
    uint64_t batches[100];
    struct store_run run = {0};
    ck_assert_ptr_nonnull(mkdtemp(top));
    snprintf(dir, sizeof dir, "%s/deep/data", top);
    start_threaded(dir);
    for (uint64_t i = 0; i < 20000; i++) {
        if (i % 100 == 0)
            define_queue(i + 1);
        if (i >= 100) {
            store_ack(store, &run, 1, i - 100);
            store_release(store, batches[i % 100]);
        }
        batches[i % 100] = put(1, i, "some bytes of a body");
        store_commit(store);
        if (i % 1000 == 999)
            wait_durable(store_open_batch(store) - 1);
    }
    ck_assert_uint_gt(woken, 0);
    store_close(&store);
    start_threaded(dir);
    ck_assert_uint_eq(found.message_count, 100);
    struct store *second;
    ck_assert_int_eq(store_open(&second, &(struct store_options){.dir = dir}, error, sizeof error),
                     -EWOULDBLOCK);
    ck_assert_ptr_nonnull(strstr(error, "in use by the process with pid"));
    store_close(&store);
    snprintf(command, sizeof command, "rm -r '%s'", top);
    ck_assert_int_eq(system(command), 0);
}
END_TEST

/* Closing while one batch is under way and the next one is filled. */
START_TEST(close_waits_for_both_batches)
{
    char dir[] = "/tmp/leveret-test-close-XXXXXX", command[160], body[1000];
    memset(body, 'b', sizeof body - 1);
    body[sizeof body - 1] = 0;
    ck_assert_ptr_nonnull(mkdtemp(dir));
    for (uint64_t round = 0; round < 30; round++) {
        start_threaded(dir);
        ck_assert_uint_eq(found.message_count, round * 300);
        define_queue(1);
        for (uint64_t i = 0; i < 300; i++) {
            put(1, round * 300 + i, body);
            if (i == 200)
                store_commit(store);
        }
        store_close(&store);
    }
    snprintf(command, sizeof command, "rm -r '%s'", dir);
    ck_assert_int_eq(system(command), 0);
}
END_TEST

static bool syncs_fail;

static int failing_sync(void *arg, int fd)
{
    return syncs_fail ? -EIO : io_system()->fdatasync(arg, fd);
}

/* With a thread, a failed sync is the end of the process, which says so and confirms nothing. */
static void write_on_failing_disk(const char *dir, const struct io *io)
{
    struct store_options options = {.dir = dir, .io = io, .wake = wake};
    struct recovery_sink sink = recovered_sink(&found);
    if (store_open(&store, &options, error, sizeof error) ||
        store_recover(store, &sink, error, sizeof error))
        _exit(3);
    syncs_fail = true;
    put(1, 1, "never durable");
    store_commit(store);
    wait_durable(1);
    _exit(4);
}

START_TEST(failed_sync_ends_the_process)
{
    char dir[] = "/tmp/leveret-test-fail-XXXXXX", text[512], command[160];
    struct io io = *io_system();
    int ends[2], status;
    io.fdatasync = failing_sync;
    ck_assert_ptr_nonnull(mkdtemp(dir));
    start_threaded(dir);
    store_close(&store); /* the definitions are made while the disk is well */
    ck_assert_int_eq(pipe(ends), 0);
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        write_on_failing_disk(dir, &io);
    }
    close(ends[1]);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ssize_t got = read(ends[0], text, sizeof text - 1);
    text[got > 0 ? got : 0] = 0;
    close(ends[0]);
    ck_assert(WIFEXITED(status));
    ck_assert_msg(WEXITSTATUS(status) == 1, "%d", WEXITSTATUS(status));
    ck_assert_msg(strstr(text,
                         "journal-000001.seg: Input/output error; stopping. Nothing was confirmed "
                         "that is not on disk.\n"),
                  "%s", text);
    start_threaded(dir);
    ck_assert_uint_eq(found.message_count, 0);
    snprintf(command, sizeof command, "rm -r '%s'", dir);
    ck_assert_int_eq(system(command), 0);
}
END_TEST

enum { SLOW_SYNC_MS = 70 };

static int slow_sync(void *arg, int fd)
{
    const struct timespec time = {0, SLOW_SYNC_MS * 1000000L};
    nanosleep(&time, NULL);
    return io_system()->fdatasync(arg, fd);
}

static size_t memory_after_large_batches(const char *dir, const struct io *io)
{
    struct store_options options = {.dir = dir, .io = io, .wake = wake};
    struct recovery_sink sink = recovered_sink(&found);
    struct store_stats stats;
    static char body[100000];
    memset(body, 'b', sizeof body - 1);
    ck_assert_int_eq(store_open(&store, &options, error, sizeof error), 0);
    ck_assert_int_eq(store_recover(store, &sink, error, sizeof error), 0);
    for (uint64_t batch = 0; batch < 4; batch++) {
        for (uint64_t i = 0; i < 40; i++)
            put(1, 1 + batch * 40 + i, body);
        uint64_t number = store_open_batch(store);
        store_commit(store);
        wait_durable(number);
    }
    store_stats(store, &stats);
    put(1, 1000, body);
    ck_assert_uint_gt(store_pending_bytes(store), sizeof body * 4 / 3);
    store_close(&store);
    return stats.buffer_bytes;
}

/* What a batch used last, the next one uses, without asking the system for it anew; but on a slow disk the
 * other one is the larger just then. */
START_TEST(a_slow_disk_leaves_no_memory_behind)
{
    char dir[] = "/tmp/leveret-test-slow-XXXXXX", command[160];
    struct io io = *io_system();
    io.fdatasync = slow_sync;
    ck_assert_ptr_nonnull(mkdtemp(dir));
    start_threaded(dir);
    define_queue(1);
    store_close(&store);
    ck_assert_uint_lt(memory_after_large_batches(dir, &io), 1000000);
    snprintf(command, sizeof command, "rm -r '%s'", dir);
    ck_assert_int_eq(system(command), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("store");
    TCase *tcase = tcase_create("store");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, batches_become_durable_in_order);
    tcase_add_test(tcase, recovers_in_order_what_is_not_acked);
    tcase_add_test(tcase, unsynced_batch_is_lost_whole);
    tcase_add_test(tcase, runs_of_acks_are_one_range);
    tcase_add_test(tcase, delivered_keeps_the_highest);
    tcase_add_test(tcase, targets_of_unknown_queues_are_dropped);
    tcase_add_test(tcase, old_acks_spare_new_messages);
    tcase_add_test(tcase, queue_ids_are_never_given_twice);
    tcase_add_test(tcase, segments_are_recycled);
    tcase_add_test(tcase, many_spares_are_unlinked);
    tcase_add_test(tcase, oversize_batch_has_its_own_segment);
    tcase_add_test(tcase, a_slow_disk_leaves_no_memory_behind);
    tcase_add_test(tcase, lock_names_its_holder);
    tcase_add_test(tcase, close_writes_everything);
    tcase_add_test(tcase, short_writes_are_completed);
    tcase_add_test(tcase, failures_are_final);
    tcase_add_test(tcase, lack_of_space_is_waited_out);
    tcase_add_test(tcase, power_loss_without_space);
    tcase_add_test(tcase, failures_at_start_are_told);
    tcase_add_test(tcase, thread_writes_real_files);
    tcase_add_test(tcase, close_waits_for_both_batches);
    tcase_add_test(tcase, failed_sync_ends_the_process);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
