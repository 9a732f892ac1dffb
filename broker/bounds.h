/* bounds.h - how much memory users may have for what they declare: queues, exchanges, bindings, consumers. */
#ifndef BROKER_BOUNDS_H
#define BROKER_BOUNDS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"
#include "protocol/fault.h"

struct binding;
struct resource;
struct exchange;
struct queue;
struct server;

/* Of the server. */
struct bounds {
    uint64_t topology_bytes; /* what the things that there are cost together, about and rather too much */
    uint64_t queues, exchanges; /* of all vhosts */
    uint64_t remembered_bytes;  /* of messages that exchanges remember (exchange/recent.h) */
};

/* What one costs as long as it lives. */
uint64_t bounds_of_queue(const struct queue *q);
uint64_t bounds_of_exchange(const struct exchange *x);
uint64_t bounds_of_binding(const struct binding *binding);
uint64_t bounds_of_consumer(struct slice tag, struct slice args);

void bounds_add(struct server *s, uint64_t bytes);
void bounds_remove(struct server *s, uint64_t bytes);
/* False (406) when there is no room for one more of what a client declares. What is recovered is counted,
 * but not refused. */
bool bounds_permit(const struct server *s, const char *what, struct fault *f);
/* The same for a queue or an exchange, of which there may be too many, too (cluster_queue_limit,
 * cluster_exchange_limit, keys of RabbitMQ 4). */
bool bounds_permit_named(const struct server *s, const struct resource *what, struct fault *f);
/* The bytes allowed: topology_memory, else half of the memory above which publishers are blocked. */
uint64_t bounds_topology_max(const struct server *s);

#endif
