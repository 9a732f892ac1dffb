/* page_work.h - what a batch does to page files and their directory: pages written, moved and forgotten. */
#ifndef STORE_PAGE_WORK_H
#define STORE_PAGE_WORK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

/* When the messages of a page go by themselves, in milliseconds since 1970. */
struct page_times {
    uint64_t born_first, born_last; /* when they were published; 0 = not known */
    uint64_t own_first; /* the earliest of their own deadlines; UINT64_MAX = none has one */
};

/* Makes them those of both. */
static inline void page_times_add(struct page_times *times, const struct page_times *other)
{
    if (times->born_first == 0 || times->born_first > other->born_first)
        times->born_first = other->born_first;
    if (times->born_last < other->born_last)
        times->born_last = other->born_last;
    if (times->own_first > other->own_first)
        times->own_first = other->own_first;
}

enum page_job_kind { PAGE_JOB_WRITE, PAGE_JOB_MOVE, PAGE_JOB_UNLINK };

struct page_job {
    enum page_job_kind kind;
    uint32_t slot;   /* of the page */
    uint64_t id;
    size_t at;       /* WRITE: of the page, in page_work.bytes */
    uint32_t size;
    uint32_t file, offset;           /* where to; UNLINK: which file */
    uint32_t from_file, from_offset; /* MOVE */
    bool stored;     /* it must survive a restart */
    bool failed;     /* MOVE: it could not be read, and stays where it is */
};

enum page_row_kind { PAGE_ROW_PUT, PAGE_ROW_PROGRESS, PAGE_ROW_MOVE, PAGE_ROW_DROP, PAGE_ROW_NOTHING };

/* Which parts of a row are not what their checksums say, as it was read. */
enum page_row_damage { PAGE_ROW_BAD_SELF = 1, PAGE_ROW_BAD_PLACE = 2, PAGE_ROW_BAD_PROGRESS = 4 };

/* A row of the directory, or a change of one; `acked_size` bytes of a bitmap follow it in page_work.rows. */
struct page_row {
    enum page_row_kind kind;
    uint32_t file, offset, bytes, count, persistent;
    uint32_t acked_size;
    uint32_t damage; /* enum page_row_damage */
    uint64_t id, queue_id, first, body_bytes;
    uint64_t delivered; /* messages up to this sequence may have been delivered */
    struct page_times times;
    const uint8_t *acked; /* bit i: message first + i is acked; as read also counts, a byte each, behind */
    const uint8_t *counts; /* to be written: `count` bytes more, how often each came back; NULL = never */
};

struct page_work {
    struct page_job *jobs;
    uint32_t count, capacity;
    uint8_t *bytes;  /* pages to be written, one behind the other */
    size_t used, room;
    size_t recent;   /* what batches have used lately */
    size_t moving;   /* bytes of pages to be moved */
    bool written;    /* the jobs are done: what is left waits for space */
    struct buf rows; /* changes of the directory, in order */
};

static inline bool page_work_empty(const struct page_work *work)
{
    return work->count == 0 && work->rows.len == 0;
}

/* Room for a page; it stays where it is until the next one is asked for. */
uint8_t *page_work_room(struct page_work *work, size_t size);
struct page_job *page_work_add(struct page_work *work, enum page_job_kind kind);
/* Appends a change; the bitmap is copied. */
void page_work_row(struct page_work *work, const struct page_row *row);
/* Cuts the first change off; its bitmap points into `rows`. */
struct slice page_work_next_row(struct slice rows, struct page_row *row);
/* The page of that id is not moved after all. */
void page_work_stay(struct page_work *work, uint64_t id);
/* Makes it empty, and gives back what recent ones did not need; `slow`: see batch.slow. */
void page_work_reset(struct page_work *work, bool slow);
/* An idle broker's turn: halves what an empty one keeps for later. */
void page_work_relax(struct page_work *work);
void page_work_free(struct page_work *work);

#endif
