/* trace.h - the firehose (RabbitMQ's page "Firehose Tracer"): while it is on for a vhost, a copy of every
 * message that is published or delivered there goes to its exchange amq.rabbitmq.trace, with the key
 * publish.<exchange> or deliver.<queue>. It is off after a start. */
#ifndef BROKER_TRACE_H
#define BROKER_TRACE_H

#include "broker/channel.h"

#define TRACE_EXCHANGE "amq.rabbitmq.trace"

/* Turns it on or off (rabbitmqctl trace_on, trace_off). */
void trace_set(struct vhost *v, bool on);

/* A message that a client published, and where it went. */
void trace_publish(struct channel *ch, const struct message *m, const struct route_set *set);
/* One that is handed to a client. */
void trace_deliver(struct channel *ch, const struct queue *q, const struct entry *entry);

#endif
