/* tx.h - transactions (specification, section 1.9 "tx"). */
#ifndef BROKER_TX_H
#define BROKER_TX_H

#include "broker/ack.h"

bool tx_method(struct channel *ch, const struct method *m, struct fault *f);
/* Keeps a checked message for the commit; takes over the reference. 506 when there are too many. */
bool tx_publish(struct channel *ch, struct message **m, bool mandatory, struct fault *f);
/* Keeps a settlement for the commit; the item was taken out of unacked. */
void tx_settle(struct channel *ch, uint64_t tag, const struct unacked_item *item,
               enum settlement how);
/* Parts of tx.commit: publishes, at most so many copies, about; then settlements, at most `max`. Each returns
 * how many there were. */
size_t tx_commit_publishes(struct channel *ch, size_t room);
size_t tx_commit_settlements(struct channel *ch, size_t max, bool held);
/* Holds the queues of what is to be requeued (queue/hold.h), `max` settlements from that one on; returns how
 * far it came. */
size_t tx_hold_settlements(struct channel *ch, size_t at, size_t max);
/* Rolls back at most `max` publishes and settlements; returns how many there were. */
size_t tx_rollback(struct channel *ch, size_t max);
/* Ends the transactional mode; nothing may be in it. */
void tx_free(struct channel *ch);
/* Publishes, or settlements, that await tx.commit. */
size_t tx_uncommitted(const struct channel *ch, bool settlements);
/* Tests: calls `item` for all settlements and `message` for all publishes that await tx.commit. */
void tx_each(const struct channel *ch, void (*item)(void *arg, uint64_t tag, const struct unacked_item *item),
             void (*message)(void *arg, struct message *m), void *arg);

/* Calls `each` for what was settled, waits for tx.commit and may be in the journal in a batch up to `limit`;
 * it may move the messages on. */
void tx_walk_old(struct channel *ch, uint64_t limit, void (*each)(void *arg, struct unacked_item *item),
                 void *arg);

#endif
