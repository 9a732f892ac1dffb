/* queue_home.h - what all queues of a server share, and what a queue has of it: where its messages go. */
#ifndef QUEUE_QUEUE_HOME_H
#define QUEUE_QUEUE_HOME_H

#include "base/timer.h"
#include "queue/agenda.h"
#include "queue/dedup.h"
#include "queue/delay.h"
#include "queue/expiry.h"
#include "queue/mover.h"
#include "queue/order.h"
#include "queue/outcome.h"
#include "store/store.h"

/* Bytes on their way to the disk beyond which nothing expires, and no dead letter and nothing that was
 * delayed is published: a little more than what stops publishers, a little less than what stops pages. */
enum { QUEUE_PENDING_MAX = 13 * 1024 * 1024 };

/* What all queues of a server share. */
struct queue_home {
    struct list ready;       /* queue.ready_link: may deliver */
    struct order nothing;    /* always empty: the front of queues that are held */
    struct list graveyard;   /* grave.link: entries being dropped, a bounded number a turn */
    struct slab_pool *pool;  /* of messages */
    struct store *store;     /* NULL once it is closed: what is dropped then is no ack */
    size_t queue_count;      /* alive or deleted with unacked entries */
    size_t keeping_all;      /* of these, that keep what is not persistent too */
    struct paging paging;
    struct mover mover;      /* of messages in old parts of the journal */
    struct dedup_home dedup;
    struct outcomes outcomes; /* entries on their way to a dead-letter exchange */
    struct delays delays;    /* calendars */
    struct agenda agenda;    /* deadlines of messages on disk */
    struct heap expiring;    /* expiry.node of queues in which something has a deadline */
    uint64_t now_ms;         /* milliseconds since 1970 as they were at the last input */
};

/* Who may use an exclusive queue, and ends it. */
struct queue_owner {
    void *connection; /* that declared it, NULL = not exclusive */
    struct list link; /* in the connection's list of exclusive queues */
};

/* How messages leave a queue by themselves, and how it goes itself. */
struct leaving {
    size_t outcomes;     /* entries in home.outcomes: it is not freed before they are settled */
    uint64_t outcome_bytes; /* of their bodies */
    void *vhost;         /* the broker's: where its dead letters are published; NULL = nowhere */
    struct timer unused; /* the broker's: x-expires */
    uint64_t used_ms;    /* when it was last used, by server_now_ms */
    uint32_t gets;       /* the broker's: how many basic.get wait for a page of it */
    bool deleted;        /* it is freed when nothing of it is unacked */
    bool cycle_told;     /* the log has said once that its dead letters go round */
};

void queue_home_init(struct queue_home *home, struct slab_pool *pool, struct store *store);
/* All that waits in the order goes to the graveyard; `forget`: its acks need not be journalled. */
void queue_bury_order(struct queue *q, struct order *order, bool forget);
/* Drops up to `budget` entries of deleted and purged queues; true when some are left. */
bool queue_home_bury(struct queue_home *home, size_t budget);
void queue_home_free(struct queue_home *home);

/* Tests: calls `each` for all entries that wait to be dropped. */
void queue_home_each_buried(const struct queue_home *home, void (*each)(void *arg, const struct entry *entry),
                            void *arg);
#endif
