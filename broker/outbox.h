/* outbox.h - messages that the server itself publishes in a vhost: events and traces. They wait for the end
 * of what is being done, so that nobody's routing is disturbed. */
#ifndef BROKER_OUTBOX_H
#define BROKER_OUTBOX_H

#include "base/list.h"
#include "base/ring.h"
#include "protocol/message.h"

struct server;
struct vhost;

RING(outbox_ring, struct message *);

/* Part of a vhost. */
struct outbox {
    struct list link; /* in server.outboxes while something waits */
    struct outbox_ring messages;
    size_t bytes;
    uint64_t dropped; /* for want of room, since the last complaint */
};

/* Takes over the message, which is published to the exchange it names, if there is one by then. Beyond 64 MB
 * it is dropped. */
void outbox_put(struct vhost *v, struct message *m);
/* Publishes what waits in all vhosts. */
void outbox_flush(struct server *s);
/* Forgets what waits. */
void outbox_free(struct vhost *v);

#endif
