/* worker.c - threads for what takes too long for the loop.
 *
 * Owner: the server. The threads yield to the loop where processors are short: a client that connects
 * may wait a little longer, one that is connected should not. */
#include "net/worker.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/mailbox.h"
#include "base/mem.h"

enum { THREADS_MAX = 8, NICENESS = 10 };

struct worker {
    struct mailbox posted, finished;
    size_t under_way; /* posted and not collected */
    void (*wake)(void *arg);
    void *arg;
    unsigned thread_count;
    pthread_t threads[THREADS_MAX];
};

static void *run(void *arg)
{
    struct worker *worker = arg;
    /* Linux has a niceness and a policy for each thread; where they are refused nothing is lost. A thread of
     * SCHED_BATCH does not interrupt the loop when it wakes up, and the loop interrupts it. */
    id_t self = (id_t)gettid();
    (void)setpriority(PRIO_PROCESS, self, getpriority(PRIO_PROCESS, self) + NICENESS);
    if (sched_getscheduler(0) == SCHED_OTHER)
        (void)sched_setscheduler(0, SCHED_BATCH, &(struct sched_param){0});
    for (;;) {
        struct work *work = container_of(mailbox_take(&worker->posted), struct work, letter);
        if (!work->run) { /* the end */
            mem_free(work);
            return NULL;
        }
        work->run(work);
        mailbox_post(&worker->finished, &work->letter);
        worker->wake(worker->arg);
    }
}

struct worker *worker_new(unsigned threads, void (*wake)(void *arg), void *arg)
{
    assert(threads > 0 && wake != NULL);
    struct worker *worker = mem_zalloc(sizeof(*worker));
    sigset_t all, before;
    mailbox_init(&worker->posted);
    mailbox_init(&worker->finished);
    worker->wake = wake;
    worker->arg = arg;
    sigfillset(&all); /* signals are the loop's */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (worker->thread_count < threads && worker->thread_count < THREADS_MAX) {
        int failed = pthread_create(&worker->threads[worker->thread_count], NULL, run, worker);
        if (failed)
            panic("cannot start a working thread: error %d", failed);
        worker->thread_count++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return worker;
}

static void finish(struct worker *worker, struct list *letter)
{
    struct work *work = container_of(letter, struct work, letter);
    assert(worker->under_way > 0);
    worker->under_way--;
    work->done(work);
}

void worker_free(struct worker **worker_at)
{
    struct worker *worker = *worker_at;
    *worker_at = NULL;
    if (!worker)
        return;
    while (worker->under_way > 0)
        finish(worker, mailbox_take(&worker->finished));
    for (unsigned i = 0; i < worker->thread_count; i++) {
        struct work *stop = mem_zalloc(sizeof(*stop));
        mailbox_post(&worker->posted, &stop->letter);
    }
    for (unsigned i = 0; i < worker->thread_count; i++)
        pthread_join(worker->threads[i], NULL);
    assert(worker->under_way == 0);
    mailbox_free(&worker->posted);
    mailbox_free(&worker->finished);
    mem_free(worker);
}

void worker_post(struct worker *worker, struct work *work)
{
    assert(work->run != NULL && work->done != NULL && !list_linked(&work->letter));
    worker->under_way++;
    mailbox_post(&worker->posted, &work->letter);
}

void worker_collect(struct worker *worker)
{
    /* Only what there is now: a `done` may post again. */
    for (size_t left = worker->under_way; left > 0; left--) {
        struct list *letter = mailbox_poll(&worker->finished);
        if (!letter)
            return;
        finish(worker, letter);
    }
}
