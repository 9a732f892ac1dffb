/* levels.h - the orders of a priority queue: one for each priority that was ever used, the largest first.
 *
 * A message's level is its priority, clamped to the queue's largest (semantics 2.2; K94); within a level the
 * order is that of publishing, and what is requeued goes back to its place there. Levels cost memory only
 * from their first message on. The order of a level goes to disk like that of any queue; the journal knows it
 * as the lane with the level's number. */
#ifndef QUEUE_LEVELS_H
#define QUEUE_LEVELS_H

#include "queue/order.h"

enum { LEVELS_MAX = 255 };

struct levels {
    size_t ready;            /* messages waiting in all levels */
    uint64_t waiting[4];     /* bit p: level p has one */
    uint64_t first_sequence; /* of a level's first message: after a restart above all that were used */
    uint8_t max, missing;    /* the largest level; that of a message without a priority */
    struct order *base;      /* level 0: the queue's own order */
    struct order *above[];   /* level 1 and up; NULL = not used yet */
};

/* `base` is of a queue that is empty and new. */
struct levels *levels_new(struct order *base, uint8_t max, uint8_t missing);
void levels_free(struct levels **levels);

static inline unsigned levels_of(const struct levels *levels, const struct message *m)
{
    unsigned level = m->has_priority ? m->priority : levels->missing;
    return level < levels->max ? level : levels->max;
}

/* The order of that level, NULL when no message ever was in it. */
static inline struct order *levels_at(const struct levels *levels, unsigned level)
{
    assert(level <= levels->max);
    return level ? levels->above[level - 1] : levels->base;
}

/* The order of that level, made when it is not there yet. */
struct order *levels_use(struct levels *levels, unsigned level);
/* Something came to this level, or went. */
void levels_note(struct levels *levels, struct order *order);
/* The largest level in which something waits; level 0 when nothing does. */
struct order *levels_front(const struct levels *levels);
/* No level numbers its next message below that. */
void levels_raise(struct levels *levels, uint64_t first_sequence);

#endif
