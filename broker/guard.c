/* guard.c - who has guessed passwords wrong, by address.
 *
 * Nobody is locked out: a right password from the address of a guesser is accepted, after its turn. Only
 * when more are waiting than can be served in GUARD_WAIT_MAX_MS is one refused without a look. */
#include "broker/guard.h"

#include <arpa/inet.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"

enum { PREFIX_BYTES = 8 };

struct offender {
    struct list age;
    uint8_t key[16];
    size_t key_size;
    uint64_t failures, counted_ms, turn_ms;
};

void guard_init(struct guard *guard, uint64_t seed)
{
    map_init(&guard->by_address, seed);
    list_init(&guard->by_age);
}

static void forget(struct guard *guard, struct offender *offender)
{
    map_remove(&guard->by_address, slice_of(offender->key, offender->key_size));
    list_remove(&offender->age);
    mem_free(offender);
}

void guard_free(struct guard *guard)
{
    while (!list_empty(&guard->by_age))
        forget(guard, list_first(&guard->by_age, struct offender, age));
    map_free(&guard->by_address);
}

/* What of an address counts; what is none (a path, an interface) all counts as one. */
static size_t read_address(const char *address, uint8_t key[16])
{
    if (inet_pton(AF_INET, address, key) == 1)
        return 4;
    if (inet_pton(AF_INET6, address, key) == 1)
        return PREFIX_BYTES;
    return 0;
}

static struct offender *find(const struct guard *guard, const char *address)
{
    uint8_t key[16];
    size_t size = read_address(address, key);
    return map_get(&guard->by_address, slice_of(key, size));
}

/* One is forgotten every GUARD_FORGET_MS. */
static void forgive(struct offender *offender, uint64_t now_ms)
{
    assert(now_ms >= offender->counted_ms);
    uint64_t gone = (now_ms - offender->counted_ms) / GUARD_FORGET_MS;
    offender->failures -= gone < offender->failures ? gone : offender->failures;
    offender->counted_ms += gone * GUARD_FORGET_MS;
}

void guard_failed(struct guard *guard, const char *address, uint64_t now_ms)
{
    struct offender *offender = find(guard, address);
    if (!offender) {
        if (guard->by_address.size == GUARD_ADDRESSES_MAX)
            forget(guard, list_first(&guard->by_age, struct offender, age));
        offender = mem_zalloc(sizeof(*offender));
        offender->key_size = read_address(address, offender->key);
        offender->counted_ms = now_ms;
        map_put(&guard->by_address, slice_of(offender->key, offender->key_size), offender);
    } else {
        list_remove(&offender->age);
    }
    forgive(offender, now_ms);
    offender->failures++;
    list_push_back(&guard->by_age, &offender->age);
    assert(guard->by_address.size <= GUARD_ADDRESSES_MAX);
}

uint64_t guard_turn_ms(struct guard *guard, const char *address, uint64_t now_ms)
{
    struct offender *offender = find(guard, address);
    if (!offender)
        return now_ms;
    forgive(offender, now_ms);
    if (offender->failures < GUARD_FREE)
        return now_ms;
    uint64_t turn = offender->turn_ms + GUARD_PACE_MS;
    if (turn < now_ms)
        turn = now_ms;
    if (turn > now_ms + GUARD_WAIT_MAX_MS)
        return GUARD_NEVER;
    offender->turn_ms = turn;
    return turn;
}
