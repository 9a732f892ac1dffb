/* duplicate.h - messages that are published twice: what they are known by, and who has taken them before. */
#ifndef BROKER_DUPLICATE_H
#define BROKER_DUPLICATE_H

#include "broker/vhost.h"
#include "queue/dedup.h"

/* Reads what the message can be known by: x-producer with x-sequence, message_id, x-deduplication-header.
 * False when it has nothing of that. */
bool duplicate_ids(const struct server *s, const struct message *m, struct dedup_ids *ids);
/* Gives the exchange a memory of its messages, if its arguments ask for one. */
void duplicate_remember(struct vhost *v, struct exchange *x);
/* Before the exchange goes. */
void duplicate_forget(struct vhost *v, struct exchange *x);
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
