/* intercept.h - what the server changes in a message's properties as it comes in: the reply_to of a direct
 * reply, and the headers of RabbitMQ's message interceptors (its page "Message Interceptors"). */
#ifndef BROKER_INTERCEPT_H
#define BROKER_INTERCEPT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "protocol/fault.h"
#include "protocol/props.h"

struct channel;
struct server;

/* Bits beside the PROP_… flags, which leave these two free. */
enum { INTERCEPT_TIMESTAMP = 1, INTERCEPT_ROUTING_NODE = 2 };

/* Part of the server. */
struct intercept {
    uint16_t always;           /* INTERCEPT_… of what every message gets */
    struct buf props, headers; /* scratch */
};

void intercept_open(struct server *s);
void intercept_free(struct intercept *intercept);

/* True when properties with these PROP_… flags have to pass intercept_props. */
static inline bool intercept_wants(const struct intercept *intercept, uint16_t flags)
{
    return ((flags & PROP_reply_to) | intercept->always) != 0;
}

/* Changes well-formed property bytes and their flags; what `bytes` points to afterwards is valid until the
 * next call. 406 for a direct reply_to without a reply consumer. */
bool intercept_props(struct channel *ch, struct slice *bytes, uint16_t *flags, struct fault *f);

#endif
