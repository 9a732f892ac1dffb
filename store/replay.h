/* replay.h - which messages a journal leaves un-acked, found in one reading and asked about in the
 * next. Sequences rise per queue, but after a restart a queue whose messages were all acked may
 * begin again below: an ack concerns only messages that precede it in the journal. */
#ifndef STORE_REPLAY_H
#define STORE_REPLAY_H

#include "base/map.h"
#include "base/ring.h"
#include "store/pages.h"
#include "store/reader.h"
#include "store/store.h"

struct replay_entry {
    uint64_t sequence;
    uint64_t batch; /* 0 = acked */
};

RING(late_ring, struct replay_entry);
RING(page_ring, struct page *);

struct replay_return {
    uint64_t sequence, count;
};

RING(return_ring, struct replay_return);

struct replay_queue {
    uint64_t id;
    struct replay_entry *entries; /* by sequence */
    size_t count, capacity;
    struct late_ring late; /* of moved messages that belong between these; see settled() */
    size_t cursor; /* where the last question was answered */
    uint64_t delivered; /* messages up to this may have been delivered, say pages and journal */
    uint64_t marked;    /* so says the journal */
    struct return_ring returned; /* sorted once it is asked about */
    bool returned_sorted;
    struct page_ring pages; /* by sequence: what is in them is not the journal's */
};

RING(replay_queues, struct replay_queue *);
RING(replay_ids, uint64_t);

struct replay {
    struct pages *pages;
    struct replay_ids defined;     /* ids of queues; ascending unless they were not given so */
    bool unsorted;
    struct map by_id;              /* those that the journal or a page is about */
    struct replay_queues queues;   /* the same, in the order they were found */
    struct replay_queue *last;     /* asked for last */
    uint64_t queue_id_max;         /* of all targets, defined or not */
    struct stored_target *targets; /* of the message being reported */
    uint16_t *returns;             /* beside them */
    size_t target_capacity;
    uint64_t notes_first;          /* batch of the first note reported, UINT64_MAX = none */
    bool doubtful; /* parts of the journal are lost */
};

void replay_init(struct replay *replay, struct pages *pages);
void replay_free(struct replay *replay);

/* Messages, acks and marks of queues that are not defined are passed over. */
void replay_define(struct replay *replay, uint64_t queue_id);

/* True when a page of the queue holds messages with these sequences already. */
bool replay_is_paged(struct replay *replay, uint64_t queue_id, uint64_t first, uint64_t last);
/* A page; false when its queue is not defined. Quickest by queue and sequence. */
bool replay_page(struct replay *replay, struct page *page);

/* First reading: takes in a verified batch. Returns 0, or the offset of a message whose sequence is
 * not above those its queue holds. */
uint64_t replay_learn(struct replay *replay, const struct read_batch *batch);
/* Something before this place is lost: acks, so that messages come again, and marks of deliveries, so that
 * all that was learnt so far has to count as delivered. */
void replay_doubt(struct replay *replay);
/* Second reading, in the same order: reports the batch's messages that are still un-acked; returns
 * how many. */
uint64_t replay_report(struct replay *replay, const struct read_batch *batch,
                       const struct recovery_sink *sink);
void replay_report_delivered(const struct replay *replay, const struct recovery_sink *sink);

#endif
