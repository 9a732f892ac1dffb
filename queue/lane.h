/* lane.h - the orders of a queue, each known to the journal as a lane of the queue's id.
 *
 * A queue that is first in, first out has lane 0 alone; one that orders by priority has a lane for each level
 * that was ever used, with the level's number; one that orders by group has one for each seat (groups.h). An
 * entry knows its lane. */
#ifndef QUEUE_LANE_H
#define QUEUE_LANE_H

#include "queue/queue.h"

/* Sequences that an earlier run may have used, for acks that are still in the journal, are all smaller than
 * the number of the first new batch shifted by this: a batch never carries more messages of one lane. */
enum { SEQUENCES_PER_BATCH_BITS = 24 };

static inline unsigned lane_count(const struct queue *q)
{
    if (q->kind.ordering == KIND_FIFO)
        return 1;
    return q->levels ? q->levels->max + 1u : q->groups->count;
}

/* The order with that number; NULL when it was not used yet. */
static inline struct order *lane_at(struct queue *q, unsigned lane)
{
    assertf(lane < lane_count(q), "lane %u of %u", lane, lane_count(q));
    if (q->kind.ordering == KIND_FIFO)
        return &q->order;
    return q->levels ? levels_at(q->levels, lane) : q->groups->seats[lane]->order;
}

/* The order that an entry of the queue is in, or was taken from. */
static inline struct order *lane_of(struct queue *q, const struct entry *entry)
{
    return q->kind.ordering == KIND_FIFO ? &q->order : lane_at(q, entry->lane);
}

/* The order that a message will be in, made when it was not used yet. */
static inline struct order *lane_for(struct queue *q, const struct message *m)
{
    if (q->kind.ordering == KIND_FIFO)
        return &q->order;
    return q->levels ? levels_use(q->levels, levels_of(q->levels, m)) : groups_for(q->groups, m);
}

/* The order with that number, made when it was not used yet. */
static inline struct order *lane_use(struct queue *q, unsigned lane)
{
    if (q->groups)
        return groups_use(q->groups, lane);
    assertf(lane < lane_count(q), "lane %u of %u", lane, lane_count(q));
    return q->levels ? levels_use(q->levels, lane) : &q->order;
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
    return q->kind.keeper || queue_keeps_birth(q, m);
}

/* The lane in the id of something that was stored. */
static inline unsigned lane_of_id(uint64_t id)
{
    return (unsigned)(id >> STORE_LANE_SHIFT);
}

/* The order, of a queue that has several, has more or less in it than before: sets queue.front. */
static inline void lane_note(struct queue *q, struct order *order)
{
    if (q->groups) {
        groups_note(q->groups, order);
    } else {
        levels_note(q->levels, order);
        q->front = q->consumers.rotation.held ? &q->home->nothing : levels_front(q->levels);
    }
}

/* An entry was taken out of the order by the queue itself: it expired, or too much waits. */
static inline void lane_lost(struct queue *q, struct order *order)
{
    if (q->kind.ordering == KIND_GROUPS)
        groups_lost(q->groups, order);
}

/* A delivery of the entry is over (`was_unacked`); `gone`: it is settled, or back in its order. */
static inline void lane_settled(struct queue *q, const struct entry *entry, bool was_unacked, bool gone)
{
    if (q->kind.ordering != KIND_GROUPS)
        return;
    groups_settled(q->groups, entry, was_unacked, gone);
    if (was_unacked)
        queue_refresh(q);
}

/* Where the next entry for a basic.get is. */
static inline struct order *lane_for_get(const struct queue *q)
{
    return q->kind.ordering == KIND_GROUPS ? groups_for_get(q->groups) : q->front;
}

/* Where a basic.get that found nothing waits for a page; NULL = there is nothing for it. */
static inline struct order *lane_awaited(const struct queue *q)
{
    if (q->kind.ordering == KIND_GROUPS)
        return groups_awaited(q->groups);
    return queue_ready(q) > 0 ? q->front : NULL;
}

/* Whose oldest entry goes when too much waits. */
static inline struct order *lane_to_shed(const struct queue *q)
{
    return q->kind.ordering == KIND_GROUPS ? groups_longest(q->groups) : q->front;
}

#endif
