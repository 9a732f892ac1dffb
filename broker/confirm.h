/* confirm.h - publisher confirms (RabbitMQ's confirms page). */
#ifndef BROKER_CONFIRM_H
#define BROKER_CONFIRM_H

#include "broker/channel.h"

bool confirm_select(struct channel *ch, const struct method *m, struct fault *f);
/* The next publish of the channel; it is confirmed when the batch is durable, 0 = at the end of the turn. */
void confirm_publish(struct channel *ch, uint64_t batch);
/* Sends what has become due, and lets go what else waited for the disk. Once a turn. */
void confirm_durable(struct server *s);

#endif
