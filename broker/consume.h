/* consume.h - basic.qos, consume, cancel and get (semantics: RabbitMQ's consumers and prefetch pages).
 * The four handlers answer on the channel; false = fault. */
#ifndef BROKER_CONSUME_H
#define BROKER_CONSUME_H

#include "broker/channel.h"

bool consume_qos(struct channel *ch, const struct method *m, struct fault *f);
bool consume_start(struct channel *ch, const struct method *m, struct fault *f);
bool consume_cancel(struct channel *ch, const struct method *m, struct fault *f);
bool consume_get(struct channel *ch, const struct method *m, struct fault *f);

/* Answers the basic.gets whose page has been read. */
void consume_resume_gets(struct server *s);
/* The connection's get is not to be answered any more. */
void consume_forget_get(struct connection *conn);
/* The queue goes: who waits for a message of it gets none. */
void consume_empty_gets(struct server *s, const struct queue *q);

/* How long the consumers of the queue may take to settle has changed: they begin anew. */
void consume_retime(struct queue *q);
/* The queue goes: tells the client if it can take it, and drops the subscription. */
void consume_queue_deleted(struct consumer *c);
/* Drops the subscription; its queue may be auto-deleted by that. */
void consume_stop(struct subscription *sub);
/* One of the channel's deliveries was settled: its consumer (NULL for one that basic.get took) and
 * the channel have credit again. */
void consume_credit(struct channel *ch, struct consumer *c);
/* So many of its deliveries may be unsettled from now on. */
void consume_limit(struct channel *ch, uint32_t unacked_max);
/* Gives the channel's free slots (basic.qos global) to as many of the consumers that wait for one. */
void consume_grant(struct channel *ch);

/* Cancels the consumers, with notice, of queues that the user may not read any more. */
void consume_revoke(struct channel *ch);

#endif
