/* consumer.c - consumers come to a queue, wait for credit or their turn, and go. */
#include "queue/consumer.h"

#include "queue/queue.h"

static void promote(struct queue *q);

/* To where it belongs when nothing else holds it back: into the rotation if it has credit and may be
 * served. */
static void resume(struct consumer *c)
{
    struct queue *q = c->queue;
    assert(!list_linked(&c->place));
    if (!c->active) {
        bool fades = c == q->consumers.rotation.active;
        c->state = fades ? CONSUMER_FADING : CONSUMER_WAITING;
        if (!fades)
            rotation_join(&q->consumers.rotation, c);
        if (!q->consumers.rotation.active)
            promote(q); /* all others are gone */
        return;
    }
    if (!consumer_has_credit(c)) {
        c->state = CONSUMER_SATED;
        return;
    }
    c->state = CONSUMER_ROTATING;
    rotation_join(&q->consumers.rotation, c);
    queue_refresh(q);
}

/* Makes the next one that waits the active consumer, if there is one. */
static void promote(struct queue *q)
{
    struct consumer *heir = rotation_heir(&q->consumers.rotation);
    q->consumers.rotation.active = heir;
    if (!heir)
        return;
    assert(heir->state == CONSUMER_WAITING);
    rotation_leave(&q->consumers.rotation, heir);
    heir->active = true;
    resume(heir);
}

/* The active one, which was told to give way, has settled all it was handed. */
static void give_way(struct queue *q, struct consumer *c)
{
    assert(q->consumers.rotation.active == c && !c->active && c->unacked == 0);
    promote(q);
    assert(q->consumers.rotation.active && q->consumers.rotation.active->priority > c->priority);
    if (c->state == CONSUMER_FADING)
        resume(c);
}

/* Nothing more for the active one: a consumer with a larger priority has come. */
static void fade(struct queue *q, struct consumer *c)
{
    c->active = false;
    if (c->state == CONSUMER_ROTATING)
        rotation_leave(&q->consumers.rotation, c);
    if (c->state != CONSUMER_PARKED)
        c->state = CONSUMER_FADING;
    if (c->unacked == 0)
        give_way(q, c);
}

/* Somebody has gone: the active one need not give way if nobody is left to whom. */
static void stay(struct queue *q, struct consumer *c)
{
    const struct consumer *heir = rotation_heir(&q->consumers.rotation);
    if (heir && heir->priority > c->priority)
        return;
    c->active = true;
    if (c->state == CONSUMER_FADING)
        resume(c);
}

void consumer_enter(struct consumer *c, struct queue *q)
{
    assert(!q->leaving.deleted && !list_linked(&c->of_queue));
    struct consumer *active = q->consumers.rotation.active;
    c->queue = q;
    list_init(&c->groups);
    c->active = !active;
    list_push_back(&q->consumers.all, &c->of_queue);
    rotation_enter(&q->consumers.rotation, c);
    if (q->consumers.rotation.single && !active)
        q->consumers.rotation.active = c;
    q->consumers.count++;
    q->consumers.had_some = true;
    q->consumers.exclusive |= c->exclusive;
    resume(c);
    if (active && active->active && q->consumers.rotation.yields && c->priority > active->priority)
        fade(q, active);
    queue_refresh(q);
}

void consumer_exit(struct consumer *c)
{
    struct queue *q = c->queue;
    assert(c->state != CONSUMER_GONE && q->consumers.count > 0);
    rotation_exit(&q->consumers.rotation, c);
    list_remove(&c->of_queue);
    q->consumers.count--;
    if (c->exclusive)
        q->consumers.exclusive = false;
    c->state = CONSUMER_GONE;
    c->queue = NULL;
    c->active = false;
    struct consumer *active = q->consumers.rotation.active;
    if (active == c)
        promote(q);
    else if (active && !active->active)
        stay(q, active);
    queue_refresh(q);
}

void consumer_settled(struct consumer *c)
{
    assert(c->unacked > 0);
    c->unacked--;
    if (c->state == CONSUMER_SATED)
        resume(c);
    else if (!c->active && c->unacked == 0 && c->queue && c->queue->consumers.rotation.active == c)
        give_way(c->queue, c);
}

void consumer_park(struct consumer *c, struct list *parked)
{
    assert(c->state == CONSUMER_ROTATING);
    rotation_leave(&c->queue->consumers.rotation, c);
    list_push_back(parked, &c->place);
    c->state = CONSUMER_PARKED;
    queue_refresh(c->queue);
}

void consumer_unpark(struct consumer *c)
{
    assert(c->state == CONSUMER_PARKED);
    list_remove(&c->place);
    resume(c);
}
