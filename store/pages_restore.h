/* pages_restore.h - pages as they are found when the store is opened.
 *
 * In this order: the files, the rows, what the journal says was acked and delivered, the end. */
#ifndef STORE_PAGES_RESTORE_H
#define STORE_PAGES_RESTORE_H

#include "store/pages.h"

/* A file that was found in the directory; a row as it was found. */
void pages_restore_file(struct pages *pages, uint32_t number, uint64_t bytes);
struct page *pages_restore(struct pages *pages, const struct page_row *row);
void pages_restore_acks(struct pages *pages, struct page *page, uint64_t first, uint64_t last);
void pages_restore_delivered(struct pages *pages, struct page *page, uint64_t sequence);
void pages_restore_returned(struct pages *pages, struct page *page, uint64_t sequence, uint16_t count);
/* The end: what is dead goes with the first batch. */
void pages_restored(struct pages *pages);

#endif
