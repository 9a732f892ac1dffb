/* writer.c - threads that write for streams with much to say.
 *
 * Owner: the net. A job belongs to a thread from writer_start until it lies in `done`; all else
 * belongs to the loop. The sockets are non-blocking, so a job never takes longer than the kernel's
 * copying. */
#include "net/writer.h"

#include <pthread.h>
#include <signal.h>
#include <sys/uio.h>

#include "base/assert.h"
#include "base/mailbox.h"
#include "base/mem.h"
#include "net/stream.h"

enum { THREADS_MAX = 4, IOVECS_MAX = 64 };

struct write_job {
    struct list letter;
    struct stream *stream; /* NULL: the thread is to end; not looked at by the thread */
    const struct transport *transport;
    void *io;
    int count;
    size_t size;
    ssize_t result;
    struct iovec iovecs[IOVECS_MAX];
};

struct writer {
    struct mailbox work, done;
    struct list early; /* taken from `done` while another was waited for */
    struct list spare; /* jobs to be used again */
    void (*wake)(void *arg);
    void *arg;
    unsigned thread_count;
    pthread_t threads[THREADS_MAX];
};

static void *run(void *arg)
{
    struct writer *writer = arg;
    for (;;) {
        struct write_job *job = container_of(mailbox_take(&writer->work), struct write_job, letter);
        if (!job->transport) {
            mem_free(job);
            return NULL;
        }
        job->result = job->transport->writev(job->io, job->iovecs, job->count);
        mailbox_post(&writer->done, &job->letter);
        writer->wake(writer->arg);
    }
}

struct writer *writer_new(unsigned threads, void (*wake)(void *arg), void *arg)
{
    assert(threads > 0 && wake != NULL);
    struct writer *writer = mem_zalloc(sizeof(*writer));
    sigset_t all, before;
    mailbox_init(&writer->work);
    mailbox_init(&writer->done);
    list_init(&writer->early);
    list_init(&writer->spare);
    writer->wake = wake;
    writer->arg = arg;
    sigfillset(&all); /* signals are the loop's */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (writer->thread_count < threads && writer->thread_count < THREADS_MAX) {
        int failed = pthread_create(&writer->threads[writer->thread_count], NULL, run, writer);
        if (failed)
            panic("cannot start a writing thread: error %d", failed);
        writer->thread_count++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return writer;
}

void writer_free(struct writer **writer_at)
{
    struct writer *writer = *writer_at;
    *writer_at = NULL;
    if (!writer)
        return;
    for (unsigned i = 0; i < writer->thread_count; i++) {
        struct write_job *stop = mem_zalloc(sizeof(*stop));
        mailbox_post(&writer->work, &stop->letter);
    }
    for (unsigned i = 0; i < writer->thread_count; i++)
        pthread_join(writer->threads[i], NULL);
    assert(list_empty(&writer->early));
    for (struct list *node; (node = list_pop_front(&writer->spare));)
        mem_free(container_of(node, struct write_job, letter));
    mailbox_free(&writer->work);
    mailbox_free(&writer->done);
    mem_free(writer);
}

struct write_job *writer_start(struct writer *writer, struct stream *stream, size_t share)
{
    struct list *spare = list_pop_front(&writer->spare);
    struct write_job *job =
        spare ? container_of(spare, struct write_job, letter) : mem_zalloc(sizeof(*job));
    job->stream = stream;
    job->transport = stream->transport;
    job->io = stream->io;
    job->count = output_gather(&stream->output, job->iovecs, IOVECS_MAX, share, &job->size);
    assert(job->count > 0 && job->size > 0 && stream->io != NULL);
    mailbox_post(&writer->work, &job->letter);
    return job;
}

/* The stream is asked last: it may start another job at once. */
static void deliver(struct writer *writer, struct write_job *job)
{
    struct stream *stream = job->stream;
    ssize_t result = job->result;
    size_t size = job->size;
    list_push_front(&writer->spare, &job->letter);
    stream_written(stream, result, size);
}

void writer_collect(struct writer *writer)
{
    struct list *node;
    while ((node = list_pop_front(&writer->early)) || (node = mailbox_poll(&writer->done)))
        deliver(writer, container_of(node, struct write_job, letter));
}

void writer_cancel(struct writer *writer, struct write_job **job_at)
{
    struct write_job *job = *job_at;
    *job_at = NULL;
    list_each(node, &writer->early) {
        if (node == &job->letter) {
            list_remove(node);
            list_push_front(&writer->spare, &job->letter);
            return;
        }
    }
    for (;;) {
        struct list *node = mailbox_take(&writer->done);
        if (node == &job->letter)
            break;
        list_push_back(&writer->early, node);
    }
    list_push_front(&writer->spare, &job->letter);
}
