/* page.h - a page: a run of a queue's messages as bytes in a page file, 64 bytes of header and a record each.
 * docs/format.md says the same in prose; the two change together. Integers are little-endian. */
#ifndef STORE_PAGE_H
#define STORE_PAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

enum format_page {
    PAGE_MAGIC = 0,
    PAGE_CHECKSUM = 8,    /* u64 of bytes 16 … size, seeded with the id */
    PAGE_ID = 16,         /* u64 */
    PAGE_QUEUE = 24,      /* u64 */
    PAGE_FIRST = 32,      /* u64: sequence of the first message; the others follow by one */
    PAGE_SIZE = 40,       /* u32: all of it */
    PAGE_COUNT = 44,      /* u32: messages */
    PAGE_BODY_BYTES = 48, /* u64: of all bodies, then u64 0 */
    PAGE_HEADER_BYTES = 64,
    /* A record: then, if its flags say so, u64 when it was published; exchange, key, props, body. */
    PAGE_RECORD_FLAGS = 0,        /* u8 */
    PAGE_RECORD_EXCHANGE_LEN = 1, /* u8 */
    PAGE_RECORD_KEY_LEN = 2,      /* u8, then u8 0 */
    PAGE_RECORD_PROPS_LEN = 4,    /* u32 */
    PAGE_RECORD_BODY_LEN = 8,     /* u32 */
    PAGE_RECORD_HEADER_BYTES = 12,
    PAGE_BORN_BYTES = 8
};

/* PAGE_GONE: the record stands for as many messages as its body length says, none of which is needed any
 * more, and has no bytes. */
enum page_flag {
    PAGE_PERSISTENT = 1,
    PAGE_HAS_HEADERS = 2,
    PAGE_REDELIVERED = 4,
    PAGE_GONE = 8,
    PAGE_HAS_BORN = 16,
    PAGE_DEAD_LETTER = 32,
    PAGE_RETRIED = 64
};

enum { PAGE_MESSAGES_MAX = 4096 };

struct page_record {
    uint8_t flags; /* enum page_flag */
    struct slice exchange, key, props, body;
    uint64_t born_ms; /* with PAGE_HAS_BORN */
    uint32_t run;     /* of how many messages; 1 unless they are gone */
};

/* A page being filled, where it was given room (page_work_room). */
struct page_draft {
    uint8_t *bytes;
    size_t used, size;
    uint32_t count, persistent, gone;
    uint32_t body_bytes;
    uint8_t gone_bits[PAGE_MESSAGES_MAX / 8]; /* bit i: place i has no message */
};

static inline size_t page_record_size(const struct page_record *record)
{
    size_t born = record->flags & PAGE_HAS_BORN ? PAGE_BORN_BYTES : 0;
    return PAGE_RECORD_HEADER_BYTES + born + record->exchange.len + record->key.len + record->props.len +
           record->body.len;
}

/* Begins a page of `size` bytes: the header, and the records' page_record_size together. */
void page_begin(struct page_draft *draft, uint8_t *bytes, size_t size);
void page_add(struct page_draft *draft, const struct page_record *record);
/* Adds all records of a page that was checked, so many of which are persistent. */
void page_append(struct page_draft *draft, struct slice page, uint32_t persistent);
/* Adds the records of a page that was checked, but for the messages that are acked (bit i: the i-th) and,
 * with `only_persistent`, those that are not persistent. Returns the size of what is added; with draft NULL
 * only that. */
size_t page_thin(struct page_draft *draft, struct slice page, const uint8_t *acked, bool only_persistent);
/* Writes the header of a page whose records are all there. */
void page_seal(struct page_draft *draft, uint64_t id, uint64_t queue_id, uint64_t first);

/* What tells one record's bytes from others. */
uint32_t page_part_check(struct slice record);
/* True when the bytes are that page, whole and as they were written. */
bool page_check(struct slice bytes, uint64_t id);
/* The number of messages, whose they are and the first one's sequence, of a page that was checked. */
uint32_t page_identity(struct slice bytes, uint64_t *queue_id, uint64_t *first);
/* The number of messages, and the first record, of a page that was checked. */
uint32_t page_open(struct slice bytes, struct slice *rest);
/* Cuts the next record off. */
void page_next(struct slice *rest, struct page_record *record);

#endif
