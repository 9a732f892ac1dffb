/* agenda.h - when messages on disk expire, each at its own time.
 *
 * A page with messages that have an expiration of their own cannot be read again and again, each time for
 * one that is due. So when the page is written, or is read for the first time since a restart, each of these
 * gets a *note*: its deadline, and where it is. Notes wait in a calendar (delay.h), which lies on disk like
 * any queue: in groups of a page by the slot of time they belong to, dealt into finer slots by and by; those
 * of the next moment are in a heap of bounded size. So memory is a matter of slots, not of messages.
 *
 * Notes are kept by no journal: a restart makes them anew. One may be about a message that has left. A note
 * of a message with a dead letter has its one record read from the page; else nothing is read. */
#ifndef QUEUE_AGENDA_H
#define QUEUE_AGENDA_H

#include "base/map.h"
#include "base/slice.h"
#include "queue/delay.h"
#include "store/page_loader.h"

enum { AGENDA_SLOTS = 512, AGENDA_SLOT_NOTES = 64 };

struct note {
    uint64_t deadline_ms, sequence;
    uint32_t serial;     /* of the order */
    uint32_t offset, size, check; /* of the record in its page */
    uint32_t body_bytes;
    uint32_t persistent;
};

/* Notes of 64 ms that are not far away, before they go to the calendar. */
struct agenda_slot {
    uint64_t number; /* deadline >> 6 */
    uint32_t count;
    struct note notes[AGENDA_SLOT_NOTES];
};

struct agenda {
    struct delays delays;     /* the calendar */
    struct delay *calendar;   /* NULL until there is a note */
    struct map orders;        /* by expiry.serial */
    uint32_t next_serial;
    struct note *page;        /* notes of the page that is being written or read */
    size_t page_size, page_capacity;
    struct agenda_slot *slots[AGENDA_SLOTS];
    size_t slot_count;        /* that hold notes */
    uint64_t near_slot;       /* slots before this have gone to the heap */
    struct note *soon;        /* binary heap by deadline */
    size_t soon_size, soon_capacity;
};

struct message;
struct order;

void agenda_init(struct agenda *agenda);
void agenda_free(struct queue_home *home);

/* A message whose record is at that place of the bytes of a page has a deadline of its own. */
void agenda_add(struct order *order, uint64_t deadline_ms, uint64_t sequence, const struct note *place);
/* All of a page were added. */
void agenda_end_page(struct queue_home *home);
/* Where a record of `size` bytes at `offset` of a page is. */
struct note agenda_place(const uint8_t *page, size_t offset, size_t size, const struct page_record *record);

/* Takes what is due before `before_ms` out of pages; returns what is left of the budget. */
size_t agenda_run(struct queue_home *home, uint64_t before_ms, size_t budget);
/* When something is to be done; UINT64_MAX = never. */
uint64_t agenda_next_ms(const struct queue_home *home);
/* A record was read. */
void agenda_arrive(struct queue_home *home, struct page_load *load);
/* The order goes. */
void agenda_leave(struct order *order);

#endif
