/* submit.h - a complete message: checked, routed, journalled, pushed. */
#ifndef BROKER_SUBMIT_H
#define BROKER_SUBMIT_H

#include "broker/confirm.h"

/* Publishes on a channel, or keeps it for tx.commit. Drops the caller's reference, also on a fault. */
bool submit_message(struct channel *ch, struct message **m, struct fault *f);
/* Routes, returns it when it is mandatory and unroutable, and enqueues. Drops the caller's reference. */
struct submission submit_route(struct channel *ch, struct exchange *x, struct message **m, bool mandatory);

/* Publishes what no client did, to an exchange or straight to a queue: nothing is returned, nobody is paced.
 * Drops the caller's reference. A BCC header is taken out. */
struct submission submit_internal(struct vhost *v, struct dest *dest, struct message **m);

/* A message of the broker's own into these queues: journalled once, pushed to each, but for those that are
 * full and refuse. Nobody remembers it to know it again: a dead letter may come to a queue that knows it. */
struct submission submit_enqueue(struct server *s, struct dest **queues, size_t count, struct message *m);

#endif
