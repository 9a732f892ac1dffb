/* topology.h - the exchange, queues and bindings of a run, and which queue a routing key leads to.
 * Key number v (0 <= v < keys) stands for binding v % bindings, binding b for queue b % queues. */
#ifndef PERF_TOPOLOGY_H
#define PERF_TOPOLOGY_H

#include "base/buf.h"
#include "tools/perf/client.h"
#include "tools/perf/options.h"

enum exchange_kind { EXCHANGE_DEFAULT, EXCHANGE_DIRECT, EXCHANGE_FANOUT, EXCHANGE_TOPIC, EXCHANGE_HEADERS };

struct topology {
    const struct options *options;
    enum exchange_kind kind;
    struct slice exchange, type;
    const char *key, *binding_key; /* patterns */
    uint64_t queues, bindings, keys;
    struct slice *names;    /* of the queues; owned */
    struct buf arguments;   /* of the queues */
    struct buf scratch;     /* of the method under construction */
    bool broadcast;         /* every message goes to every queue */
    bool declares_exchange;
};

/* False, with the reason on standard error, when the options contradict each other. */
bool topology_init(struct topology *t, const struct options *options);
void topology_free(struct topology *t);

/* Declares exchange, queues and bindings, and empties the queues where the mode wants that. */
bool topology_declare(struct topology *t, struct client *c);
bool topology_declare_queues(struct topology *t, struct client *c);
/* Sum of the ready messages in all queues. */
bool topology_depth(struct topology *t, struct client *c, uint64_t *messages);
bool topology_delete(struct topology *t, struct client *c);
bool topology_delete_queues(struct topology *t, struct client *c);

/* Appends routing key number v. */
void topology_put_key(const struct topology *t, uint64_t v, struct buf *out);
/* Appends the headers table of key number v, for a headers exchange. */
void topology_put_headers(const struct topology *t, uint64_t v, struct buf *out);

/* The sequence that a message with key v counts in: its queue, or 0 when every queue gets it. */
static inline uint64_t topology_stream(const struct topology *t, uint64_t v)
{
    return t->broadcast ? 0 : v % t->bindings % t->queues;
}

static inline uint64_t topology_streams(const struct topology *t)
{
    return t->broadcast ? 1 : t->queues;
}

#endif
