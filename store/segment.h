/* segment.h - which segments the journal is made of, what lives in them, and where the next batch
 * goes. The loop's view: no file is touched here. Segments die oldest first, because an ack
 * concerns only messages in its own segment or an older one. */
#ifndef STORE_SEGMENT_H
#define STORE_SEGMENT_H

#include "base/rand.h"
#include "base/ring.h"
#include "store/batch.h"

struct segment {
    uint64_t epoch, salt, bytes;      /* of this use; bytes = the header's size limit */
    uint64_t used;                    /* where the next batch goes */
    uint64_t file_bytes;              /* written in this or an earlier use */
    uint64_t first_batch, last_batch; /* first > last when it has none */
    uint64_t live, messages;          /* not released; all */
    uint64_t freed_by; /* retired: the batch that says on disk that this use is dead */
    unsigned slot;     /* number in the file's name */
};

RING(segment_ring, struct segment *);

/* The oldest part of the journal is being moved on, a slice at a time. */
struct sparse {
    uint64_t at, to; /* batches up to `at` are done; at == to: nothing is under way */
    uint64_t step;   /* batches of the next slice */
    uint64_t live;   /* of the part, before the last slice */
    uint64_t batch;  /* that the last slice went to */
};

struct segments {
    struct segment_ring in_use; /* oldest first; batches go to the last one */
    struct segment_ring spare;  /* retired, in the order they may be used again */
    struct segment_ring odd;    /* retired, of another size: to be unlinked */
    struct segment *hit;        /* where the last release was */
    size_t segment_bytes;
    uint64_t epoch_next;
    uint64_t previous; /* last batch in the journal */
    uint64_t live;     /* in all segments */
    uint64_t needed;   /* acks from this batch on are told by the journal only; UINT64_MAX = none */
    uint64_t dead;     /* segments up to this batch are dead with what was handed over */
    uint64_t asked;    /* newest epoch when segments_sparse last began */
    uint64_t asked_few; /* the same of few messages */
    struct sparse sparse;
    unsigned slot_next;
    struct rand rand;
};

void segments_init(struct segments *segments, size_t segment_bytes);
void segments_free(struct segments *segments);

/* Chooses where the batch of journal_bytes > 0 goes and fills its place; its live messages are the
 * segment's from now on. `durable` says which dead segments may be written over. */
void segments_place(struct segments *segments, struct batch *batch, uint64_t durable);
/* One message of the batch, which has been placed, is no longer needed. */
void segments_release(struct segments *segments, uint64_t batch);
/* The last batch of the oldest segments that hold nothing live; 0 = none: they may go when nothing up to it
 * is needed. */
uint64_t segments_dying(const struct segments *segments);
/* A batch is handed over: the next one may say that the oldest segments are dead, if they hold nothing live
 * or needed; the last one always stays. This one may not: what makes them dead may be in rows of its own,
 * which come to disk behind its records. */
void segments_handed_over(struct segments *segments);
/* When the oldest segments are many and hold little that is live, or hold very little and the newest one is
 * half full or has no room for the open batch: their last batch, up to which what is needed is to be moved
 * on; 0 = nothing. A part of each kind is begun once a new segment. */
uint64_t segments_sparse_part(struct segments *segments, uint64_t open_bytes);
/* What is needed of batches up to this one is to be moved on, now; 0 = nothing. With every open batch a
 * slice more, about 4,096 messages (less with small segments). */
uint64_t segments_sparse(struct segments *segments, uint64_t open, uint64_t open_bytes);

/* Recovery: takes over a segment found on disk; in_use ones come oldest first. */
void segments_adopt(struct segments *segments, struct segment *segment);
void segments_adopt_spare(struct segments *segments, struct segment *segment);
/* The last placed batch is on disk: its file may have grown. */
void segments_written(struct segments *segments, const struct place *place);
/* Bytes of records that are still needed, about: those of a segment count as equally long. */
uint64_t segments_live_bytes(const struct segments *segments);
uint64_t segments_file_bytes(const struct segments *segments);

#endif
