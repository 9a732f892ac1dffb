/* delay.h - messages that wait for their time: a calendar on disk.
 *
 * A delay is the calendar of one queue (retries) or one exchange (delayed messages). Its days are buckets: of
 * 12 days, of 35 minutes, of 8 seconds, of 64 milliseconds; each is an order like that of a queue, goes to
 * disk in pages as that does, and is known to the journal as a lane of the calendar's id. Some time before a
 * bucket begins what is in it is dealt into finer ones. What is in the finest goes to a heap in memory, of
 * bounded size, and is handed to the broker when its time has come: never before, and in order unless more
 * than the heap holds is due within 64 ms.
 *
 * A message's born_ms is when it is due. So a page's row says when the first in it is, and a restart reads no
 * page. Moving a message from bucket to bucket is a record and an ack in one batch of the journal. */
#ifndef QUEUE_DELAY_H
#define QUEUE_DELAY_H

#include "base/heap.h"
#include "base/map.h"
#include "queue/entry.h"
#include "store/pages.h"
#include "store/store.h"

struct queue;
struct queue_home;
struct order;
struct bucket;

/* Lanes below are levels of priority or groups: at most GROUP_MAX and two. */
enum { DELAY_LANE_FIRST = 61440, DELAY_LEVELS = 4, DELAY_LEVEL_LANES = 1024 };

/* Ten years, the longest delay. */
#define DELAY_MAX_MS UINT64_C(315360000000)

struct delay {
    struct queue_home *home;
    struct delays *delays;   /* among which it is: of a home, or of an agenda */
    struct queue *keeper;    /* what its orders are of: has no name, no consumers, no messages of its own */
    struct queue *queue;     /* whose retries these are, or NULL */
    void *exchange;          /* whose messages these are, the broker's, or NULL */
    void *vhost;             /* the broker's */
    struct list link;        /* in delays.all */
    struct map buckets;      /* by level and number */
    uint64_t lanes[DELAY_LEVELS * DELAY_LEVEL_LANES / 64]; /* bit i: lane DELAY_LANE_FIRST + i is used */
    uint64_t first_sequence; /* of a new bucket: above all that its lane may have had */
    size_t count;            /* messages that wait */
    bool restoring;          /* recovery is under way */
    uint32_t looked;         /* the last list that has come to it */
};

/* One that has come to the heap, or is being handed over. */
struct delayed {
    struct bucket *bucket;
    struct entry entry;
    uint32_t looked; /* the last list that has it: delay_look.h */
};

/* Of all calendars of a home. */
struct delays {
    struct heap opening;     /* bucket.node, by the time at which it is to be looked at */
    struct delayed *near;    /* binary min-heap by time, then sequence */
    size_t near_size, near_capacity, near_bytes;
    size_t open_count;       /* finest buckets that are open */
    size_t count;            /* messages in all calendars */
    struct list all;         /* delay.link */
    struct list walks;       /* through it */
    struct delay_look *look; /* under way, or NULL */
    uint32_t looks;          /* that there were */
};

void delays_init(struct delays *delays);
void delays_free(struct delays *delays);

/* A calendar that the journal knows by that id; `like`: what it keeps there is what that queue would, NULL =
 * what is persistent, when `durable`. */
struct delay *delay_new(struct queue_home *home, uint64_t id, const struct queue *like, bool durable);
/* One among others than the home's, of which nothing is in the journal. */
struct delay *delay_new_among(struct delays *delays, struct queue_home *home, uint64_t id);
/* The calendar of the queue's retries. */
struct delay *delay_for_queue(struct queue *q);
/* A message of it that is due: goes to the end of the queue, redelivered. */
void delay_give_back(struct queue *q, struct message *m);
/* All that waits is dropped. */
void delay_delete(struct delay **delay);
/* The message, whose only other holder is the caller, waits until then, in milliseconds since 1970. */
void delay_push(struct delay *delay, struct message *m, uint64_t due_ms);

/* Once a turn: deals some messages from coarser buckets to finer ones, and what is due soon to the heap. */
void delay_run(struct delays *delays, uint64_t now_ms);
/* The order is of a bucket whose time is near: what was read of it stays in memory. */
bool delay_is_open(const struct order *order);
/* It will be so soon: what is written now may not be on disk by then, to be read. */
bool delay_opens_within(const struct order *order, uint64_t ms);
/* Takes one that is due; false when none is. It is to be settled. */
bool delay_take(struct delays *delays, uint64_t now_ms, struct delayed *delayed);
/* What the journal knows it by. */
uint64_t delay_id(const struct delay *delay);
/* Whose it is. */
struct delay *delay_of(const struct delayed *delayed);
/* It was handed on: drops its reference, and acks it. */
void delay_settle(struct delayed *delayed);
/* When something is to be done, in milliseconds since 1970; UINT64_MAX = never. */
uint64_t delay_next_ms(const struct delays *delays);

/* Found by recovery. */
void delay_restore(struct delay *delay, unsigned lane, struct message *m, uint64_t sequence);
void delay_restore_page(struct delay *delay, uint32_t slot);
/* Recovery is over: no sequence below `floor` is used from now on. */
void delay_restored(struct delay *delay, uint64_t floor);

/* A page came to one of its orders. */
void delay_order_changed(struct order *order);
/* As paging_move_waiting, for all that waits in calendars. */
void delays_move(struct delays *delays, uint64_t limit);
/* Tests: checks what is counted. */
void delay_check(const struct delay *delay);

#endif
