/* replay.h - which messages a journal leaves un-acked, found in one reading and asked about in the next.
 * Sequences rise per queue, but after a restart a queue whose messages were all acked may begin again below:
 * an ack concerns only messages that precede it in the journal. */
#ifndef STORE_REPLAY_H
#define STORE_REPLAY_H

#include "base/map.h"
#include "base/ring.h"
#include "store/pages.h"

struct replay_entry {
    uint64_t sequence;
    uint64_t batch; /* 0 = acked */
};

RING(page_ring, struct page *);

struct replay_queue {
    uint64_t id;
    struct replay_entry *entries; /* by sequence */
    size_t count, capacity;
    size_t cursor; /* where the last question was answered */
    uint64_t delivered;
    struct page_ring pages; /* by sequence: what is in them is not the journal's */
};

RING(replay_queues, struct replay_queue *);

struct replay {
    struct pages *store_pages;
    struct map by_id;
    struct replay_queues queues; /* in the order they were defined */
    struct replay_queue *last;   /* asked for last */
};

void replay_init(struct replay *replay, struct pages *pages);
void replay_free(struct replay *replay);

/* What follows is about defined queues only; anything about others is passed over. */
void replay_define(struct replay *replay, uint64_t queue_id);
/* A page of the queue, the next by sequence; false when the queue is not defined. */
bool replay_page(struct replay *replay, struct page *page);
/* False when the queue holds a live message with that sequence or a higher one. */
bool replay_message(struct replay *replay, uint64_t queue_id, uint64_t sequence, uint64_t batch);
/* A message that was seen before, unless that part of the journal is gone. */
void replay_moved(struct replay *replay, uint64_t queue_id, uint64_t sequence, uint64_t batch);
void replay_ack(struct replay *replay, uint64_t queue_id, uint64_t first, uint64_t count);
void replay_delivered(struct replay *replay, uint64_t queue_id, uint64_t sequence);

/* Second reading: is the message of that batch still un-acked in the queue? */
bool replay_alive(struct replay *replay, uint64_t queue_id, uint64_t sequence, uint64_t batch);

#endif
