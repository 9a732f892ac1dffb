/* page_loader.h - the thread that reads pages back, so that the loop never waits for the disk. */
#ifndef STORE_PAGE_LOADER_H
#define STORE_PAGE_LOADER_H

#include <pthread.h>

#include "base/mailbox.h"
#include "store/store.h"

/* One page, or a record of one, on its way back. */
struct page_load {
    struct list letter;
    void *owner;    /* who asked; NULL once nobody wants it any more */
    uint32_t slot;
    uint64_t id;
    uint32_t file, offset, size; /* where it was when it was asked for */
    uint8_t *bytes; /* own memory */
    int failed;     /* 0, -errno, or -EILSEQ: not what was written */
    bool kept;      /* what was read instead is in quarantine */
    uint32_t part;  /* of one record: where it begins in the page; 0 = the whole page */
    uint32_t check; /* of one record: page_part_check */
    uint32_t serial;   /* of one record: the owner's ... */
    uint64_t sequence; /* ... own words */
    bool stop;      /* a letter that says: end */
};

struct page_loader {
    const struct store_options *options;
    struct mailbox asked, done;
    struct page_load stop;
    pthread_t thread;
    bool running;
    size_t bytes; /* asked for and not yet taken back */
    unsigned under_way;
};

void page_loader_init(struct page_loader *loader, const struct store_options *options);
/* Starts the thread, unless the store has none. 0 or -errno. */
int page_loader_start(struct page_loader *loader) __attribute__((warn_unused_result));
/* Ends the thread and drops what it has read. */
void page_loader_free(struct page_loader *loader);

/* Takes over the load; without a thread it is read here and now. */
void page_loader_ask(struct page_loader *loader, struct page_load *load);
/* Reads it here and now; it stays the caller's. */
void page_loader_read(const struct page_loader *loader, struct page_load *load);
/* One that was read, NULL when there is none now. */
struct page_load *page_loader_take(struct page_loader *loader);
void page_load_free(struct page_load **load);

#endif
