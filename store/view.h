/* view.h - a data directory that may be looked at as if it were ours: reads are the directory's,
 * every change stays in memory. What a start would do can be tried on it without touching a byte.
 */
#ifndef STORE_VIEW_H
#define STORE_VIEW_H

#include "store/io.h"

struct view;

/* Reads through `base`, which must outlive it. */
struct view *view_new(const struct io *base);
void view_free(struct view **view);
/* The table of calls; locks are the only thing that reaches `base` besides reads. */
const struct io *view_io(struct view *view);

#endif
