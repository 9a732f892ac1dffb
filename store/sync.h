/* sync.h - the disk thread: takes one batch after the other and makes it durable. */
#ifndef STORE_SYNC_H
#define STORE_SYNC_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/mailbox.h"
#include "store/batch.h"
#include "store/definitions.h"
#include "store/journal.h"
#include "store/page_disk.h"

struct sync {
    struct journal journal;
    struct page_disk pages;
    struct shred shred; /* files that are to go */
    struct definitions *definitions;
    void (*wake)(void *arg);
    void *wake_arg;
    struct mailbox box;
    struct batch stop; /* the letter that ends the thread */
    pthread_t thread;
    bool running;
    int failed; /* without a thread: the first failure's -errno */
    _Atomic int full; /* -errno while there is no space for the batch under way */
    _Atomic bool stopping;
    _Atomic uint64_t durable, syncs, bytes_written;
};

void sync_init(struct sync *sync, const struct store_options *options,
               struct definitions *definitions);
/* Starts the thread. 0 or -errno. */
int sync_start(struct sync *sync) __attribute__((warn_unused_result));
/* Hands a batch over; it is the disk thread's until `durable` reaches its number. */
void sync_post(struct sync *sync, struct batch *batch);
/* Waits until all that was posted is durable and ends the thread, if there is one. */
void sync_stop(struct sync *sync);
/* Does what the thread does, here and now: definitions, journal, sync, publish. When there is no space
 * the batch stays as it is, and this is to be called again. */
void sync_batch(struct sync *sync, struct batch *batch);
void sync_free(struct sync *sync);

#endif
