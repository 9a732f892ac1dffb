/* publish.h - basic.publish on its way in: method, content header, body (specification, section 4.2.6).
 * The message lies in channel.assembly until its last byte is there; then it is submitted. */
#ifndef BROKER_PUBLISH_H
#define BROKER_PUBLISH_H

#include "broker/channel.h"

bool publish_method(struct channel *ch, const struct method *m, struct fault *f);
bool publish_header(struct channel *ch, struct slice payload, struct fault *f);
/* A piece of a body frame's payload, copied. */
bool publish_body(struct channel *ch, struct slice piece, struct fault *f);
/* 505: a frame that does not belong where the channel's content stands; returns false. */
bool publish_out_of_place(struct channel *ch, struct fault *f);
/* The last piece of a frame was taken, and the frame was well-formed. */
bool publish_body_end(struct channel *ch, struct fault *f);
/* Forgets what was assembled so far. */
void publish_abandon(struct channel *ch);

/* A backend has answered: the message that waited for that is submitted again. */
void publish_resume(struct connection *conn);

#endif
