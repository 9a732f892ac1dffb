/* batch.h - what goes to disk together: records, runs of acks and deliveries, definitions.
 * The loop fills one while the disk thread writes the other; batch_seal and what follows it are the
 * disk thread's. The records lie in one run of pages that grows and shrinks without being copied.
 */
#ifndef STORE_BATCH_H
#define STORE_BATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/list.h"
#include "store/page_work.h"
#include "store/store.h"

struct ack_range {
    uint64_t queue_id, first, count;
};

struct delivered_mark {
    uint64_t queue_id, sequence;
};

struct return_mark {
    uint64_t queue_id, sequence, count;
};

enum { PLACE_DOOMED_MAX = 8 };

/* Where a batch goes in the journal, decided by the loop when it hands the batch over. */
struct place {
    uint64_t epoch, salt, segment_bytes; /* of the segment */
    uint64_t offset, size;               /* in its file; size 0 = definitions only */
    uint64_t previous, oldest;           /* last batch before it, oldest epoch that still counts */
    uint64_t file_bytes;                 /* written so far; the disk thread moves it */
    unsigned slot;                       /* number in the file's name */
    bool begins;                         /* first of this use: the header goes first */
    bool written;                        /* it is on disk */
    uint8_t doomed_count;
    unsigned doomed[PLACE_DOOMED_MAX]; /* slots whose files are to go, after the sync */
};

struct batch {
    uint64_t number;
    uint8_t *bytes; /* header first; NULL until the first record */
    size_t used, capacity;
    size_t recent; /* what batches have used lately */
    uint32_t records;
    uint32_t ack_count, ack_capacity;
    uint32_t delivered_count, delivered_capacity;
    struct ack_range *acks;
    struct delivered_mark *delivered;
    struct buf returned; /* of struct return_mark */
    uint32_t note_count, note_capacity;
    struct stored_note *notes;
    struct buf definitions;
    struct page_work pages;
    uint64_t live; /* messages in it that nobody has released */
    struct place place;
    size_t sealed;      /* bytes to write at place.offset; 0 = not sealed yet */
    struct list letter; /* in the disk thread's mailbox */
    bool stop;          /* a letter that says: end */
    bool slow;          /* the disk took long: what it took of memory goes back at once */
};

void batch_init(struct batch *batch);
void batch_free(struct batch *batch);

/* Appends a message's record; all bytes are copied. `moved`: it was in an older batch. */
void batch_message(struct batch *batch, const struct stored_message *message, bool moved);
/* Appends a new range or mark; returns its index. */
uint32_t batch_ack(struct batch *batch, uint64_t queue_id, uint64_t sequence);
uint32_t batch_delivered(struct batch *batch, uint64_t queue_id, uint64_t sequence);
/* Appends how often a message came back. */
void batch_returned(struct batch *batch, const struct return_mark *mark);

uint32_t batch_note(struct batch *batch, const struct stored_note *note);

bool batch_empty(const struct batch *batch);
/* Bytes it takes in the journal, header and padding included; 0 when it holds no record. */
uint64_t batch_journal_bytes(const struct batch *batch);
/* Bytes of memory that wait to become durable. */
size_t batch_pending_bytes(const struct batch *batch);

/* Bytes of memory that it has, used or not. */
size_t batch_memory(const struct batch *batch);

/* Disk thread: writes acks, header and checksums, and zeros up to the end of the file's block.
 * Returns the bytes to write at place.offset. */
size_t batch_seal(struct batch *batch);
/* Makes it empty and gives back memory that recent batches did not need. */
void batch_reset(struct batch *batch);
/* An idle broker's turn: halves what an empty batch keeps for later. */
void batch_relax(struct batch *batch);

#endif
