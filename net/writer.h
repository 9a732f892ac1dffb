/* writer.h - threads that write for streams with much to say, so that the loop does not stand in
 * the kernel copying.
 *
 * A job is one writev of bytes that lie still until it is done: the loop goes on appending behind
 * them, and takes the job back in loop_poll. A stream has at most one job; small writes stay with
 * the loop. */
#ifndef NET_WRITER_H
#define NET_WRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct stream;
struct writer;
struct write_job;

/* `wake` is called from a writing thread when a job is done. */
struct writer *writer_new(unsigned threads, void (*wake)(void *arg), void *arg);
/* No job may be under way. */
void writer_free(struct writer **writer);

/* Hands the first `share` bytes of the stream's output, or as much as fits one writev, to a thread. */
struct write_job *writer_start(struct writer *writer, struct stream *stream, size_t share);
/* Calls stream_written for every job that is done. */
void writer_collect(struct writer *writer);
/* Waits for the job and forgets its result: the stream ends. */
void writer_cancel(struct writer *writer, struct write_job **job);

#endif
