/* ack.h - basic.ack, nack, reject and recover. */
#ifndef BROKER_ACK_H
#define BROKER_ACK_H

#include "broker/channel.h"

/* Recovered is requeued without anybody having asked for that message: it does not wait for a retry. */
enum settlement { SETTLE_ACK, SETTLE_REJECT, SETTLE_REQUEUE, SETTLE_RECOVER };

/* basic.ack, nack or reject; 406 "unknown delivery tag" (RabbitMQ's confirms page). */
bool ack_method(struct channel *ch, const struct method *m, struct fault *f);
/* Requeues all that is unacked on the channel (basic.recover with requeue). */
void ack_recover(struct channel *ch);
/* Applies a settlement to an item that was taken out of unacked. */
void ack_settle(struct channel *ch, struct unacked_item *item, enum settlement how);

#endif
