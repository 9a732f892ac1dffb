/* topology.h - the handlers of exchange.* and queue.*, and what they share; false = fault. */
#ifndef BROKER_TOPOLOGY_H
#define BROKER_TOPOLOGY_H

#include "broker/channel.h"

bool topology_exchange_declare(struct channel *ch, const struct method *m, struct fault *f);
bool topology_exchange_delete(struct channel *ch, const struct method *m, struct fault *f);
bool topology_exchange_bind(struct channel *ch, const struct method *m, struct fault *f);
bool topology_exchange_unbind(struct channel *ch, const struct method *m, struct fault *f);
bool topology_queue_declare(struct channel *ch, const struct method *m, struct fault *f);
bool topology_queue_delete(struct channel *ch, const struct method *m, struct fault *f);
bool topology_queue_purge(struct channel *ch, const struct method *m, struct fault *f);
bool topology_queue_bind(struct channel *ch, const struct method *m, struct fault *f);
bool topology_queue_unbind(struct channel *ch, const struct method *m, struct fault *f);

/* The name without CR and LF (K32); `clean` holds 256 bytes and outlives the slice. */
struct slice topology_clean_name(struct slice name, uint8_t *clean);
/* Sends a method, which leaves only when all definitions changed so far are on disk. */
void topology_send(struct channel *ch, const struct method *m);
/* The same for an answer without arguments. */
void topology_answer(struct channel *ch, uint32_t method_id);

/* What a binding from the exchange takes: it is not the default one, and the user may read it and, of a
 * topic exchange, this key. */
bool topology_check_source(struct channel *ch, struct slice exchange, struct slice key,
                           struct fault *f);

#endif
