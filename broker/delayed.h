/* delayed.h - messages that are published now and routed later: x-delay, x-deliver-at. */
#ifndef BROKER_DELAYED_H
#define BROKER_DELAYED_H

#include "broker/submit.h"
#include "broker/vhost.h"
#include "queue/delay.h"

/* Of every message that waits: its number, in a header that no consumer sees. */
#define DELAYED_ID_HEADER "x-delay-id"
/* The name and the argument of the row of the definitions that keeps an exchange's calendar. */
#define DELAYED_NAME_PREFIX "amq.delayed."
#define DELAYED_ARGUMENT "x-delayed-exchange"

/* Checks the argument x-delayed-message of an exchange. */
bool delayed_check_args(struct slice args, struct fault *f);
/* The exchange was made, or a policy has changed: it delays, or it does not. `wanted`: says a policy. */
void delayed_govern(struct exchange *x, bool wanted);
/* Checks the headers of a message to an exchange that delays: 406. */
bool delayed_check(struct server *s, const struct message *m, struct fault *f);
/* True when the message has to wait: it is in the exchange's calendar, with a reference of its own. */
bool delayed_takes(struct vhost *v, struct exchange *x, struct message *m, struct submission *done);
/* The calendar of an exchange, made when there is none. `id` 0 = a new one, given to the store. */
struct delay *delayed_calendar(struct vhost *v, struct exchange *x, uint64_t id);
/* The exchange goes, with what waits; `stored`: from the store, too. */
void delayed_forget(struct vhost *v, struct exchange *x, bool stored);

/* Messages of the calendar of an exchange. */
static inline size_t delayed_count(const struct exchange *x)
{
    const struct delay *delay = x->delay;
    return delay ? delay->count : 0;
}

/* Once a turn, before deliveries: what is due is published, or goes back to its queue. */
void delayed_run(struct server *s);
/* Milliseconds until something is due, on server_now_ms's clock; UINT64_MAX = never. */
uint64_t delayed_next_ms(const struct server *s);

/* --- retries --- */

/* A client wants the entry requeued, and its queue retries: it comes back later, or has come too often. */
void delayed_retry(struct server *s, struct queue *q, struct entry *entry);

#endif
