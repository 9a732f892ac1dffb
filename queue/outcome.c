/* outcome.c - the list of outcomes of a home.
 *
 * Owner: the home. Invariant: a queue's leaving.outcomes is the number of its outcomes that were put or kept
 * and not settled; such a queue is not freed. */
#include "queue/outcome.h"

#include "queue/queue.h"

const char *outcome_word(enum outcome_reason reason)
{
    static const char *const words[] = {[OUTCOME_REJECTED] = "rejected",
                                        [OUTCOME_EXPIRED] = "expired",
                                        [OUTCOME_MAXLEN] = "maxlen",
                                        [OUTCOME_DELIVERY_LIMIT] = "delivery_limit"};
    assert(reason < array_size(words));
    return words[reason];
}

static void add(struct queue *q, struct outcome_ring *ring, const struct outcome *outcome)
{
    assert(outcome->queue == q && outcome->entry.message);
    outcome_ring_push_back(ring, *outcome);
}

void outcome_put(struct queue *q, struct entry *entry, enum outcome_reason reason)
{
    if (!q->settings.dead_letters || q->leaving.deleted) {
        queue_settle(q, entry, false);
        return;
    }
    add(q, &q->home->outcomes.fresh, &(struct outcome){q, *entry, reason, entry_batch(entry)});
    q->leaving.outcomes++;
    q->leaving.outcome_bytes += entry->message->body_size;
    entry->message = NULL;
}

void outcome_put_refused(struct queue *q, struct message *m)
{
    struct entry entry = {.message = message_ref(m)};
    outcome_put(q, &entry, OUTCOME_MAXLEN);
}

bool outcome_take(struct queue_home *home, struct outcome *outcome)
{
    if (home->outcomes.fresh.size == 0)
        return false;
    *outcome = outcome_ring_pop_front(&home->outcomes.fresh);
    assert(outcome->queue->leaving.outcomes > 0);
    return true;
}

void outcome_settle(struct outcome *outcome)
{
    struct queue *q = outcome->queue;
    uint64_t bytes = outcome->entry.message->body_size;
    assert(q->leaving.outcomes > 0 && q->leaving.outcome_bytes >= bytes);
    q->leaving.outcome_bytes -= bytes;
    queue_settle(q, &outcome->entry, false);
    q->leaving.outcomes--;
    outcome->queue = NULL;
    queue_release(q);
}

void outcomes_set_aside(struct queue_home *home, struct outcome_ring *waiting)
{
    *waiting = home->outcomes.fresh;
    home->outcomes.fresh = (struct outcome_ring){0};
}

void outcomes_put_back(struct queue_home *home, struct outcome_ring *waiting)
{
    struct outcome_ring fresh = home->outcomes.fresh;
    home->outcomes.fresh = *waiting;
    *waiting = (struct outcome_ring){0};
    while (fresh.size)
        outcome_ring_push_back(&home->outcomes.fresh, outcome_ring_pop_front(&fresh));
    outcome_ring_free(&fresh);
}

void outcome_keep(struct outcome *outcome)
{
    add(outcome->queue, &outcome->queue->home->outcomes.kept, outcome);
    outcome->queue = NULL;
}

void outcome_retry(struct queue_home *home, size_t count)
{
    struct outcomes *outcomes = &home->outcomes;
    for (; count > 0 && outcomes->kept.size > 0; count--)
        outcome_ring_push_back(&outcomes->fresh, outcome_ring_pop_front(&outcomes->kept));
}

void outcomes_drop(struct queue_home *home)
{
    struct outcome outcome;
    outcome_retry(home, SIZE_MAX);
    while (outcome_take(home, &outcome))
        outcome_settle(&outcome);
    outcome_ring_free(&home->outcomes.fresh);
    outcome_ring_free(&home->outcomes.kept);
}

static void walk(struct outcome_ring *ring, void (*each)(void *arg, struct outcome *outcome), void *arg)
{
    for (size_t i = 0; i < ring->size; i++)
        each(arg, outcome_ring_at(ring, i));
}

void outcomes_walk(struct queue_home *home, void (*each)(void *arg, struct outcome *outcome), void *arg)
{
    walk(&home->outcomes.fresh, each, arg);
    walk(&home->outcomes.kept, each, arg);
}

static void walk_old(struct outcome_ring *ring, uint64_t limit,
                     void (*each)(void *arg, struct outcome *outcome), void *arg)
{
    for (size_t i = 0; i < ring->size; i++) {
        struct outcome *outcome = outcome_ring_at(ring, i);
        if (outcome->batch > limit)
            continue;
        each(arg, outcome);
        outcome->batch = entry_batch(&outcome->entry);
    }
}

void outcomes_walk_old(struct queue_home *home, uint64_t limit,
                       void (*each)(void *arg, struct outcome *outcome), void *arg)
{
    walk_old(&home->outcomes.fresh, limit, each, arg);
    walk_old(&home->outcomes.kept, limit, each, arg);
}
