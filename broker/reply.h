/* reply.h - direct reply-to (RabbitMQ's page "Direct Reply-to"): replies go straight to the channel of the
 * one who asked, through no queue. A channel's reply consumer is found by an address that nobody can guess:
 * 128 random bits. */
#ifndef BROKER_REPLY_H
#define BROKER_REPLY_H

#include "broker/channel.h"

/* True for the pseudo-queue's name and for all addresses made of it. */
static inline bool reply_is_name(struct slice name)
{
    return slice_starts_with(name, "amq.rabbitmq.reply-to");
}

/* The pseudo-queue itself, which a client consumes from and puts into reply_to. */
static inline bool reply_is_queue(struct slice name)
{
    return slice_is(name, "amq.rabbitmq.reply-to");
}

/* basic.consume of the pseudo-queue: 406 with acks or for the second one of a channel, 530 for a consumer tag
 * in use. */
bool reply_consume(struct channel *ch, const struct amqp_basic_consume *consume, struct fault *f);
/* True when the channel's reply consumer has that tag. */
bool reply_has_tag(const struct channel *ch, struct slice tag);
/* Ends the channel's reply consumer, if it has one: its address is of no use from then on. */
void reply_end(struct channel *ch);
/* What reply_to becomes in a message published on the channel; 406 without a reply consumer. Valid as long
 * as the consumer. */
bool reply_address(const struct channel *ch, struct slice *address, struct fault *f);
/* True when the name is the pseudo-queue's or an address that is alive. */
bool reply_exists(const struct vhost *v, struct slice name);
/* Hands the message to every reply consumer that one of the keys is the address of, once each; how many took
 * it. One whose client has too much output waiting takes none. */
size_t reply_deliver(struct vhost *v, const struct slice *keys, size_t key_count, struct message *m);

#endif
