/* guard.h - who has guessed passwords wrong, by address: the more, the longer the next one takes. */
#ifndef BROKER_GUARD_H
#define BROKER_GUARD_H

#include <stdint.h>

#include "base/list.h"
#include "base/map.h"

enum {
    GUARD_ADDRESSES_MAX = 4096, /* known at a time; the one that was quiet for longest is forgotten */
    GUARD_FREE = 10,            /* wrong passwords that cost nothing yet */
    GUARD_FORGET_MS = 6000,     /* after which one is forgotten */
    GUARD_PACE_MS = 200,        /* between passwords of such an address, right or wrong */
    GUARD_WAIT_MAX_MS = 5000,   /* nobody waits longer for his turn */
};

#define GUARD_NEVER UINT64_MAX

struct guard {
    struct map by_address;
    struct list by_age;
};

void guard_init(struct guard *guard, uint64_t seed);
void guard_free(struct guard *guard);
/* A wrong password from there. An IPv6 address stands for its /64. */
void guard_failed(struct guard *guard, const char *address, uint64_t now_ms);
/* When a password from there may be looked at: now, later, or GUARD_NEVER when too many wait before it.
 * Asking takes the turn. */
uint64_t guard_turn_ms(struct guard *guard, const char *address, uint64_t now_ms);

#endif
