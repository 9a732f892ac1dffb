/* page_mend.h - a damaged row of the directory of pages, made anew from the page that it was about. */
#ifndef STORE_PAGE_MEND_H
#define STORE_PAGE_MEND_H

#include "store/pages.h"

/* Corrects what the row's checksums say is wrong: a page says itself whose it is, and is looked for in all
 * page files when it is not where the row says. What was acked of it may be forgotten; all of it counts as
 * delivered then. Blocks: for the start only. The page files must be known. False when the page is not found;
 * then the row is as it was. */
bool page_mend(const struct pages *pages, struct page_row *row);

#endif
