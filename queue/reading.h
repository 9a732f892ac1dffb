/* reading.h - a page that was read, walked through message by message. */
#ifndef QUEUE_READING_H
#define QUEUE_READING_H

#include "queue/queue.h"

struct reading {
    struct page *page;
    const uint8_t *record; /* where the last one begins */
    struct slice rest;
    uint64_t sequence, delivered;
    uint32_t left;
};

struct reading reading_of(struct page *page, const struct page_load *load);
/* The next of its messages that is still there; `entry` has no message yet. */
bool reading_next(struct reading *reading, struct page_record *record, struct entry *entry);
/* The entry of such a record, without its message; up to `delivered` all may have been delivered. */
struct entry reading_entry(const struct page *page, const struct page_record *record, uint64_t sequence,
                           uint64_t delivered);
/* When the message of the record was published. */
uint64_t reading_born(const struct queue *q, const struct page *page, const struct page_record *record);
/* The message of the record, with one reference. */
struct message *reading_message(struct queue *q, const struct page *page, const struct page_record *record);

#endif
