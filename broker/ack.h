/* ack.h - basic.ack, nack and reject. */
#ifndef BROKER_ACK_H
#define BROKER_ACK_H

#include "broker/channel.h"

/* basic.ack, nack or reject; 406 "unknown delivery tag" (RabbitMQ's confirms page). */
bool ack_method(struct channel *ch, const struct method *m, struct fault *f);
/* Applies a settlement to an item that was taken out of unacked. */
void ack_settle(struct channel *ch, struct unacked_item *item, enum settlement how);

#endif
