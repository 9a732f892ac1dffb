/* stored.h - a message as the store knows it: byte strings and a list of (queue id, sequence). */
#ifndef STORE_STORED_H
#define STORE_STORED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

/* A queue's messages may be in several lanes with sequences of their own: the high bits of an id. */
enum { STORE_LANE_SHIFT = 48, STORE_LANE_MAX = UINT16_MAX };
#define STORE_QUEUE_ID_MAX (((uint64_t)1 << STORE_LANE_SHIFT) - 1)

/* A message on its way to or from the journal. */
struct stored_target {
    uint64_t queue_id;  /* never reused; and the lane */
    uint64_t sequence;  /* place in the queue: strictly rising per queue in publish order */
};

struct stored_message {
    const struct stored_target *targets;
    size_t target_count;
    struct slice exchange, key, props, body;
    uint64_t born_ms; /* when it was published; 0 = nobody needs it */
    bool dead_letter; /* published by the broker */
    bool retried;     /* came back by a retry */
    const uint16_t *returns; /* from recovery: how often it came back, a target each */
};

#endif
