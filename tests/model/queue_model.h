/* queue_model.h - the naive queue of model_queue.c: what it knows; which consumer is next, who waits. */
#ifndef TESTS_MODEL_QUEUE_MODEL_H
#define TESTS_MODEL_QUEUE_MODEL_H

#include "queue/lane.h"

enum {
    ROUNDS = 60,
    STEPS = 3000,
    QUEUES = 2,
    SLOTS = 600,
    HELD_MAX = 400,
    MEMBERS = 10,
    BODY_MAX = 40,
    SEGMENT_BYTES = 64 * 1024,
    FOUND_MAX = 4 * STEPS,
    LEVELS = 32,
};

/* A message, and how many of the model's arrays name it. */
struct slot {
    struct message *message;
    size_t holders;
};

struct waiting {
    uint64_t sequence; /* within the level */
    unsigned level;
    size_t slot;
    bool redelivered, journalled;
};

struct held {
    struct entry entry;
    struct queue *queue;
    int home;   /* index of the model's queue, -1 once it was deleted */
    int member; /* -1: basic.get */
    size_t slot;
};

struct member {
    struct consumer consumer;
    bool used;
    enum consumer_state state;
    int home;
    uint32_t unacked;
    uint64_t joined; /* when it last went to the end of its rank */
    bool fading;     /* the active one is to give way */
};

/* One that must be acked, and the batch that has to be durable before the client sees it. */
struct delivery {
    uint64_t queue_id, sequence, batch;
};

struct found {
    struct stored_target targets[FOUND_MAX], delivered[FOUND_MAX];
    size_t count, delivered_count;
};

struct model {
    struct queue *queue;
    struct waiting waiting[SLOTS]; /* by sequence; one message is here once at most */
    size_t size;
    uint64_t next_sequence[LEVELS], bytes;
    size_t unacked;
    unsigned priority_max, priority_missing;
    bool single, quorum;
    int active; /* of a single active consumer; -1 = none */
    enum limit_overflow overflow;
    uint64_t messages_max, bytes_max;
};

static struct slot slots[SLOTS];
static struct member members[MEMBERS];
static struct model models[QUEUES];
static uint64_t now;

static bool has_credit(const struct member *member)
{
    return member->consumer.prefetch == 0 || member->unacked < member->consumer.prefetch;
}

/* Who is served next: of those that rotate the one with the largest priority that came first, -1 = none. */
static int whose_turn(const struct model *m)
{
    int turn = -1;
    for (int i = 0; i < MEMBERS; i++) {
        const struct member *member = &members[i], *best = turn < 0 ? NULL : &members[turn];
        if (!member->used || member->home < 0 || &models[member->home] != m ||
            member->state != CONSUMER_ROTATING)
            continue;
        if (!best || member->consumer.priority > best->consumer.priority ||
            (member->consumer.priority == best->consumer.priority && member->joined < best->joined))
            turn = i;
    }
    return turn;
}

static void choose_heir(struct model *m);

/* Nothing else holds the consumer back any more: where it goes. */
static void join_rotation(struct model *m, int i)
{
    struct member *member = &members[i];
    member->joined = ++now;
    if (m->single && m->active != i) {
        member->state = CONSUMER_WAITING;
        if (m->active < 0)
            choose_heir(m);
    }
    else
        member->state = member->fading       ? CONSUMER_FADING
                        : has_credit(member) ? CONSUMER_ROTATING
                                             : CONSUMER_SATED;
}

static int find_heir(const struct model *m)
{
    int heir = -1;
    for (int i = 0; i < MEMBERS; i++) {
        const struct member *member = &members[i], *best = heir < 0 ? NULL : &members[heir];
        if (!member->used || member->home < 0 || &models[member->home] != m ||
            member->state != CONSUMER_WAITING)
            continue;
        if (!best || member->consumer.priority > best->consumer.priority ||
            (member->consumer.priority == best->consumer.priority && member->joined < best->joined))
            heir = i;
    }
    return heir;
}

/* The active one is gone, or gave way: who follows. */
static void choose_heir(struct model *m)
{
    m->active = find_heir(m);
    if (m->active >= 0) {
        struct member *heir = &members[m->active];
        heir->joined = ++now;
        heir->state = has_credit(heir) ? CONSUMER_ROTATING : CONSUMER_SATED;
    }
}

/* A fading one has settled all. */
static void give_way(struct model *m, int i)
{
    members[i].fading = false;
    choose_heir(m);
    if (members[i].state == CONSUMER_FADING)
        join_rotation(m, i);
}

#endif
