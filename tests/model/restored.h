/* restored.h - for models of what is on disk: the message that a start finds in the journal. */
#ifndef TESTS_MODEL_RESTORED_H
#define TESTS_MODEL_RESTORED_H

#include <string.h>

#include "protocol/message.h"
#include "store/store.h"

/* A message as the journal tells it; the caller owns the only reference. */
static inline struct message *restored_message(struct slab_pool *pool, const struct stored_message *stored,
                                           uint64_t batch)
{
    struct message *msg =
        message_new(pool, stored->exchange, stored->key, stored->props, stored->body.len);
    memcpy(message_body_at(msg), stored->body.at, stored->body.len);
    msg->persistent = true;
    msg->batch = batch;
    msg->born_ms = stored->born_ms;
    return msg;
}

#endif
