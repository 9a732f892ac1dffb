/* paging_move.c - messages in memory whose records are in an old part of the journal are written anew, so
 * that it can go. What is in a page is in no journal. */
#include "queue/delay.h"
#include "queue/lane.h"
#include "queue/paging.h"
#include "queue/record.h"

/* A deleted queue's message needs no journal. */
static void release(struct queue *q, struct entry *entry)
{
    entry->journalled = false;
    if (--entry->message->journal_refs == 0)
        store_release(q->home->store, entry->message->batch);
}

void paging_move(struct queue *q, struct entry *entry, uint64_t limit, bool seen)
{
    paging_move_entry(q, lane_of(q, entry), entry, limit, seen);
}

/* One queue has it: its record is written now. */
static void move_alone(struct order *order, const struct entry *entry, bool keeps_birth)
{
    struct message *m = entry->message;
    struct store *store = order->queue->home->store;
    struct stored_target target = {order->id, entry->sequence};
    struct stored_message record = record_of(m, &target, 1, keeps_birth);
    uint64_t old = m->batch;
    m->batch = store_move(store, &record);
    store_release(store, old);
}

void paging_move_entry(struct queue *q, struct order *order, struct entry *entry, uint64_t limit, bool seen)
{
    struct message *m = entry->message;
    struct store *store = q->home->store;
    struct shared_moves *shared = &q->home->mover.shared;
    if (!entry->journalled || entry->page)
        return;
    uint64_t open = store_open_batch(store);
    bool others_were_seen = m->moved && m->batch == open && shared_move_has(shared, m);
    if (m->batch > limit && !others_were_seen)
        return;
    assert(m->batch > 0 && limit < open);
    if (q->leaving.deleted) {
        release(q, entry);
        return;
    }
    bool keeps_birth = lane_records_birth(q, m);
    if (others_were_seen || m->journal_refs > 1)
        shared_move_add(shared, m, (struct stored_target){order->id, entry->sequence}, keeps_birth);
    else
        move_alone(order, entry, keeps_birth);
    m->batch = open;
    m->moved = true;
    if (entry->returns)
        store_returned(store, order->id, entry->sequence, entry->returns);
    /* What a mark calls delivered that ran ahead is flagged by a restart. It stays so when the mark goes. */
    if (seen || entry->sequence <= order->marks.recent[0].sequence)
        store_delivered(store, &order->run, order->id, entry->sequence);
}

/* Entries of a ring are in the order in which they were published, but for those that were moved. */
static void move_ring(struct queue *q, struct order *order, struct entry_ring *ring, uint64_t limit)
{
    for (size_t i = 0; i < ring->size; i++) {
        struct entry *entry = entry_ring_at(ring, i);
        if (entry->journalled && !entry->page && entry->message->batch > limit && !entry->message->moved)
            return;
        paging_move_entry(q, order, entry, limit, entry->redelivered);
    }
}

void paging_move_order(struct queue *q, struct order *order, uint64_t limit)
{
    move_ring(q, order, &order->fresh, limit);
    if (order->backlog)
        move_ring(q, order, &order->backlog->tail, limit);
    for (size_t i = 0; i < order->returned_size; i++)
        paging_move_entry(q, order, &order->returned[i], limit, order->returned[i].redelivered);
}

void paging_move_waiting(struct queue *q, uint64_t limit)
{
    for (unsigned lane = 0; lane < lane_count(q); lane++)
        if (lane_at(q, lane))
            paging_move_order(q, lane_at(q, lane), limit);
}

/* Behind the first that was not moved, none is older. */
static uint64_t oldest_of_ring(const struct entry_ring *ring)
{
    uint64_t oldest = UINT64_MAX;
    for (size_t i = 0; i < ring->size; i++) {
        const struct entry *entry = entry_ring_at(ring, i);
        if (entry_batch(entry) < oldest)
            oldest = entry_batch(entry);
        if (entry_batch(entry) < UINT64_MAX && !entry->message->moved)
            break;
    }
    return oldest;
}

static uint64_t oldest_of_order(const struct order *order)
{
    uint64_t oldest = oldest_of_ring(&order->fresh);
    uint64_t tail = order->backlog ? oldest_of_ring(&order->backlog->tail) : UINT64_MAX;
    if (tail < oldest)
        oldest = tail;
    for (size_t i = 0; i < order->returned_size; i++)
        if (entry_batch(&order->returned[i]) < oldest)
            oldest = entry_batch(&order->returned[i]);
    return oldest;
}

uint64_t paging_oldest(struct queue *q)
{
    uint64_t oldest = UINT64_MAX;
    for (unsigned lane = 0; lane < lane_count(q); lane++) {
        const struct order *order = lane_at(q, lane);
        uint64_t one = order ? oldest_of_order(order) : UINT64_MAX;
        if (one < oldest)
            oldest = one;
    }
    return oldest;
}
