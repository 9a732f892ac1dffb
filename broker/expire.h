/* expire.h - time in queues: messages that are due, and queues that nobody uses (x-expires). */
#ifndef BROKER_EXPIRE_H
#define BROKER_EXPIRE_H

#include "broker/server.h"

/* Reads the clock, once a turn: what is published in the turn was published then. */
void expire_read_clock(struct server *s);

static inline void expire_input(struct server *s)
{
    if (!s->expire.clock_is_read)
        expire_read_clock(s);
}

/* What was due when the turn began goes; before delivering. */
void expire_before_delivery(struct server *s);
/* What nobody took at once and had no time to wait goes. */
void expire_after_delivery(struct server *s);
/* Milliseconds until something may be due, on server_now_ms's clock; UINT64_MAX = never. */
uint64_t expire_next_ms(const struct server *s);

/* The queue was declared, fetched from, or has lost its last consumer. */
void expire_used(struct server *s, struct queue *q);
/* Its settings may say something new about when it goes. */
void expire_watch(struct server *s, struct queue *q);
/* It goes. */
void expire_forget(struct server *s, struct queue *q);

#endif
