/* runs.h - notes of deadlines on disk, in order of time.
 *
 * Notes (notes.h) are gathered in memory; when they are
 * many, the earliest of them become the end of a *run*: pages in which notes are in order of their deadlines.
 * What is earlier than the end of the run is for the next one. So a run has twice as many notes as are
 * gathered when they come in any order, and has no end when they come in order. Runs are read from their
 * fronts in parts, each shortly before the first note in it is due: one part of each run at a time. Memory is
 * a matter of what is gathered and of the number of runs, which is kept small by merging (runs_merge.h).
 *
 * Runs are known to no journal and no directory: a restart makes them anew. */
#ifndef QUEUE_RUNS_H
#define QUEUE_RUNS_H

#include "base/heap.h"
#include "base/list.h"
#include "base/ring.h"
#include "queue/notes.h"
#include "store/page_loader.h"

struct queue_home;

enum { RUNS_MAX = 192, RUNS_STALE_MIN = 1 << 20 };
enum { RUNS_GATHERED_MAX = 28672 /* and a page: 32768 */, RUNS_PART_NOTES = 100, RUNS_PAGE_PARTS = 32 };

/* A page of a run: its notes, and what tells that a part of it is what was written. */
struct run_page {
    uint32_t slot, count;
    uint32_t checks[RUNS_PAGE_PARTS];
};

RING(run_page_ring, struct run_page);

struct run {
    struct list link;       /* in runs.all */
    struct list waiting;    /* in runs.waiting: its next part is not on disk yet; or in runs_merge.sources */
    struct heap_node node;  /* in runs.due: no note in its next part is due before that */
    struct run_page_ring pages;
    uint64_t first_ms;      /* no note in its next part is due before that */
    uint64_t count;         /* notes that were not read yet */
    uint32_t part;          /* of its first page: the next one to be read */
    bool loading;           /* that is under way */
    bool written;           /* nothing is added any more */
    bool merging;           /* it becomes part of another */
};

struct runs {
    struct notes fits, misses; /* gathered: for the run that is being written, and for the next one */
    struct run *writing;       /* NULL = none */
    uint64_t written_ms;       /* the last deadline in it */
    struct heap due;           /* run.node */
    struct list all, waiting;
    uint64_t waited_batch;     /* that was on disk when runs were put into `waiting` */
    uint64_t count;            /* notes on disk */
    uint64_t kept;             /* of these, that were needed when all were looked at last */
    struct runs_merge *merge;  /* under way, or NULL */
    size_t run_count, run_max; /* beyond which some are merged */
    uint32_t gathered_max, part_max, stale_min; /* notes; tests make these small */
};

void runs_init(struct runs *runs);
void runs_free(struct runs *runs);

/* For runs_merge: a run that is in runs.all, without pages. */
struct run *run_new(struct runs *runs);
/* The earliest of the notes, a page of them, go to its end. Returns the last deadline. */
uint64_t run_write(struct queue_home *home, struct run *run, struct notes *notes);
/* Nothing will be added; without pages it goes. */
void run_end(struct runs *runs, struct run *run);
bool run_is_on_disk(struct queue_home *home, const struct run *run);
/* Asks for its next part, which is on disk. */
void run_ask(struct queue_home *home, struct run *run);

/* A note waits for its time. */
void runs_push(struct runs *runs, const struct note *note);
/* Sends notes to disk while too many are gathered. Not while a page is being written. */
void runs_spill(struct queue_home *home);
/* The run that is being written has its end. */
void runs_end_writing(struct runs *runs);
/* Takes one that is in memory and due before that; false when there is none. */
bool runs_take(struct runs *runs, uint64_t before_ms, struct note *note);
/* Asks for the next parts of runs with notes that are due before that. */
void runs_read(struct queue_home *home, uint64_t before_ms);
/* A part was read: how many notes are in it; 0 when it cannot be read. */
size_t runs_arrive(struct queue_home *home, const struct page_load *load);
/* One of these. */
struct note runs_note(const struct page_load *load, size_t i);
/* When the next note may be due that runs_take and runs_read can bring; UINT64_MAX = never, or when something
 * that is being read has come. */
uint64_t runs_next_ms(const struct queue_home *home);
/* Bytes of memory, about. */
size_t runs_memory(const struct runs *runs);

#endif
