/* deadletter.h - dead letters: what left a queue is published to its dead-letter exchange. */
#ifndef BROKER_DEADLETTER_H
#define BROKER_DEADLETTER_H

#include "broker/server.h"

/* Publishes outcomes of all queues, at most `budget`. A dead letter is recorded in the batch that acks the
 * message it was made of: after a crash there is the one or the other. */
void deadletter_run(struct server *s, size_t budget);
/* True when there is something to publish at once: what waits for the disk is not. */
bool deadletter_waits(const struct server *s);
/* Before the store is closed: publishes all that can be. */
void deadletter_finish(struct server *s);

#endif
