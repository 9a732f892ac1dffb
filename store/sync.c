/* sync.c - the disk thread.
 *
 * Owner: the store. The journal's files and, after recovery, the definitions' connection are used
 * by this thread only; a posted batch is its own until `durable` has reached the batch's number.
 * Failure modes: a failed commit, write or sync is never tried again, because nobody knows what the
 * kernel still holds: the process ends with one line that says so. Without a thread the failure is
 * kept. Only lack of space before the sync is waited out: nothing becomes durable meanwhile. */
#include "store/sync.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"

/* How often it looks whether there is space: once a second, in steps short enough for a stop. */
enum { FULL_TICKS = 20, FULL_TICK_NS = 50 * 1000 * 1000 };

/* A batch that takes longer is large because the disk is slow. It keeps no memory then: the other one has as
 * much just now, and to ask for it again costs a quarter of a millisecond a megabyte. */
enum { SLOW_NS = 50 * 1000 * 1000 };

void sync_init(struct sync *sync, const struct store_options *options,
               struct definitions *definitions)
{
    *sync = (struct sync){
        .definitions = definitions, .wake = options->wake, .wake_arg = options->wake_arg};
    shred_init(&sync->shred, options->io);
    journal_init(&sync->journal, options->io, options->dir, &sync->shred);
    page_disk_init(&sync->pages, options->io, options->dir);
    mailbox_init(&sync->box);
    sync->stop.stop = true;
}

static void fail(struct sync *sync, int error, const char *path)
{
    assert(error < 0);
    sync->failed = error;
    if (!sync->running)
        return;
    /* For good: this is the last line, whatever the loop still has to log. */
    flockfile(stdout);
    flockfile(stderr);
    fprintf(stderr,
            "leveret: cannot write %s: %s; stopping. Nothing was confirmed that is not on disk.\n",
            path, strerror(-error));
    fflush(stderr);
    _exit(1);
}

static void set_full(struct sync *sync, int error)
{
    if (atomic_exchange_explicit(&sync->full, error, memory_order_relaxed) == error)
        return;
    if (sync->wake)
        sync->wake(sync->wake_arg);
}

/* Changes of definitions or of the directory of pages, which are forgotten when they are on disk. */
static int apply(struct sync *sync, struct buf *definitions, struct buf *rows)
{
    if (definitions->len + rows->len == 0)
        return 0;
    int failed = definitions_apply(sync->definitions, buf_slice(definitions), buf_slice(rows));
    if (!failed)
        definitions->len = rows->len = 0;
    return failed;
}

/* The steps of a batch, each done once. Pages come before the rows that name them; definitions before the
 * records about them. Whether a batch happened the journal alone decides: rows follow it, because they are
 * the effect of records of the same batch, of a transaction perhaps. `path` is what failed. */
static int write_steps(struct sync *sync, struct batch *batch, const char **path)
{
    struct buf none = {0};
    *path = sync->pages.path;
    int failed = batch->pages.written ? 0 : page_disk_write(&sync->pages, &batch->pages);
    batch->pages.written = !failed;
    if (!failed) {
        *path = sync->definitions->path;
        failed = apply(sync, &batch->definitions, &none);
    }
    if (!failed && batch->place.size && !batch->place.written) {
        *path = sync->journal.path;
        failed = journal_write(&sync->journal, batch);
        batch->place.written = !failed;
    }
    if (!failed) {
        *path = sync->definitions->path;
        failed = apply(sync, &none, &batch->pages.rows);
    }
    return failed;
}

/* Lack of space is no failure: the step that had none was not synced yet, and can be done again. Who is
 * to end cannot wait for it, though. */
static int write_batch(struct sync *sync, struct batch *batch)
{
    const char *path;
    int failed = write_steps(sync, batch, &path);
    if (io_is_full(failed) && !atomic_load_explicit(&sync->stopping, memory_order_relaxed))
        set_full(sync, failed);
    else if (failed)
        fail(sync, failed, path);
    else
        set_full(sync, 0);
    if (!failed)
        page_disk_unlink(&sync->pages, &batch->pages, &sync->shred);
    return failed;
}

/* Nobody waits for this: a segment that is not noted yet only cannot be missed. */
static void keep_epoch(struct sync *sync, uint64_t epoch)
{
    int failed = definitions_keep_epoch(sync->definitions, epoch);
    if (failed && !io_is_full(failed))
        fail(sync, failed, sync->definitions->path);
}

void sync_batch(struct sync *sync, struct batch *batch)
{
    uint64_t number = batch->number;
    assert(number > atomic_load_explicit(&sync->durable, memory_order_relaxed));
    uint64_t begin_ns = sync->running ? clock_now_ns() : 0;
    if (sync->failed || write_batch(sync, batch))
        return;
    bool journalled = batch->place.size > 0;
    uint64_t epoch = batch->place.epoch;
    batch->slow = sync->running && clock_now_ns() - begin_ns > SLOW_NS;
    batch_reset(batch);
    atomic_store_explicit(&sync->syncs, sync->journal.syncs + sync->pages.syncs, memory_order_relaxed);
    atomic_store_explicit(&sync->bytes_written, sync->journal.bytes_written + sync->pages.bytes_written,
                          memory_order_relaxed);
    /* From here on the batch is the loop's again. */
    atomic_store_explicit(&sync->durable, number, memory_order_release);
    if (sync->wake)
        sync->wake(sync->wake_arg);
    if (!sync->running)
        shred_finish(&sync->shred);
    if (journalled && epoch > sync->definitions->journal_epoch)
        keep_epoch(sync, epoch);
}

/* Waits until it is time to look for space again, or to stop. */
static void wait_for_space(struct sync *sync)
{
    const struct timespec tick = {0, FULL_TICK_NS};
    for (int i = 0; i < FULL_TICKS; i++)
        if (!atomic_load_explicit(&sync->stopping, memory_order_relaxed))
            nanosleep(&tick, NULL);
}

/* Files that are to go are cut while nobody waits. */
static struct batch *next_batch(struct sync *sync)
{
    struct list *letter = mailbox_poll(&sync->box);
    while (!letter && shred_step(&sync->shred))
        letter = mailbox_poll(&sync->box);
    return container_of(letter ? letter : mailbox_take(&sync->box), struct batch, letter);
}

static void *run(void *arg)
{
    struct sync *sync = arg;
    for (;;) {
        struct batch *batch = next_batch(sync);
        if (batch->stop)
            return NULL;
        uint64_t number = batch->number;
        sync_batch(sync, batch);
        while (atomic_load_explicit(&sync->durable, memory_order_relaxed) < number) {
            wait_for_space(sync);
            sync_batch(sync, batch);
        }
        shred_step(&sync->shred); /* also when there is always a next one */
    }
}

int sync_start(struct sync *sync)
{
    sigset_t all, before;
    assert(!sync->running);
    /* Signals are the loop's. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    sync->running = true;
    int failed = pthread_create(&sync->thread, NULL, run, sync);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed)
        sync->running = false;
    return -failed;
}

void sync_post(struct sync *sync, struct batch *batch)
{
    assert(sync->running && batch->number > 0);
    mailbox_post(&sync->box, &batch->letter);
}

void sync_stop(struct sync *sync)
{
    if (!sync->running)
        return;
    atomic_store(&sync->stopping, true);
    mailbox_post(&sync->box, &sync->stop.letter);
    int failed = pthread_join(sync->thread, NULL);
    assertf(failed == 0, "error %d", failed);
    sync->running = false;
}

void sync_free(struct sync *sync)
{
    assert(!sync->running);
    journal_close(&sync->journal);
    page_disk_close(&sync->pages);
    shred_finish(&sync->shred);
    mailbox_free(&sync->box);
}
