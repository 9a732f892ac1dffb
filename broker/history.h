/* history.h - a new binding of an x-recent-history exchange gets what the exchange remembers. */
#ifndef BROKER_HISTORY_H
#define BROKER_HISTORY_H

#include "broker/vhost.h"

/* False while memory or disk is short: a binding asks for little, and gets up to 16 MB, over and over.
 * Whoever binds is not to be held up for that as publishers are: it may be the one who consumes. */
bool history_permits(struct vhost *v, const struct exchange *source, struct fault *f);
/* What the replay takes, as exchange_cost counts. */
unsigned history_cost(const struct exchange *source);
/* Publishes the source's history to the destination, the oldest message first; nothing for exchanges of other
 * types. */
void history_replay(struct vhost *v, const struct exchange *source, struct dest *dest);

#endif
