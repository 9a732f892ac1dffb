/* status.h - how the server is doing, as a line in its log. */
#ifndef BROKER_STATUS_H
#define BROKER_STATUS_H

#include <stddef.h>

#include "store/store.h"

struct server;

/* What lies on disk, how much of it is needed, and how much was written for what was published: SIGUSR1, and
 * when the disk alarm goes off. */
void status_log(struct server *s);
/* The same as text; cut off when it does not fit. */
void status_text(const struct store_stats *stats, char *text, size_t size);

#endif
