/* history.h - a new binding of an x-recent-history exchange gets what the exchange remembers. */
#ifndef BROKER_HISTORY_H
#define BROKER_HISTORY_H

#include "broker/vhost.h"

/* Publishes the source's history to the destination, the oldest message first; nothing for exchanges of other
 * types. */
void history_replay(struct vhost *v, const struct exchange *source, struct dest *dest);

#endif
