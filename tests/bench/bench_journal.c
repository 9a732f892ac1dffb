/* bench_journal.c - what the journal costs: nanoseconds on the loop thread, and confirmed messages
 * a second on a real disk with group commit. bench_journal [DIR] [SECONDS]: DIR is made, and
 * emptied at the end. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/assert.h"
#include "base/clock.h"
#include "store/store.h"

enum { WINDOW_MAX = 100000 };

struct bench {
    struct store *store;
    pthread_mutex_t mutex;
    pthread_cond_t woken;
    struct store_run run;
    uint64_t published, acked;
    uint64_t batches[WINDOW_MAX]; /* of the messages not yet acked, a ring */
    uint8_t body[1024];
    size_t body_size;
};

static double now(void)
{
    return (double)clock_now_ns() / 1e9;
}

static void wake(void *arg)
{
    struct bench *b = arg;
    pthread_mutex_lock(&b->mutex);
    pthread_mutex_unlock(&b->mutex);
    pthread_cond_signal(&b->woken);
}

static void publish(struct bench *b)
{
    static const uint8_t props[15] = {0x90, 0};
    struct stored_target target = {1, b->published};
    b->batches[b->published % WINDOW_MAX] =
        store_message(b->store, &(struct stored_message){.targets = &target,
                                                         .target_count = 1,
                                                         .exchange = SLICE(""),
                                                         .key = SLICE("bench.queue"),
                                                         .props = slice_of(props, sizeof props),
                                                         .body = slice_of(b->body, b->body_size)});
    b->published++;
}

static void ack(struct bench *b)
{
    store_ack(b->store, &b->run, 1, b->acked);
    store_release(b->store, b->batches[b->acked % WINDOW_MAX]);
    b->acked++;
}

static void ignore_definition(void *arg, const struct definition *definition)
{
    (void)arg, (void)definition;
}

static void ignore_message(void *arg, const struct stored_message *message, uint64_t batch)
{
    (void)message, (void)batch;
    ++*(uint64_t *)arg;
}

static void ignore_delivered(void *arg, uint64_t queue_id, uint64_t sequence)
{
    (void)arg, (void)queue_id, (void)sequence;
}

static uint64_t open_store(struct bench *b, const char *dir)
{
    char error[512];
    uint64_t messages = 0;
    struct store_options options = {.dir = dir, .wake = wake, .wake_arg = b};
    struct recovery_sink sink = {.definition = ignore_definition,
                                 .message = ignore_message,
                                 .delivered = ignore_delivered,
                                 .arg = &messages};
    if (store_open(&b->store, &options, error, sizeof error) ||
        store_recover(b->store, &sink, error, sizeof error))
        panic("%s", error);
    return messages;
}

/* Publishes up to `window` messages ahead of what is durable, acks each once it is. */
static void run_window(struct bench *b, unsigned window, double seconds)
{
    double begun = now(), until = begun + seconds, worst = 0;
    uint64_t first = b->published;
    struct store_stats before, after;
    store_stats(b->store, &before);
    while (now() < until) {
        double turn = now();
        while (b->published - b->acked < window)
            publish(b);
        store_commit(b->store);
        pthread_mutex_lock(&b->mutex);
        while (store_durable(b->store) < b->batches[b->acked % WINDOW_MAX])
            pthread_cond_wait(&b->woken, &b->mutex);
        pthread_mutex_unlock(&b->mutex);
        uint64_t durable = store_durable(b->store);
        while (b->acked < b->published && b->batches[b->acked % WINDOW_MAX] <= durable)
            ack(b);
        worst = now() - turn > worst ? now() - turn : worst;
    }
    double took = now() - begun;
    store_stats(b->store, &after);
    printf("%5zu B, window %6u: %9.0f confirmed/s, %6.0f syncs/s, %6.1f MB/s, slowest turn %.1f "
           "ms, %u+%u segments\n",
           b->body_size, window, (double)(b->published - first) / took,
           (double)(after.syncs - before.syncs) / took,
           (double)(after.bytes_written - before.bytes_written) / took / 1e6, worst * 1e3,
           after.segments, after.spare_segments);
}

static void drain(struct bench *b)
{
    while (b->acked < b->published)
        ack(b);
    do
        store_commit(b->store);
    while (store_busy(b->store));
}

/* The loop thread's share: batches of 2,000 messages, as a busy turn makes them, timed without the
 * commit. */
static void run_loop_cost(struct bench *b)
{
    double put = 0, acks = 0;
    enum { TURNS = 500, TURN = 2000 };
    for (int turn = 0; turn < TURNS; turn++) {
        double begun = now();
        for (int i = 0; i < TURN; i++)
            publish(b);
        double middle = now();
        for (int i = 0; i < TURN; i++)
            ack(b);
        acks += now() - middle, put += middle - begun;
        do
            store_commit(b->store);
        while (store_busy(b->store));
    }
    printf("%5zu B: store_message %.1f ns, store_ack and store_release %.1f ns\n", b->body_size,
           put / TURNS / TURN * 1e9, acks / TURNS / TURN * 1e9);
}

static void run_definitions(struct bench *b)
{
    enum { QUEUES = 50000 };
    double begun = now();
    char name[32];
    for (int i = 0; i < QUEUES; i++) {
        int len = snprintf(name, sizeof name, "bench.queue.%d", i);
        store_define(b->store, &(struct definition){.kind = DEFINITION_QUEUE,
                                                    .id = (uint64_t)i + 2,
                                                    .vhost = SLICE("/"),
                                                    .name = slice_of(name, (size_t)len)});
        if (i % 100 == 0)
            store_commit(b->store);
    }
    do
        store_commit(b->store);
    while (store_busy(b->store));
    printf("definitions: %.0f queues/s\n", QUEUES / (now() - begun));
}

static void run_recovery(struct bench *b, const char *dir)
{
    enum { MESSAGES = 1000000 };
    drain(b);
    for (int i = 0; i < MESSAGES; i++) {
        publish(b);
        b->acked = b->published; /* they stay live; the ring of batches is not asked for them */
        if (i % 2000 == 0)
            store_commit(b->store);
    }
    store_close(&b->store);
    double begun = now();
    uint64_t messages = open_store(b, dir);
    printf("recovery: %llu messages in %.0f ms\n", (unsigned long long)messages,
           (now() - begun) * 1e3);
}

int main(int argc, char **argv)
{
    const char *dir = argc > 1 ? argv[1] : "bench-journal.data";
    double seconds = argc > 2 ? atof(argv[2]) : 2;
    static const unsigned windows[] = {1, 100, 1000, 10000, 100000};
    static const size_t sizes[] = {16, 1024};
    struct bench *b = mem_zalloc(sizeof *b);
    char command[600];
    pthread_mutex_init(&b->mutex, NULL);
    pthread_cond_init(&b->woken, NULL);
    double begun = now();
    open_store(b, dir);
    printf("open and recover: %.1f ms\n", (now() - begun) * 1e3);
    store_define(b->store, &(struct definition){.kind = DEFINITION_QUEUE,
                                                .id = 1,
                                                .vhost = SLICE("/"),
                                                .name = SLICE("bench")});
    run_definitions(b);
    for (size_t s = 0; s < array_size(sizes); s++) {
        b->body_size = sizes[s];
        run_loop_cost(b);
        for (size_t w = 0; w < array_size(windows); w++) {
            run_window(b, windows[w], seconds);
            drain(b);
        }
    }
    b->body_size = 16;
    run_recovery(b, dir);
    store_close(&b->store);
    mem_free(b);
    snprintf(command, sizeof command, "rm -r '%s'", dir);
    return system(command) == 0 ? 0 : 1;
}
