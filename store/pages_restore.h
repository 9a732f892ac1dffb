/* pages_restore.h - pages as they are found when the store is opened.
 *
 * In this order: the files, the rows, what the journal says was acked and delivered, the end. */
#ifndef STORE_PAGES_RESTORE_H
#define STORE_PAGES_RESTORE_H

#include "store/pages.h"

/* A file that was found in the directory; a row as it was found. */
void pages_restore_file(struct pages *pages, uint32_t number, uint64_t bytes);
struct page *pages_restore(struct pages *pages, const struct page_row *row);
/* Its row was damaged, and had that id: the open batch puts this one in its place. */
void pages_restore_row(struct pages *pages, const struct page *page, uint64_t id);
/* Bytes of a file that a row names, which is not understood: they stay there. */
void pages_restore_hold(struct pages *pages, uint32_t number, uint32_t bytes);
void pages_restore_acks(struct pages *pages, struct page *page, uint64_t first, uint64_t last);
void pages_restore_delivered(struct pages *pages, struct page *page, uint64_t sequence);
void pages_restore_returned(struct pages *pages, struct page *page, uint64_t sequence, uint16_t count);
/* The end: what is dead goes with the first batch. */
void pages_restored(struct pages *pages);
/* At the start, when nothing else is done: reads a page here and now; the caller frees it. */
struct page_load *pages_read(struct pages *pages, uint32_t slot);

#endif
