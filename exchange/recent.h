/* recent.h - what an x-recent-history exchange remembers, for who hands it to a new binding. */
#ifndef EXCHANGE_RECENT_H
#define EXCHANGE_RECENT_H

#include "exchange/exchange.h"
#include "protocol/message.h"

/* Bytes of messages that all exchanges remember together: who finds no room remembers less. */
#define RECENT_TOTAL_MAX ((uint64_t)256 * 1024 * 1024)

/* How many messages the exchange remembers; 0 for one of another type. */
size_t recent_count(const struct exchange *x);
/* The i-th, the oldest first; borrowed. */
struct message *recent_at(const struct exchange *x, size_t i);

#endif
