/* body.h - body frames that are taken in pieces (connection.body_left, .body_channel). */
#ifndef BROKER_BODY_H
#define BROKER_BODY_H

#include "broker/connection.h"

/* Starts to take a body frame in pieces when it is not all there and its channel waits for it; returns what
 * was consumed, 0 = it is to be taken as a whole. */
size_t body_start(struct connection *conn, struct slice in);
/* Takes what is there of the frame's payload, and its end octet when it comes; returns how much. */
size_t body_take(struct connection *conn, struct slice in);

/* For the stream (stream_events): the rest of the payload goes straight into the message. */
uint8_t *body_place(struct stream *stream, size_t *size);
void body_placed(struct stream *stream, size_t size);

#endif
