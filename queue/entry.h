/* entry.h - a message's place in one queue: 24 bytes, moved by value between its homes (invariant I1: a
 * queue's order, a channel's unacked, the graveyard: exactly one of them). */
#ifndef QUEUE_ENTRY_H
#define QUEUE_ENTRY_H

#include <stdbool.h>
#include <stdint.h>

#include "protocol/message.h"

enum { ENTRY_RETURNS_MAX = (1 << 14) - 1 };

struct entry {
    struct message *message; /* one reference */
    uint64_t sequence;       /* rises with every push to the queue; requeue goes back to this place */
    bool redelivered : 1;    /* was handed out before */
    bool journalled : 1;     /* the store has it for this queue, in the journal or in a page */
    uint16_t returns : 14;   /* how often it came back, if the queue counts that */
    uint16_t lane;           /* which order of the queue it is in: see lane.h */
    uint32_t page;           /* slot of the page that it was read from; 0 = it is no page's */
};

/* The journal's batch that has it; UINT64_MAX: it is in a page, or not stored. */
static inline uint64_t entry_batch(const struct entry *entry)
{
    return entry->journalled && !entry->page ? entry->message->batch : UINT64_MAX;
}

_Static_assert(sizeof(struct entry) <= 24, "an entry is the memory of a waiting message");

#endif
