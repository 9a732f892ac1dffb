/* deliver.h - from queues to consumers. */
#ifndef BROKER_DELIVER_H
#define BROKER_DELIVER_H

#include "broker/channel.h"

/* Serves the queues that are ready, within the turn's budget. */
void deliver_ready(struct server *s);
/* Hands out what consumers can take now, until the queue does not refuse a message with this body. */
void deliver_to_make_room(struct queue *q, uint64_t body_size);
/* True when the frame with such properties is within what the peer accepts. */
bool deliver_header_fits(const struct channel *ch, struct slice props);
/* Writes content frames for a method that carries a message, with these properties; false when its header
 * does not fit the peer's frame_max (nothing is written then). */
bool deliver_content(struct channel *ch, const struct method *m, struct message *message, struct slice props);
/* The properties that a consumer of the queue gets: with x-delivery-count if the message came back to a queue
 * that counts that, in a quorum queue always. Good until the next call. */
struct slice deliver_props(struct server *s, const struct queue *q, const struct entry *entry);
/* Writes a delivery that is to be acked by nobody and comes from no queue; false as above. */
bool deliver_unqueued(struct subscription *sub, struct message *m);
/* The basic.deliver frame at `at` (at least 1 KB of room); returns its end. */
uint8_t *deliver_write_method(uint8_t *at, const struct subscription *sub, uint64_t tag,
                              const struct entry *entry);

#endif
