/* lane.h - the orders of a queue, each known to the journal as a lane of the queue's id.
 *
 * A queue that is first in, first out has lane 0 alone; one that orders by priority has a lane for each level
 * that was ever used, with the level's number. */
#ifndef QUEUE_LANE_H
#define QUEUE_LANE_H

#include "queue/queue.h"

/* Sequences that an earlier run may have used, for acks that are still in the journal, are all smaller than
 * the number of the first new batch shifted by this: a batch never carries more messages of one lane. */
enum { SEQUENCES_PER_BATCH_BITS = 24 };

static inline unsigned lane_count(const struct queue *q)
{
    return q->levels ? q->levels->max + 1u : 1;
}

/* The order with that number; NULL when it was not used yet. */
static inline struct order *lane_at(struct queue *q, unsigned lane)
{
    assertf(lane < lane_count(q), "lane %u of %u", lane, lane_count(q));
    return q->levels ? levels_at(q->levels, lane) : &q->order;
}

/* The order that a message of the queue is in. */
static inline struct order *lane_of(struct queue *q, const struct message *m)
{
    return q->levels ? levels_at(q->levels, levels_of(q->levels, m)) : &q->order;
}

/* The order that a message will be in, made when it was not used yet. */
static inline struct order *lane_for(struct queue *q, const struct message *m)
{
    return q->levels ? levels_use(q->levels, levels_of(q->levels, m)) : &q->order;
}

/* Under which id and sequence the next push would store this message. */
static inline struct stored_target lane_target(struct queue *q, const struct message *m)
{
    const struct order *order = lane_for(q, m);
    return (struct stored_target){order->id, order->next_sequence};
}

/* True when a record is to say when the message was published; that of a calendar says when it is due. */
static inline bool lane_records_birth(const struct queue *q, const struct message *m)
{
    return q->keeper || queue_keeps_birth(q, m);
}

/* The lane in the id of something that was stored. */
static inline unsigned lane_of_id(uint64_t id)
{
    return (unsigned)(id >> STORE_LANE_SHIFT);
}

#endif
