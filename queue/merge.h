/* merge.h - small pages of one order become larger ones.
 *
 * When many queues share little memory, each goes to disk in small pages, and every page costs memory. So
 * the youngest pages of a queue are read and written again as one, when they are many and together not
 * more than a page may be. A message is written again once for each step in size, which are few. */
#ifndef QUEUE_MERGE_H
#define QUEUE_MERGE_H

#include "queue/queue.h"

/* A page was put behind the others: merges the last ones, sooner or later, if that is worth it. */
void merge_consider(struct order *order);
/* Once a turn: begins with some of those that were considered. */
void merge_begin(struct queue_home *home);
/* True when the page was read for a merge, which owns it from here on. */
bool merge_takes(struct order *order, struct page_load *load);
/* That page is wanted as it is: gives the merge up when it is about it; slot 0 = about any. */
void merge_cancel(struct order *order, uint32_t slot);

#endif
