/* stream.h - a byte stream to one peer over a transport (TCP now; TLS and the simulator's fake
 * network fill in the same table).
 *
 * Input: usually one read a turn, into the buffer all streams share; what the handler does not consume is
 * kept here, so an idle stream owns no buffer. Many bytes with one destination are read straight to there.
 * Output: gathered in pooled chunks and references to large bodies, written with one writev at the
 * end of the turn. An idle stream owns no chunk.
 *
 *   OPEN --stream_close--> CLOSING (flush what is left, send FIN, read and drop until the peer closes
 *   or the owner aborts) --> CLOSED --(closed event, last)--> owner calls stream_free
 *   OPEN --peer closed or error--> CLOSED */
#ifndef NET_STREAM_H
#define NET_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "base/slice.h"
#include "net/output.h"
#include "net/transport.h"

struct net;
struct stream;

struct stream_events {
    /* Bytes arrived; returns how many were consumed. The rest is offered again, with more. */
    size_t (*bytes)(struct stream *stream, struct slice in);
    /* Optional. Where the next *size bytes go anyway, at least STREAM_PLACE_MIN; NULL = nowhere yet. They
     * may be written there until `placed` says how many were, or stream_recall returns. */
    uint8_t *(*place)(struct stream *stream, size_t *size);
    void (*placed)(struct stream *stream, size_t size);
    /* The output fell below STREAM_LOW_WATER after it had been above STREAM_HIGH_WATER. */
    void (*drained)(struct stream *stream);
    /* Last event: closing is done or the peer is gone (error = 0 if orderly, else -errno). */
    void (*closed)(struct stream *stream, int error);
};

enum {
    STREAM_HIGH_WATER = 1024 * 1024,
    STREAM_LOW_WATER = 256 * 1024,
    STREAM_PLACE_MIN = 32 * 1024, /* fewer bytes are not worth reads of their own */
    STREAM_ELSEWHERE_MIN = 128 * 1024, /* a write of this much is left to the carrier's threads */
    STREAM_FLUSH_MAX = 4 * 1024 * 1024, /* written at once: a fast reader does not hold the turn */
};

enum stream_state { STREAM_OPEN, STREAM_CLOSING, STREAM_CLOSED };

struct stream {
    struct net *net;
    const struct transport *transport;
    void *io;               /* NULL once CLOSED */
    const struct stream_events *events;
    enum stream_state state;
    uint8_t *tail;          /* input not consumed yet, own memory */
    size_t tail_start, tail_size;
    struct output output;   /* if it has any bytes or room: dirty, or waiting to be writable */
    struct list dirty;      /* in net.dirty */
    struct list deferred;   /* in net.deferred */
    bool paused;            /* reading is stopped by the owner */
    bool was_high, want_write, finished;
    bool peer_done;         /* the peer's end came while CLOSING, before all was flushed */
    int error;              /* as given to `closed` */
    struct carrier_job *writing; /* a thread writes the front of the output; else NULL */
    struct carrier_job *reading; /* a thread reads to a place; else NULL. There is no tail then. */
    uint64_t received, sent; /* bytes */
    uint64_t limit;          /* `sent` may not pass this: see stream_limit */
    uint8_t rest[8], rest_size; /* of what passed it: goes before all else */
};

/* Takes over `io`. Embedded in its owner (the connection). Reading starts at once. */
void stream_init(struct stream *stream, struct net *net, const struct transport *transport,
                 void *io, const struct stream_events *events);
/* Not from this stream's own handlers. Drops all, closes the transport if it is not yet; no event. */
void stream_free(struct stream *stream);

/* For the carrier: `result` of a writev of `size` bytes; the job that reads is done. */
void stream_written(struct stream *stream, ssize_t result, size_t size);
void stream_was_read(struct stream *stream);
/* Transport side: the peer can be read from / written to. May call the handlers above. */
void stream_readable(struct stream *stream);
void stream_writable(struct stream *stream);

/* Flow control: no more `bytes` events until resumed. What is kept in the tail is offered again on
 * the next turn after the resume. Both do nothing unless OPEN. */
void stream_pause(struct stream *stream);
void stream_resume(struct stream *stream);
/* For a handler that has had enough for this turn: what it leaves is offered again in the next, and nothing
 * is read before that. */
void stream_yield(struct stream *stream);
void stream_offer_again(struct stream *stream); /* for net_run_deferred */
/* The handler's place is to go: nothing is written there any more, and `placed` has said what was. */
void stream_recall(struct stream *stream);

uint8_t *stream_reserve_more(struct stream *stream, size_t size); /* for stream_reserve */
/* Contiguous room for `size` bytes at the end of the output; stream_commit says how many were used.
 * In any state but OPEN the bytes are accepted and dropped. Marks the stream dirty. */
static inline uint8_t *stream_reserve(struct stream *stream, size_t size)
{
    struct output *output = &stream->output;
    return size <= output->room_size ? output->room : stream_reserve_more(stream, size);
}

static inline void stream_commit(struct stream *stream, size_t size)
{
    if (stream->state == STREAM_OPEN)
        output_commit(&stream->output, size);
}

void stream_write(struct stream *stream, struct slice bytes);
/* Sends `bytes` from where they are; `release(arg, owner)` is called once when they are written or
 * dropped (at once if the stream is not OPEN) and may not touch the stream. */
void stream_write_ref(struct stream *stream, struct slice bytes,
                      void (*release)(void *arg, void *owner), void *arg, void *owner);

/* Writes what it can now, at most STREAM_FLUSH_MAX; called by net_flush_all. */
void stream_flush(struct stream *stream);

/* Bytes put into the output since the stream began. */
static inline uint64_t stream_queued(const struct stream *stream)
{
    return stream->sent + stream->output.pending;
}

/* Only the first `offset` bytes of the stream may leave for now (what is behind promises something
 * that is not on disk yet); UINT64_MAX = no limit. Never less than what was sent. */
void stream_limit(struct stream *stream, uint64_t offset);
/* A small frame that promises nothing goes out although all that is there is held back by the limit, which is
 * between two frames; it is not counted. False when it is not so, or when it cannot go now. */
bool stream_pass(struct stream *stream, struct slice frame);

static inline bool stream_is_high(const struct stream *stream)
{
    return stream->output.pending >= STREAM_HIGH_WATER;
}

/* Orderly end: flush (with the others, at the end of the turn), FIN, wait for the peer's end (so
 * that a reset cannot eat our last words), then `closed`. The owner keeps a timer and calls
 * stream_abort when this lasts too long. */
void stream_close(struct stream *stream);
/* At once, nothing more is written; `closed` is called from here, unless it was already. */
void stream_abort(struct stream *stream, int error);

#endif
