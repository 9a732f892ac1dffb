/* patience.h - how long a consumer may take to settle what it was handed: consumer_timeout, or
 * x-consumer-timeout of the queue or the consumer (RabbitMQ's page "Consumers", acknowledgement timeout).
 *
 * Nothing is noted for a message. A channel's timer looks a few times within the timeout, and notes the last
 * delivery tag; what is still there when that look is as long ago as the timeout, is overdue, and ends the
 * channel with 406. So a channel ends an eighth of the timeout late, or two gaps between looks if that is
 * more: a look goes through all that is unacked, and timeouts are the clients'. */
#ifndef BROKER_PATIENCE_H
#define BROKER_PATIENCE_H

#include <stdint.h>

struct channel;
struct subscription;

enum { PATIENCE_LOOKS = 8, PATIENCE_GAP_MS = 500 };

/* One limit: a consumer's, or the channel's for basic.get. */
struct patience {
    uint64_t timeout_ms; /* 0 = none */
    uint64_t next_ms;    /* when it wants to look again */
    uint64_t looked_ms;  /* of the channel's: when it did last, whosever turn it was */
    uint64_t tags[PATIENCE_LOOKS]; /* the channel's last delivery tag at the last looks; 0 = not looked yet */
    uint64_t overdue;    /* within a look: tags up to here should have been settled; 0 = it is not its turn */
    unsigned oldest;     /* of the looks */
};

/* A consumer of this channel has begun; `timeout_ms` 0 = no limit. */
void patience_begin(struct channel *ch, struct patience *patience, uint64_t timeout_ms);
/* The channel ends. */
void patience_end(struct channel *ch);

#endif
