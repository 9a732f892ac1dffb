/* pages.h - the store's second tier: pages of queues' backlogs in page files, and what of each is needed.
 * The loop's view: pages are put into the open batch and are on disk when it is; a thread reads them back.
 * The store does not know queues: a page is a run of (queue id, sequence), all there when it is written. Its
 * owner says which are acked; when none is left the page dies, and its file with its last page. */
#ifndef STORE_PAGES_H
#define STORE_PAGES_H

#include "base/list.h"
#include "base/ring.h"
#include "store/batch.h"
#include "store/page.h"
#include "store/page_loader.h"

struct page;

struct page_progress { /* what was acked and delivered of a page, as far as anything was */
    struct list dirty;    /* in pages.dirty while its row does not say all of it */
    struct list thin;     /* in pages.thin: less than half of it is needed */
    uint64_t thin_batch;  /* the open one when that was so */
    uint64_t dirty_batch; /* the first batch that its row does not know */
    uint64_t delivered;   /* messages up to this sequence may have been delivered; 0 = none */
    uint64_t marked;      /* in which batch that was said; 0 = by an earlier process */
    struct page *page;
    uint8_t *counts; /* how often each message came back, 255 is more; own memory, NULL = never */
    uint8_t acked[]; /* bit i: message first + i; behind these: those taken out; those noted by pages_stays */
};

struct page_file {
    struct list link;   /* in pages.files, by number */
    struct list sparse; /* in pages.sparse: less than half of it is needed */
    struct list pages;  /* page.of_file */
    uint64_t bytes, live, sparse_batch; /* the last: the open one when it was put in `sparse` */
    uint32_t number;
    bool finished; /* nothing is appended any more */
};

struct page {
    struct list of_file;
    struct page_file *file;
    struct page_progress *progress; /* NULL = nothing acked or delivered yet */
    struct page_load *load;         /* under way */
    uint64_t id, queue_id, first;
    uint64_t batch;                 /* on disk when this batch is */
    uint32_t slot, offset, bytes, count, persistent, body_bytes; /* the last: of what is not taken out */
    uint32_t live, taken;           /* not acked; of these, taken out of it (pages_take) */
    struct page_times times;
    uint32_t kept, kept_bytes;      /* messages and bytes of bodies in the file */
    bool stored;    /* has a row: survives a restart */
    bool recovered; /* written by an earlier process: what is not persistent in it is dead */
    bool moving, alone, left; /* to another file; not to be merged; something cannot be read: its row stays */
    bool noted, plain, strayed; /* its owner noted each deadline in it; and where: all or none are journalled;
                                 * there may be notes that say where messages were before they came here */
};

RING(page_slot_ring, uint32_t);

struct pages {
    struct page **slots; /* 0 is none */
    uint32_t slot_count, slot_capacity, count;
    struct page_slot_ring free_slots;
    struct list files, sparse, dirty, thin;
    struct page_file *current;
    struct batch *open; /* the store's */
    struct page_loader loader;
    const struct store_options *options;
    uint64_t id_next, file_bytes_max;
    uint64_t bytes, live_bytes, thinned_bytes; /* in files; the last: that pages were made smaller by */
    uint64_t settled;           /* the last batch that was seen to be on disk */
    size_t progress_bytes;      /* of memory */
    uint32_t file_next;
};

void pages_init(struct pages *pages, const struct store_options *options);
void pages_free(struct pages *pages);
size_t pages_memory(const struct pages *pages);

static inline struct page *pages_at(const struct pages *pages, uint32_t slot)
{
    assert(slot > 0 && slot < pages->slot_count && pages->slots[slot]);
    return pages->slots[slot];
}

/* Begins a page with records of that many bytes (page_record_size); the next call is pages_write. */
void pages_begin(struct pages *pages, struct page_draft *draft, size_t record_bytes);
/* Puts the page into the open batch; `stored`: it must survive a restart. Its slot stays until it dies. */
uint32_t pages_write(struct pages *pages, struct page_draft *draft, uint64_t queue_id, uint64_t first,
                     bool stored, const struct page_times *times);
/* One of its messages is done with; `journalled`: its ack is in the open batch. The page may die of it. */
void pages_ack(struct pages *pages, uint32_t slot, uint64_t sequence, bool journalled);
/* One of its messages was taken out while it is on disk, and is acked later; reading passes it over. */
void pages_take(struct pages *pages, uint32_t slot, uint64_t sequence);
bool page_is_taken(const struct page *page, uint64_t sequence);
/* A message that stays in a page that is read is journalled. True when it is, and neither acked nor taken. */
void pages_stays(struct pages *pages, uint32_t slot, uint64_t sequence);
bool page_is_rest(const struct page *page, uint64_t sequence);
/* All but those taken out are done with; `journalled`: the acks of the rest are in the open batch. */
void pages_ack_rest(struct pages *pages, uint32_t slot, bool journalled);
/* Its messages up to this sequence may have been delivered, says the open batch. */
void pages_delivered(struct pages *pages, uint32_t slot, uint64_t sequence);
/* One of its messages came back, that often by now, says the open batch. How often it did. */
void pages_returned(struct pages *pages, uint32_t slot, uint64_t sequence, uint16_t count);
uint16_t page_returns(const struct page *page, uint64_t sequence);
/* None of its messages is needed any more. */
void pages_drop(struct pages *pages, uint32_t slot);
/* Bytes of pages that the open batch is to write. */
static inline size_t pages_open_bytes(const struct pages *pages)
{
    return pages->open->pages.used;
}

static inline bool page_is_acked(const struct page *page, uint64_t sequence)
{
    uint64_t i = sequence - page->first;
    return page->progress && page->progress->acked[i / 8] >> i % 8 & 1;
}

static inline uint64_t page_delivered(const struct page *page)
{
    return page->progress ? page->progress->delivered : 0;
}
static inline uint64_t page_last(const struct page *page)
{
    return page->first + (page->count - 1);
}

/* It cannot be read now and stays on disk for the next start, once those taken out are acked; or one of those
 * cannot, and the others go on; or nothing in it is needed: it is dropped, unless something was left. */
void pages_give_up(struct pages *pages, uint32_t slot);
void pages_leave(struct pages *pages, uint32_t slot);
void pages_end(struct pages *pages, uint32_t slot);
/* Asks for a page that is on disk; false when too much is under way already. It comes with pages_loaded. */
bool pages_load(struct pages *pages, uint32_t slot, void *owner);
/* Asks for a record of a page that lives until then; `part` says whose, where and what it is. */
void pages_load_part(struct pages *pages, uint32_t slot, const struct page_load *part);
/* It is not wanted any more. */
void pages_forget_load(struct pages *pages, uint32_t slot);
/* A page that was read and is still wanted; the caller frees it. NULL when there is none now. */
struct page_load *pages_loaded(struct pages *pages);
/* Without a thread: pages_loaded may have one. */
bool pages_have_loaded(const struct pages *pages);
/* Before the batch goes: moves what lies in sparse files, lets empty ones go. */
void pages_prepare(struct pages *pages);
/* Puts what the batches up to that one say about pages into at most so many rows; true when more are left. */
bool pages_fold(struct pages *pages, uint64_t batch, size_t rows_max);
/* The first batch whose acks are not in the rows; UINT64_MAX = none. */
uint64_t pages_needed_batch(const struct pages *pages);
/* The batch is on disk. */
void pages_settled(struct pages *pages, struct batch *batch);

#endif
