/* record.h - a message as the journal is to keep it. */
#ifndef QUEUE_RECORD_H
#define QUEUE_RECORD_H

#include "protocol/message.h"
#include "store/stored.h"

/* Points into the message and at the targets; `keeps_birth`: a queue of them needs to know after a restart
 * when it was published. */
static inline struct stored_message record_of(const struct message *m, const struct stored_target *targets,
                                              size_t count, bool keeps_birth)
{
    struct stored_message record = {targets,          count,           message_exchange(m), message_key(m),
                                    message_props(m), message_body(m)};
    record.born_ms = keeps_birth ? m->born_ms : 0;
    record.dead_letter = m->dead_letter;
    record.retried = m->retried;
    return record;
}

#endif
