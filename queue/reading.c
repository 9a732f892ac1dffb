/* reading.c - the messages of a page that was read. */
#include "queue/reading.h"

#include "queue/lane.h"

struct reading reading_of(struct page *page, const struct page_load *load)
{
    struct reading reading = {.page = page, .sequence = page->first};
    reading.delivered = page->recovered ? page_delivered(page) : 0;
    reading.left = page_open(slice_of(load->bytes, load->size), &reading.rest);
    return reading;
}

struct entry reading_entry(const struct page *page, const struct page_record *record, uint64_t sequence,
                           uint64_t delivered)
{
    bool persistent = record->flags & PAGE_PERSISTENT;
    bool redelivered = record->flags & (PAGE_REDELIVERED | PAGE_RETRIED) || sequence <= delivered;
    return (struct entry){NULL, sequence, redelivered,
                          .journalled = persistent && page->stored,
                          .returns = page_returns(page, sequence),
                          .lane = (uint16_t)lane_of_id(page->queue_id),
                          .page = page->slot};
}

bool reading_next(struct reading *reading, struct page_record *record, struct entry *entry)
{
    const struct page *page = reading->page;
    while (reading->left > 0) {
        uint64_t sequence = reading->sequence;
        reading->record = reading->rest.at;
        page_next(&reading->rest, record);
        reading->sequence += record->run;
        reading->left -= record->run;
        if (record->flags & PAGE_GONE || (page->recovered && !(record->flags & PAGE_PERSISTENT)) ||
            page_is_acked(page, sequence) || page_is_taken(page, sequence))
            continue;
        *entry = reading_entry(page, record, sequence, reading->delivered);
        return true;
    }
    return false;
}

uint64_t reading_born(const struct queue *q, const struct page *page, const struct page_record *record)
{
    uint64_t born_ms = record->born_ms ? record->born_ms : page->times.born_first;
    return born_ms ? born_ms : q->home->now_ms;
}

struct message *reading_message(struct queue *q, const struct page *page,
                                    const struct page_record *record)
{
    struct message *m =
        message_new(q->home->pool, record->exchange, record->key, record->props, record->body.len);
    if (record->body.len)
        memcpy(message_body_at(m), record->body.at, record->body.len);
    m->persistent = record->flags & PAGE_PERSISTENT;
    m->has_headers = record->flags & PAGE_HAS_HEADERS;
    m->dead_letter = record->flags & PAGE_DEAD_LETTER;
    m->retried = record->flags & PAGE_RETRIED;
    m->born_ms = reading_born(q, page, record);
    return m;
}
