/* mark.h - which messages may have been delivered, as far as the journal knows. */
#ifndef QUEUE_MARK_H
#define QUEUE_MARK_H

#include <stdbool.h>
#include <stdint.h>

/* All messages up to `sequence` that were journalled in `batch` or before are marked by it. */
struct delivery_mark {
    uint64_t sequence, batch;
};

/* Which messages the journal calls "may have been delivered", so that a restart flags them redelivered.
 *
 * A delivery that must be acked leaves the server only when its mark is on disk, or will be there whenever
 * the message is (they are in one batch). So that a steady flow does not wait for the disk at each step, a
 * mark runs ahead by as many messages as were acked lately; a queue whose consumers ack nothing is marked
 * exactly. A mark speaks only of messages that are not younger than itself: it may go when its segment of
 * the journal goes. At most one batch is open and one under way, so of three marks one is on disk. */
struct delivery_marks {
    struct delivery_mark recent[3]; /* newest first, each covers what the next one covers */
    uint64_t acked;                 /* counters.acked when the newest was set */
    bool ahead;                     /* the newest ran ahead of the delivery that set it */
};

#endif
