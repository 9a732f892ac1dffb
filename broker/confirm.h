/* confirm.h - publisher confirms (RabbitMQ's confirms page). */
#ifndef BROKER_CONFIRM_H
#define BROKER_CONFIRM_H

#include "broker/channel.h"

bool confirm_select(struct channel *ch, const struct method *m, struct fault *f);
/* What became of a message. */
struct submission {
    uint64_t batch; /* the journal's that must be durable, 0 = none */
    bool refused;   /* by a queue that is full (x-overflow); others may have taken it */
};

/* The next publish of the channel, which is answered in its turn: acked when the batch is durable (0 = at
 * the end of the broker's turn), or nacked. */
void confirm_publish(struct channel *ch, struct submission submission);
/* Sends what has become due, and lets go what else waited for the disk. Once a turn. */
void confirm_durable(struct server *s);

#endif
