/* shared_move.h - messages of an old part of the journal that are in several queues: whoever moves the part
 * on comes by each of these, and one record is written for all of them when all were seen. */
#ifndef QUEUE_SHARED_MOVE_H
#define QUEUE_SHARED_MOVE_H

#include "base/list.h"
#include "base/map.h"
#include "store/store.h"

struct message;

struct shared_moves {
    struct map by_message; /* the message's address -> struct shared_move */
    struct list in_order;  /* shared_move.link, as they were first seen: addresses have no order */
};

void shared_moves_init(struct shared_moves *moves, uint64_t seed);
/* It must be empty. */
void shared_moves_free(struct shared_moves *moves);
/* True when the message is one of them. */
bool shared_move_has(const struct shared_moves *moves, const struct message *m);
/* One of the queues that hold it; the first makes it one of them. `keeps_birth`: the record is to say when it
 * was published. */
void shared_move_add(struct shared_moves *moves, struct message *m, struct stored_target target,
                     bool keeps_birth);
/* All were seen: writes their records, and lets go of the old ones. */
void shared_moves_write(struct shared_moves *moves, struct store *store);

#endif
