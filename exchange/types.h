/* types.h - the built-in exchange types, for exchange.c's list of them. */
#ifndef EXCHANGE_TYPES_H
#define EXCHANGE_TYPES_H

#include "exchange/exchange.h"

extern const struct exchange_type direct_type;
extern const struct exchange_type fanout_type;
extern const struct exchange_type topic_type;
extern const struct exchange_type headers_type;
extern const struct exchange_type consistent_hash_type;
extern const struct exchange_type modulus_hash_type;
extern const struct exchange_type random_type;
extern const struct exchange_type local_random_type;
extern const struct exchange_type recent_history_type;
extern const struct exchange_type delayed_message_type;
extern const struct exchange_type message_deduplication_type;

/* The type by whose rules it routes: its own, or the one that an x-delayed-message exchange names. */
const struct exchange_type *delayed_routes_as(const struct exchange *x);
/* The index of that type. */
void *delayed_index_of(const struct exchange *x);

#endif
