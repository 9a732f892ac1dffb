/* plug.h - for models of what is on disk: a sync during which the plug may be pulled. */
#ifndef TESTS_MODEL_PLUG_H
#define TESTS_MODEL_PLUG_H

#include <errno.h>

#include "base/rand.h"
#include "store/store.h"
#include "tests/sim/fakedisk.h"

/* Puts on disk what is batched. One time in `one_in` the disk fails at one of the `calls` next changes; false
 * when that stopped the store: the owner crashes. */
static inline bool plug_sync(struct store *store, struct fakedisk *disk, struct rand *rand, uint64_t one_in,
                             uint64_t calls)
{
    bool pulled = rand_below(rand, one_in) == 0;
    if (pulled)
        fakedisk_fail_at(disk, fakedisk_changes(disk) + 1 + rand_below(rand, calls), EIO, true);
    store_sync_now(store);
    int failed = store_failed(store);
    assert(!failed || (pulled && failed == -EIO));
    return !failed;
}

#endif
