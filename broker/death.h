/* death.h - the history of a dead-lettered message: its x-death header (semantics 2.2; RabbitMQ's page "Dead
 * Letter Exchanges"). */
#ifndef BROKER_DEATH_H
#define BROKER_DEATH_H

#include "base/buf.h"
#include "protocol/message.h"
#include "protocol/props.h"

/* One death. */
struct death {
    struct slice queue;
    const char *reason;
    uint64_t time_s;   /* since 1970 */
    bool keep_cc;      /* the CC header stays: its keys are used again */
};

/* Makes the headers of the dead letter in `headers` (table fields, sorted by name): those of `props`, the
 * message's properties, with this death in front of the x-death array, or counted there. An x-death header
 * of a message that is no dead letter was set by a client and is not looked at, as in RabbitMQ 4. */
void death_record(struct buf *headers, const struct message *m, const struct props *props,
                  const struct death *death);

/* True when a message with these headers would come to a queue that it died in before, and no client has
 * rejected it since. */
bool death_is_cycle(struct slice headers, struct slice queue);

#endif
