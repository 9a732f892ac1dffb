/* topology.h - what the handlers of exchange.* and queue.* share. */
#ifndef BROKER_TOPOLOGY_H
#define BROKER_TOPOLOGY_H

#include "broker/channel.h"

/* The name without CR and LF (K32); `clean` holds 256 bytes and outlives the slice. */
struct slice topology_clean_name(struct slice name, uint8_t *clean);
/* Sends a method, which leaves only when all definitions changed so far are on disk. */
void topology_send(struct channel *ch, const struct method *m);
/* The same for an answer without arguments. */
void topology_answer(struct channel *ch, uint32_t method_id);

#endif
