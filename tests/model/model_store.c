/* model_store.c - the store against a naive vector: random messages, acks, deliveries, releases,
 * definitions and commits on a fake disk whose plug is pulled at random calls. After each crash the
 * store must hold exactly what was durable, or that and the whole of the batch under way. SEED=n
 * runs one round with that seed; otherwise ROUNDS (40) rounds from a random one. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/mem.h"
#include "base/rand.h"
#include "store/store.h"
#include "tests/model/plug.h"
#include "tests/model/rounds.h"
#include "tests/sim/fakedisk.h"
#include "tests/sim/recovered.h"

enum { STEPS = 4000, QUEUES_MAX = 4096, VHOSTS = 6, TARGETS_MAX = 3, SEGMENT_BYTES = 24 * 1024 };

#define NEVER UINT64_MAX

struct target {
    struct stored_target at;
    uint64_t acked; /* in which batch; NEVER */
};

struct message {
    uint64_t batch; /* the model's: 0 = recovered */
    uint64_t given; /* what store_release wants */
    struct target targets[TARGETS_MAX];
    unsigned target_count;
    bool released;
    size_t body_size;
    uint8_t fill;
};

struct queue {
    uint64_t id, defined, undefined, next_sequence;
    struct store_run run;
};

struct vhost_change {
    uint64_t batch;
    unsigned vhost;
    bool defined;
};

struct mark {
    uint64_t batch, queue_id, sequence;
};

struct model {
    struct fakedisk *disk;
    struct store *store;
    struct recovered found;
    struct rand rand;
    struct message *messages;
    size_t message_count, message_capacity, oldest; /* oldest: all before are released */
    struct queue queues[QUEUES_MAX];
    size_t queue_count;
    struct vhost_change *changes;
    size_t change_count;
    struct mark *marks;
    size_t mark_count;
    uint64_t queue_id_next, handed; /* handed: highest batch given to the disk */
    unsigned crashes, both;         /* both: crashes after which the batch under way was there */
    char error[512];
};

static uint64_t below(struct model *m, uint64_t bound)
{
    return rand_below(&m->rand, bound);
}

/* What is expected. */

static bool defined_at(const struct model *m, uint64_t queue_id, uint64_t batch)
{
    for (size_t i = m->queue_count; i--;)
        if (m->queues[i].id == queue_id)
            return m->queues[i].defined <= batch && m->queues[i].undefined > batch;
    return false;
}

static void print_message(const struct model *m, struct buf *lines, const struct message *message,
                          uint64_t journal, uint64_t definitions)
{
    struct stored_target alive[TARGETS_MAX];
    size_t count = 0;
    if (message->batch > journal)
        return;
    for (unsigned i = 0; i < message->target_count; i++)
        if (message->targets[i].acked > journal &&
            defined_at(m, message->targets[i].at.queue_id, definitions))
            alive[count++] = message->targets[i].at;
    if (count == 0)
        return;
    uint8_t *body = mem_alloc(message->body_size);
    memset(body, message->fill, message->body_size);
    recovered_print_message(lines,
                            &(struct stored_message){.targets = alive,
                                                     .target_count = count,
                                                     .exchange = slice_of(&message->fill, 1),
                                                     .key = SLICE("key"),
                                                     .body = slice_of(body, message->body_size)});
    mem_free(body);
}

static void print_vhosts(const struct model *m, struct buf *lines, uint64_t definitions)
{
    bool there[VHOSTS] = {false};
    for (size_t i = 0; i < m->change_count; i++)
        if (m->changes[i].batch <= definitions)
            there[m->changes[i].vhost] = m->changes[i].defined;
    for (unsigned i = 0; i < VHOSTS; i++) {
        uint8_t name = (uint8_t)('a' + i);
        if (there[i])
            recovered_print_definition(
                lines, &(struct definition){.kind = DEFINITION_VHOST, .name = slice_of(&name, 1)});
    }
}

static struct definition queue_definition(const struct queue *queue, char *name)
{
    int len = snprintf(name, 32, "q%" PRIu64, queue->id % 100); /* names come back, ids do not */
    return (struct definition){.kind = DEFINITION_QUEUE,
                               .id = queue->id,
                               .vhost = queue->id % 100 < 50 ? SLICE("/") : SLICE("other"),
                               .name = slice_of(name, (size_t)len),
                               .auto_delete = queue->id % 2};
}

static void print_definitions(const struct model *m, struct buf *lines, uint64_t definitions)
{
    print_vhosts(m, lines, definitions);
    for (size_t i = 0; i < m->queue_count; i++) {
        char name[32];
        struct definition definition = queue_definition(&m->queues[i], name);
        if (defined_at(m, m->queues[i].id, definitions))
            recovered_print_definition(lines, &definition);
    }
}

/* Highest mark per queue, as far as it touches a message that is still there; by queue. */
static uint64_t expected_mark(const struct model *m, uint64_t queue_id, uint64_t journal)
{
    uint64_t highest = 0;
    for (size_t i = 0; i < m->mark_count; i++)
        if (m->marks[i].batch <= journal && m->marks[i].queue_id == queue_id &&
            m->marks[i].sequence > highest)
            highest = m->marks[i].sequence;
    return highest;
}

static uint64_t found_mark(struct model *m, uint64_t queue_id)
{
    const char *at = recovered_text(&m->found.delivered);
    unsigned long long id, sequence;
    while (sscanf(at, "%llu %llu", &id, &sequence) == 2) {
        if (id == queue_id)
            return sequence;
        at = strchr(at, '\n') + 1;
    }
    return 0;
}

static bool marks_match(struct model *m, uint64_t journal, uint64_t definitions)
{
    for (size_t i = 0; i < m->message_count; i++) {
        const struct message *message = &m->messages[i];
        for (unsigned t = 0; message->batch <= journal && t < message->target_count; t++) {
            struct stored_target at = message->targets[t].at;
            if (message->targets[t].acked <= journal || !defined_at(m, at.queue_id, definitions))
                continue;
            if ((at.sequence <= expected_mark(m, at.queue_id, journal)) !=
                (at.sequence <= found_mark(m, at.queue_id)))
                return false;
        }
    }
    return true;
}

static bool matches(struct model *m, uint64_t journal, uint64_t definitions)
{
    struct buf lines = {0};
    print_definitions(m, &lines, definitions);
    bool same = slice_equal(buf_slice(&lines), buf_slice(&m->found.definitions));
    lines.len = 0;
    for (size_t i = 0; i < m->message_count && same; i++)
        print_message(m, &lines, &m->messages[i], journal, definitions);
    same = same && slice_equal(buf_slice(&lines), buf_slice(&m->found.messages));
    buf_free(&lines);
    return same && marks_match(m, journal, definitions);
}

/* Opening. */

static int try_open(struct model *m)
{
    struct store_options options = {.dir = "data",
                                    .io = fakedisk_io(m->disk),
                                    .segment_bytes = SEGMENT_BYTES,
                                    .without_thread = true};
    struct recovery_sink sink = recovered_sink(&m->found);
    recovered_free(&m->found);
    int failed = store_open(&m->store, &options, m->error, sizeof m->error);
    return failed ? failed : store_recover(m->store, &sink, m->error, sizeof m->error);
}

static void forget_later(struct model *m, uint64_t journal, uint64_t definitions)
{
    size_t kept = 0;
    for (size_t i = 0; i < m->change_count; i++)
        if (m->changes[i].batch <= definitions) {
            m->changes[kept] = m->changes[i];
            m->changes[kept++].batch = 0;
        }
    m->change_count = kept, kept = 0;
    for (size_t i = 0; i < m->mark_count; i++)
        if (m->marks[i].batch <= journal) {
            m->marks[kept] = m->marks[i];
            m->marks[kept++].batch = 0;
        }
    m->mark_count = kept, kept = 0;
    for (size_t i = 0; i < m->queue_count; i++)
        if (defined_at(m, m->queues[i].id, definitions)) {
            m->queues[kept] = m->queues[i];
            m->queues[kept].defined = 0, m->queues[kept].undefined = NEVER;
            m->queues[kept++].run = (struct store_run){0};
        }
    m->queue_count = kept;
}

/* Keeps what the store has now; everything kept is of batch 0. */
static void rebase(struct model *m, uint64_t journal, uint64_t definitions)
{
    size_t kept = 0;
    forget_later(m, journal, definitions);
    for (size_t i = 0; i < m->message_count; i++) {
        struct message message = m->messages[i];
        unsigned alive = 0;
        for (unsigned t = 0; t < message.target_count; t++)
            if (message.targets[t].acked > journal &&
                defined_at(m, message.targets[t].at.queue_id, 0)) {
                message.targets[alive] = message.targets[t];
                message.targets[alive++].acked = NEVER;
            }
        if (message.batch > journal || alive == 0)
            continue;
        message.target_count = alive, message.batch = 0, message.released = false;
        assert(kept < m->found.message_count);
        message.given = m->found.batches[kept];
        m->messages[kept++] = message;
    }
    assertf(kept == m->found.message_count, "%zu, %zu found", kept, m->found.message_count);
    m->message_count = kept;
    m->oldest = 0;
}

/* A queue may begin its sequences again above what it still holds. */
static void restart_sequences(struct model *m)
{
    for (size_t i = 0; i < m->queue_count; i++) {
        struct queue *queue = &m->queues[i];
        uint64_t next = 1;
        for (size_t j = 0; j < m->message_count; j++)
            for (unsigned t = 0; t < m->messages[j].target_count; t++)
                if (m->messages[j].targets[t].at.queue_id == queue->id)
                    next = m->messages[j].targets[t].at.sequence + 1;
        if (below(m, 2) == 0)
            continue;
        queue->next_sequence = next;
        for (size_t j = 0; j < m->mark_count; j++)
            if (m->marks[j].queue_id == queue->id && m->marks[j].sequence >= next)
                m->marks[j].sequence = next - 1;
    }
}

static void reopen(struct model *m, uint64_t durable, uint64_t handed)
{
    while (below(m, 4) == 0) { /* the plug is pulled while it recovers, too */
        fakedisk_fail_at(m->disk, fakedisk_changes(m->disk) + 1 + below(m, 12), EIO, true);
        int failed = try_open(m);
        assertf(failed == 0 || failed == -EIO, "%s", m->error);
        store_abandon(&m->store);
        fakedisk_crash(m->disk, (enum fakedisk_loss)below(m, 3));
    }
    int failed = try_open(m);
    assertf(failed == 0, "%s", m->error);
    uint64_t journal = durable, definitions = durable;
    bool same = matches(m, journal, definitions);
    if (!same && handed > durable) {
        definitions = handed;
        same = matches(m, journal, definitions);
        if (!same) {
            journal = handed, m->both++;
            same = matches(m, journal, definitions);
        }
    }
    if (!same)
        printf("definitions:\n%s\nmessages:\n%s\n", recovered_text(&m->found.definitions),
               recovered_text(&m->found.messages));
    assertf(same, "after crash %u the store holds neither batch %" PRIu64 " nor %" PRIu64,
            m->crashes, durable, handed);
    rebase(m, journal, definitions);
    restart_sequences(m);
    uint64_t id = store_queue_id_next(m->store);
    for (size_t i = 0; i < m->queue_count; i++)
        assert(m->queues[i].id < id);
    m->queue_id_next = id;
    m->handed = store_durable(m->store);
    assert(store_open_batch(m->store) == m->handed + 1 && !store_busy(m->store));
}

static void crash(struct model *m)
{
    uint64_t durable = store_durable(m->store), handed = m->handed > durable ? m->handed : durable;
    store_abandon(&m->store);
    fakedisk_crash(m->disk, (enum fakedisk_loss)below(m, 3));
    m->crashes++;
    reopen(m, durable, handed);
}

/* Steps. */

static void release_if_dead(struct model *m, struct message *message)
{
    uint64_t open = store_open_batch(m->store);
    for (unsigned t = 0; t < message->target_count; t++)
        if (message->targets[t].acked == NEVER &&
            defined_at(m, message->targets[t].at.queue_id, open))
            return;
    assert(!message->released);
    message->released = true;
    store_release(m->store, message->given);
}

static struct queue *some_queue(struct model *m)
{
    uint64_t open = store_open_batch(m->store);
    for (int tries = 0; tries < 20 && m->queue_count; tries++) {
        struct queue *queue =
            &m->queues[m->queue_count - 1 - below(m, m->queue_count < 12 ? m->queue_count : 12)];
        if (defined_at(m, queue->id, open))
            return queue;
    }
    return NULL;
}

static void publish(struct model *m)
{
    struct message message = {.fill = (uint8_t)('a' + below(m, 26)),
                              .body_size = 1 + (size_t)below(m, 200)};
    struct stored_target targets[TARGETS_MAX];
    unsigned wanted = 1 + (unsigned)below(m, TARGETS_MAX);
    if (below(m, 30) == 0)
        message.body_size = (size_t)below(m, below(m, 6) ? 6000 : 60000) + 1;
    for (unsigned i = 0; i < wanted; i++) {
        struct queue *queue = some_queue(m);
        if (!queue)
            return;
        targets[i] = (struct stored_target){queue->id, queue->next_sequence++};
        message.targets[i] = (struct target){targets[i], NEVER};
    }
    message.target_count = wanted;
    uint8_t *body = mem_alloc(message.body_size);
    memset(body, message.fill, message.body_size);
    message.given = store_message(
        m->store, &(struct stored_message){.targets = targets,
                                           .target_count = wanted,
                                           .exchange = slice_of(&message.fill, 1),
                                           .key = SLICE("key"),
                                           .body = slice_of(body, message.body_size)});
    mem_free(body);
    message.batch = message.given;
    assert(message.batch == store_open_batch(m->store));
    if (m->message_count == m->message_capacity) {
        m->message_capacity = m->message_capacity ? m->message_capacity * 2 : 64;
        m->messages = mem_realloc(m->messages, m->message_capacity * sizeof *m->messages);
    }
    m->messages[m->message_count++] = message;
}

static struct queue *queue_of(struct model *m, uint64_t id)
{
    for (size_t i = m->queue_count; i--;)
        if (m->queues[i].id == id)
            return &m->queues[i];
    panic("queue %" PRIu64 " is unknown", id);
}

static void ack(struct model *m, struct message *message)
{
    uint64_t open = store_open_batch(m->store);
    for (unsigned t = 0; t < message->target_count; t++) {
        struct target *target = &message->targets[t];
        if (target->acked != NEVER || !defined_at(m, target->at.queue_id, open) || below(m, 5) == 0)
            continue;
        store_ack(m->store, &queue_of(m, target->at.queue_id)->run, target->at.queue_id,
                  target->at.sequence);
        target->acked = open;
    }
    release_if_dead(m, message);
}

static void ack_some(struct model *m)
{
    while (m->oldest < m->message_count && m->messages[m->oldest].released)
        m->oldest++;
    size_t left = m->message_count - m->oldest;
    if (left == 0)
        return;
    size_t at = below(m, 4) == 0 ? (size_t)below(m, left) : 0;
    size_t run = below(m, 4) == 0 ? 12 : 2;
    for (size_t i = m->oldest + at; i < m->message_count && run--; i++)
        if (!m->messages[i].released)
            ack(m, &m->messages[i]);
}

static void deliver(struct model *m)
{
    struct queue *queue = some_queue(m);
    if (!queue || queue->next_sequence <= 1)
        return;
    uint64_t sequence = queue->next_sequence - 1 - below(m, queue->next_sequence - 1 < 5 ? 1 : 5);
    store_delivered(m->store, &queue->run, queue->id, sequence);
    m->marks = mem_realloc(m->marks, (m->mark_count + 1) * sizeof *m->marks);
    m->marks[m->mark_count++] = (struct mark){store_open_batch(m->store), queue->id, sequence};
}

static void define_queue(struct model *m)
{
    char name[32];
    assert(m->queue_count < QUEUES_MAX);
    struct queue *queue = &m->queues[m->queue_count++];
    *queue = (struct queue){.id = m->queue_id_next++,
                            .defined = store_open_batch(m->store),
                            .undefined = NEVER,
                            .next_sequence = 1};
    struct definition definition = queue_definition(queue, name);
    store_define(m->store, &definition);
}

static void undefine_queue(struct model *m)
{
    struct queue *queue = some_queue(m);
    if (!queue)
        return;
    store_undefine(m->store, &(struct definition){.kind = DEFINITION_QUEUE, .id = queue->id});
    queue->undefined = store_open_batch(m->store);
    if (queue->defined == queue->undefined)
        queue->defined = NEVER; /* never to be seen */
    for (size_t i = m->oldest; i < m->message_count; i++)
        if (!m->messages[i].released)
            release_if_dead(m, &m->messages[i]);
}

static void change_vhost(struct model *m)
{
    struct vhost_change change = {store_open_batch(m->store), (unsigned)below(m, VHOSTS),
                                  below(m, 2) == 0};
    uint8_t name = (uint8_t)('a' + change.vhost);
    struct definition definition = {.kind = DEFINITION_VHOST, .name = slice_of(&name, 1)};
    if (change.defined)
        store_define(m->store, &definition);
    else
        store_undefine(m->store, &definition);
    m->changes = mem_realloc(m->changes, (m->change_count + 1) * sizeof *m->changes);
    m->changes[m->change_count++] = change;
}

static void commit(struct model *m)
{
    uint64_t open = store_open_batch(m->store);
    store_commit(m->store);
    if (store_open_batch(m->store) > open)
        m->handed = open;
}

/* Sometimes the plug is pulled within. */
static void sync_now(struct model *m)
{
    if (!plug_sync(m->store, m->disk, &m->rand, 12, 10))
        crash(m);
    fakedisk_fail_at(m->disk, 0, 0, false);
    assert(store_durable(m->store) <= m->handed);
}

static void close_and_open(struct model *m)
{
    uint64_t last = store_open_batch(m->store);
    store_close(&m->store);
    fakedisk_crash(m->disk, FAKEDISK_LOSE_ALL);
    reopen(m, last, last);
}

static void check(struct model *m)
{
    struct store_stats stats;
    uint64_t live = 0;
    store_stats(m->store, &stats);
    for (size_t i = 0; i < m->message_count; i++)
        live += !m->messages[i].released;
    assertf(stats.live_messages == live, "%" PRIu64 " live, %" PRIu64 " expected",
            stats.live_messages, live);
    assert(stats.spare_segments <= 8 + 64);
}

static void step(struct model *m)
{
    uint64_t dice = below(m, 1000);
    if (dice < 430)
        publish(m);
    else if (dice < 600)
        ack_some(m);
    else if (dice < 680)
        deliver(m);
    else if (dice < 690)
        define_queue(m);
    else if (dice < 694)
        undefine_queue(m);
    else if (dice < 720)
        change_vhost(m);
    else if (dice < 850)
        commit(m);
    else if (dice < 980)
        sync_now(m);
    else if (dice < 983)
        close_and_open(m);
    else if (dice < 993)
        crash(m);
    else
        check(m);
}

static void run(uint64_t seed)
{
    struct model *m = mem_zalloc(sizeof *m);
    m->rand = rand_seeded(seed);
    m->disk = fakedisk_new(seed + 1);
    fakedisk_short_writes(m->disk, seed % 3 == 0);
    reopen(m, 0, 0);
    for (int i = 0; i < STEPS; i++)
        step(m);
    crash(m);
    printf("%u crashes, %u of them kept the batch under way, %zu messages left\n", m->crashes,
           m->both, m->message_count);
    store_close(&m->store);
    fakedisk_free(&m->disk);
    recovered_free(&m->found);
    mem_free(m->messages);
    mem_free(m->changes);
    mem_free(m->marks);
    mem_free(m);
}

int main(void)
{
    model_rounds(run, NULL, 0, 40);
    return 0;
}
