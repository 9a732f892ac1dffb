/* carrier.c - threads that carry bytes between sockets and memory.
 *
 * Owner: the net. A job belongs to a thread from carrier_write or carrier_read until it lies in `done`; all
 * else belongs to the loop. The sockets are non-blocking, so a job never takes longer than the kernel's
 * copying. */
#include "net/carrier.h"

#include <pthread.h>
#include <signal.h>
#include <sys/uio.h>

#include "base/assert.h"
#include "base/mailbox.h"
#include "base/mem.h"
#include "net/stream.h"

enum { THREADS_MAX = 4, IOVECS_MAX = 64, SPARE_MAX = 16 };

struct carrier_job {
    struct list letter;
    struct stream *stream; /* not looked at by the thread */
    const struct transport *transport; /* NULL: the thread is to end */
    void *io;
    bool reads;
    int count;
    size_t size; /* to be written, or of the place to be read to */
    ssize_t result;
    struct iovec iovecs[IOVECS_MAX];
    uint8_t head[CARRIER_HEAD_SIZE]; /* behind the place */
};

struct carrier {
    struct mailbox work, done;
    struct list early; /* taken from `done` while another was waited for */
    struct list spare; /* jobs to be used again */
    size_t spare_count, under_way; /* the last: neither collected nor waited for */
    void (*wake)(void *arg);
    void *arg;
    unsigned thread_count;
    pthread_t threads[THREADS_MAX];
};

static void *run(void *arg)
{
    struct carrier *carrier = arg;
    for (;;) {
        struct carrier_job *job = container_of(mailbox_take(&carrier->work), struct carrier_job, letter);
        const struct transport *transport = job->transport;
        if (!transport) {
            mem_free(job);
            return NULL;
        }
        job->result = job->reads ? transport->readv(job->io, job->iovecs, job->count)
                                 : transport->writev(job->io, job->iovecs, job->count);
        mailbox_post(&carrier->done, &job->letter);
        carrier->wake(carrier->arg);
    }
}

struct carrier *carrier_new(unsigned threads, void (*wake)(void *arg), void *arg)
{
    assert(threads > 0 && wake != NULL);
    struct carrier *carrier = mem_zalloc(sizeof(*carrier));
    sigset_t all, before;
    mailbox_init(&carrier->work);
    mailbox_init(&carrier->done);
    list_init(&carrier->early);
    list_init(&carrier->spare);
    carrier->wake = wake;
    carrier->arg = arg;
    sigfillset(&all); /* signals are the loop's */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (carrier->thread_count < threads && carrier->thread_count < THREADS_MAX) {
        int failed = pthread_create(&carrier->threads[carrier->thread_count], NULL, run, carrier);
        if (failed)
            panic("cannot start a carrying thread: error %d", failed);
        carrier->thread_count++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return carrier;
}

void carrier_free(struct carrier **carrier_at)
{
    struct carrier *carrier = *carrier_at;
    *carrier_at = NULL;
    if (!carrier)
        return;
    for (unsigned i = 0; i < carrier->thread_count; i++) {
        struct carrier_job *stop = mem_zalloc(sizeof(*stop));
        mailbox_post(&carrier->work, &stop->letter);
    }
    for (unsigned i = 0; i < carrier->thread_count; i++)
        pthread_join(carrier->threads[i], NULL);
    assert(list_empty(&carrier->early) && carrier->under_way == 0);
    for (struct list *node; (node = list_pop_front(&carrier->spare));)
        mem_free(container_of(node, struct carrier_job, letter));
    mailbox_free(&carrier->work);
    mailbox_free(&carrier->done);
    mem_free(carrier);
}

static struct carrier_job *take_job(struct carrier *carrier, struct stream *stream, bool reads)
{
    assert(stream->io != NULL);
    struct list *spare = list_pop_front(&carrier->spare);
    carrier->spare_count -= spare != NULL;
    struct carrier_job *job =
        spare ? container_of(spare, struct carrier_job, letter) : mem_zalloc(sizeof(*job));
    job->stream = stream;
    job->transport = stream->transport;
    job->io = stream->io;
    job->reads = reads;
    carrier->under_way++;
    return job;
}

struct carrier_job *carrier_write(struct carrier *carrier, struct stream *stream, size_t share)
{
    struct carrier_job *job = take_job(carrier, stream, false);
    job->count = output_gather(&stream->output, job->iovecs, IOVECS_MAX, share, &job->size);
    assert(job->count > 0 && job->size > 0);
    mailbox_post(&carrier->work, &job->letter);
    return job;
}

struct carrier_job *carrier_read(struct carrier *carrier, struct stream *stream, uint8_t *place, size_t size)
{
    assert(place != NULL && size > 0 && !stream->transport->one_way);
    struct carrier_job *job = take_job(carrier, stream, true);
    job->count = 2;
    job->size = size;
    job->iovecs[0] = (struct iovec){place, size};
    job->iovecs[1] = (struct iovec){job->head, sizeof(job->head)};
    mailbox_post(&carrier->work, &job->letter);
    return job;
}

/* The job is dropped by the stream, or here, before the stream may start another. */
static void deliver(struct carrier *carrier, struct carrier_job *job)
{
    struct stream *stream = job->stream;
    if (job->reads) {
        stream_was_read(stream);
        return;
    }
    ssize_t result = job->result;
    size_t size = job->size;
    carrier_drop(carrier, &job);
    stream_written(stream, result, size);
}

void carrier_collect(struct carrier *carrier)
{
    /* As many as there are now: streams with much to hear go on at once, and their jobs may be done before we
     * are; that is for the next turn. */
    for (size_t left = carrier->under_way; left > 0; left--) {
        struct list *node = list_pop_front(&carrier->early);
        if (!node)
            node = mailbox_poll(&carrier->done);
        if (!node)
            return;
        carrier->under_way--;
        deliver(carrier, container_of(node, struct carrier_job, letter));
    }
}

void carrier_wait(struct carrier *carrier, struct carrier_job *job)
{
    assert(carrier->under_way > 0);
    carrier->under_way--;
    list_each(node, &carrier->early) {
        if (node == &job->letter) {
            list_remove(node);
            return;
        }
    }
    for (struct list *node; (node = mailbox_take(&carrier->done)) != &job->letter;)
        list_push_back(&carrier->early, node);
}

struct carrier_load carrier_load(const struct carrier_job *job)
{
    assert(job->reads && !list_linked(&job->letter));
    return (struct carrier_load){job->result, job->size, job->head};
}

void carrier_drop(struct carrier *carrier, struct carrier_job **job_at)
{
    struct carrier_job *job = *job_at;
    *job_at = NULL;
    assert(!list_linked(&job->letter));
    if (carrier->spare_count >= SPARE_MAX) {
        mem_free(job);
        return;
    }
    list_push_front(&carrier->spare, &job->letter);
    carrier->spare_count++;
}
