/* duplicate.h - messages that are published twice: what they are known by, and who has taken them before. */
#ifndef BROKER_DUPLICATE_H
#define BROKER_DUPLICATE_H

#include "broker/confirm.h"
#include "broker/vhost.h"
#include "queue/dedup.h"

/* The name and the argument of the row of the definitions that keeps the id of an exchange's memory. */
#define DUPLICATE_NAME_PREFIX "amq.memory."
#define DUPLICATE_ARGUMENT "x-memory-exchange"

/* Reads what the message can be known by: x-producer with x-sequence, message_id, x-deduplication-header.
 * False when it has nothing of that. `in_turn`: else it comes late, behind what its producer sent after it,
 * and its sequence says nothing. */
bool duplicate_ids(const struct server *s, const struct message *m, bool in_turn, struct dedup_ids *ids);
/* Gives the exchange a memory of its messages, if its type or its arguments ask for one; `declared`: it is
 * new, not out of the store, and so is its memory. */
void duplicate_remember(struct vhost *v, struct exchange *x, bool declared);
/* The memory of an exchange out of the store has this id there. False when it has none. */
bool duplicate_return(struct vhost *v, struct exchange *x, uint64_t id);
/* Before the exchange goes; `stored`: from the store, too. */
void duplicate_forget(struct vhost *v, struct exchange *x, bool stored);
/* True when the exchange has taken the message before; then *done is until when its confirm waits. */
bool duplicate_known(struct server *s, const struct exchange *x, const struct message *m, bool in_turn,
                     struct submission *done);
/* The exchange has routed the message, with that result. */
void duplicate_taken(struct server *s, const struct exchange *x, const struct message *m, bool in_turn,
                     struct submission *done);
/* 406 when the arguments of an exchange's declaration are wrong in this. */
bool duplicate_check_args(struct slice args, struct fault *f);
/* The memory that the store knows by that id, NULL when there is none. */
struct dedup *duplicate_memory(const struct server *s, uint64_t owner_id);

/* Recovery is over. */
void duplicate_restored(struct server *s);

/* The set without the queues that have taken the message before; *batch as with dedup_knows. The result
 * is valid until the next call. */
struct route_set duplicate_screen(struct server *s, const struct route_set *set, const struct dedup_ids *ids,
                                  uint64_t *batch);

#endif
