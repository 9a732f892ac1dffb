/* agenda.h - when messages on disk expire, each at its own time.
 *
 * A page with messages that have an expiration of their own cannot be read again and again, each time for
 * one that is due. So when the page is written, or is read for the first time since a restart, each of these
 * gets a *note*: its deadline, and where it is. Notes wait on disk, in order (runs.h); those of the next
 * moment are in a heap of bounded size.
 *
 * Notes are kept by no journal: a restart makes them anew. One may be about a message that has left. A note
 * of a message with a dead letter has its one record read from the page; else nothing is read. */
#ifndef QUEUE_AGENDA_H
#define QUEUE_AGENDA_H

#include "base/map.h"
#include "base/slice.h"
#include "queue/runs.h"
#include "store/page_loader.h"

struct agenda {
    struct map orders;        /* by expiry.serial */
    uint32_t next_serial;
    struct runs runs;         /* notes that wait */
    struct notes soon;        /* of the next moment */
};

struct order;
struct page_record;

void agenda_init(struct agenda *agenda);
void agenda_free(struct queue_home *home);

/* A message whose record is at that place of the bytes of a page has a deadline of its own. */
void agenda_add(struct order *order, uint64_t deadline_ms, uint64_t sequence, const struct note *place);
/* All of a page were added, and it is written: notes may go to disk. */
void agenda_end_page(struct queue_home *home);
/* Where a record of `size` bytes at `offset` of a page is. */
struct note agenda_place(const uint8_t *page, size_t offset, size_t size, const struct page_record *record);

/* Takes what is due before `before_ms` out of pages; returns what is left of the budget. */
size_t agenda_run(struct queue_home *home, uint64_t before_ms, size_t budget);
/* When something is to be done; UINT64_MAX = never. */
uint64_t agenda_next_ms(const struct queue_home *home);
/* Bytes of memory, about. */
size_t agenda_memory(const struct agenda *agenda);
/* A record was read. */
void agenda_arrive(struct queue_home *home, struct page_load *load);
/* The order goes. */
void agenda_leave(struct order *order);

#endif
