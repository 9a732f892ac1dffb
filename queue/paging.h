/* paging.h - long queues go to disk, page by page, and come back before their consumers need them.
 *
 * The newest messages that nobody has been handed are written out when a queue holds more than its share
 * of memory, or all of them together more than theirs; the oldest stay, so that a consumer never waits for
 * a page just written. One page is read ahead of the consumers at a time; the loop never waits for the
 * disk. */
#ifndef QUEUE_PAGING_H
#define QUEUE_PAGING_H

#include "queue/queue.h"

/* The defaults of the configuration: see docs/configuration.md. */
enum { PAGING_RESIDENT_MAX = 16384, PAGING_PAGE_BYTES = 256 * 1024, PAGING_MEMORY_MAX = 40 * 1024 * 1024 };

void paging_init(struct paging *paging);
/* Messages that a queue keeps in memory, bytes of a page, bytes of memory for messages. */
void paging_configure(struct paging *paging, uint32_t resident_max, uint32_t page_bytes, uint64_t memory_max);

/* After a push: writes pages when the order holds too much. */
void paging_check(struct order *order);
/* Once a turn: writes pages of some queues when all hold too much together. */
void paging_squeeze(struct queue_home *home);

/* Sees to it that the next page is read when consumers will soon need it. */
void paging_want(struct order *order);
/* The next message is on disk, and somebody waits for it. */
void paging_await(struct order *order);
/* Something in that page of the backlog is due: reads it, and takes that out; false when it has to wait for
 * the disk, or for others of the order that are being read (expiry.pages). */
bool paging_thin_out(struct order *order, uint32_t slot);
/* The message leaves the queue while it is in that page of the backlog: it is taken, and to be acked. */
void paging_take_out(struct order *order, uint32_t slot, uint64_t sequence, uint32_t body_bytes);
/* The record of such a message was read: its dead letter is published. */
void paging_expire_part(struct order *order, const struct page *page, const struct page_load *load);
/* Drops the backlog's first page without reading it, when all in it is due and none is dead-lettered. */
bool paging_expire_first(struct order *order);
/* The same with the first page when its queue is beyond its limit by all of it. */
bool paging_shed_first(struct order *order);
/* Takes what was read. */
void paging_arrive(struct queue_home *home);
/* Asks for the pages that queues want, as far as that can be now. */
void paging_fetch(struct queue_home *home);

/* Writes a journalled message of a batch up to `limit` anew, so that the old part of the journal can go.
 * All entries that share the message must be seen within one turn. `seen`: it may have been delivered. */
void paging_move(struct queue *q, struct entry *entry, uint64_t limit, bool seen);
/* So with an entry of that order, and with all that waits in it. */
void paging_move_entry(struct queue *q, struct order *order, struct entry *entry, uint64_t limit, bool seen);
void paging_move_order(struct queue *q, struct order *order, uint64_t limit);
/* So with all that waits in the queue to be delivered. */
void paging_move_waiting(struct queue *q, uint64_t limit);
/* The oldest batch of which something waits in the queue to be delivered, in memory; UINT64_MAX = none. */
uint64_t paging_oldest(struct queue *q);

/* The order is about to be emptied: it is in no list any more, and nobody waits for its pages. */
void paging_leave(struct order *order);
/* Drops pages of an order that left; `forget`: their acks need not be journalled. Returns what is left of the
 * budget. */
size_t paging_bury(struct queue_home *home, struct order *order, bool forget, size_t budget);
/* Drops the entry's reference, and the journal's, without an ack. */
void paging_drop(struct queue_home *home, struct entry *entry);

#endif
