/* arrival.h - private to net/: accepted connections that cannot talk yet: their PROXY header or TLS
 * handshake is under way.
 *
 *   PROXY -> HELLO -> SHAKE -> accepted        (PROXY only behind a proxy; HELLO and SHAKE only with TLS)
 *     \________\_________\---> refused */
#ifndef NET_ARRIVAL_H
#define NET_ARRIVAL_H

#include "net/address.h"
#include "net/listener.h"

struct tcp;

/* Those of a listener. */
struct arrivals {
    struct loop *loop;
    struct listener_options options;
    struct list under_way; /* arrival.link, oldest first: that is also the order of their deadlines */
    size_t count;          /* of those, and of closed ones that a worker still has */
    void (*on_leave)(void *owner); /* called whenever the count has fallen */
    void *owner;
};

void arrivals_init(struct arrivals *arrivals, struct loop *loop, const struct listener_options *options);
/* True when one more can be taken, which may end the oldest. False: not before on_leave. */
bool arrivals_make_room(struct arrivals *arrivals);
/* Takes over `tcp` and says so, sooner or later, to on_accept or on_refuse; perhaps at once. */
void arrivals_add(struct arrivals *arrivals, struct tcp *tcp, const struct peer *peer,
                  const union address *remote);
/* Ends those whose time is over. Milliseconds until the next one's is, UINT64_MAX = there is none. */
uint64_t arrivals_expire(struct arrivals *arrivals);
/* Ends all without a word. `count` becomes 0 when the worker has done the last. */
void arrivals_close(struct arrivals *arrivals);

#endif
