/* worker.h - threads for what takes too long for the loop and needs nothing of its state: TLS
 * handshakes, reading key files.
 *
 * A piece of work belongs to a thread from worker_post until its `done` is called by the loop, in
 * loop_poll. Pieces are begun in the order they were posted. */
#ifndef NET_WORKER_H
#define NET_WORKER_H

#include <stddef.h>

#include "base/list.h"

struct worker;

/* Embedded in what the work is about. */
struct work {
    struct list letter;
    void (*run)(struct work *work);  /* in a thread */
    void (*done)(struct work *work); /* in the loop; may free the work */
};

/* `wake` is called from a thread when a piece is done. */
struct worker *worker_new(unsigned threads, void (*wake)(void *arg), void *arg);
/* Waits for what is posted and calls its `done`. NULL is allowed. */
void worker_free(struct worker **worker);

void worker_post(struct worker *worker, struct work *work);
/* Calls `done` for what is done. */
void worker_collect(struct worker *worker);

#endif
