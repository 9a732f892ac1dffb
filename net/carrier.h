/* carrier.h - threads that carry bytes between sockets and memory for streams with much to say or to hear,
 * so that the loop does not stand in the kernel copying.
 *
 * A job is one writev of bytes that lie still until it is done (the loop goes on appending behind them), or
 * one readv into memory that nobody else looks at meanwhile. The loop takes the job back in loop_poll. A
 * stream has at most one job of each kind; what is small stays with the loop. */
#ifndef NET_CARRIER_H
#define NET_CARRIER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct carrier;
struct carrier_job;
struct stream;

enum { CARRIER_HEAD_SIZE = 4096 };

/* What a read brought: `result` bytes, 0 at the end of the peer's, or -errno. The first `place_size` of them
 * lie where they were to go, those behind are at `head`, which is the job's. */
struct carrier_load {
    ssize_t result;
    size_t place_size;
    const uint8_t *head;
};

/* `wake` is called from a thread when a job is done. */
struct carrier *carrier_new(unsigned threads, void (*wake)(void *arg), void *arg);
/* No job may be under way. NULL is allowed. */
void carrier_free(struct carrier **carrier);

/* Hands the first `share` bytes of the stream's output, or as much as fits one writev, to a thread. */
struct carrier_job *carrier_write(struct carrier *carrier, struct stream *stream, size_t share);
/* Has a thread read `size` bytes to `place`, and up to CARRIER_HEAD_SIZE that follow. */
struct carrier_job *carrier_read(struct carrier *carrier, struct stream *stream, uint8_t *place, size_t size);
/* Calls stream_written or stream_was_read for every job that is done now. */
void carrier_collect(struct carrier *carrier);

/* Waits for the job, which is not collected any more. */
void carrier_wait(struct carrier *carrier, struct carrier_job *job);
/* What a job that reads, and was waited for, brought. */
struct carrier_load carrier_load(const struct carrier_job *job);
/* The end of a job that was waited for. */
void carrier_drop(struct carrier *carrier, struct carrier_job **job);

#endif
