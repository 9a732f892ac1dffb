/* stream.h - a byte stream to one peer over a transport (TCP now; TLS and the simulator's fake network fill
 * in the same table).
 *
 * Input: at most one read a turn, into the buffer all streams share; what the handler does not consume is kept
 * here until more arrives, so an idle stream owns no buffer.
 * Output: gathered in pooled chunks and references to large bodies, written with one writev at the end of the
 * turn. An idle stream owns no chunk.
 *
 *   OPEN --stream_close--> CLOSING (flush what is left, send FIN, read and drop until the peer closes or the
 *   linger time is over) --> CLOSED --(closed event, last)--> owner calls stream_free
 *   OPEN --peer closed or error--> CLOSED */
#ifndef NET_STREAM_H
#define NET_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "base/list.h"
#include "base/slice.h"
#include "base/timer.h"

struct net;
struct stream;

/* The way to the peer. All return -errno on failure, -EAGAIN when it would block. */
struct transport {
    ssize_t (*read)(void *io, void *bytes, size_t size); /* 0 = peer closed */
    ssize_t (*writev)(void *io, const struct iovec *parts, int count);
    void (*want)(void *io, bool readable, bool writable); /* which events to report */
    void (*finish)(void *io); /* no more will be written (FIN) */
    void (*close)(void *io);  /* frees io */
};

struct stream_events {
    /* Bytes arrived; returns how many were consumed. The rest is offered again, with more behind it. */
    size_t (*bytes)(struct stream *stream, struct slice in);
    /* The output fell below STREAM_LOW_WATER after it had been above STREAM_HIGH_WATER. */
    void (*drained)(struct stream *stream);
    /* Last event: the peer is gone (error = 0 for an orderly end, else -errno) or closing is done. */
    void (*closed)(struct stream *stream, int error);
};

enum {
    STREAM_HIGH_WATER = 1024 * 1024,
    STREAM_LOW_WATER = 256 * 1024,
};

enum stream_state { STREAM_OPEN, STREAM_CLOSING, STREAM_CLOSED };

struct out_chunk; /* private to stream.c */

struct stream {
    struct net *net;
    const struct transport *transport;
    void *io;
    const struct stream_events *events;
    enum stream_state state;
    uint8_t *tail;          /* input not consumed yet, own memory */
    size_t tail_size;
    struct list chunks;     /* output, oldest first */
    size_t pending;         /* bytes of output not written yet */
    struct list dirty;      /* in net.dirty */
    struct list deferred;   /* for the loop's use */
    bool paused;            /* reading is stopped by the owner */
    bool was_high, want_write, finished;
    int error;
    uint64_t received, sent; /* bytes */
};

/* Takes over `io`. Embedded in its owner (the connection). Reading starts at once. */
void stream_init(struct stream *stream, struct net *net, const struct transport *transport, void *io,
                 const struct stream_events *events);
/* Only when CLOSED or never opened to the loop: drops buffers, closes the transport if it is not yet. */
void stream_free(struct stream *stream);

/* Transport side: the peer can be read from / written to. May call the handlers above. */
void stream_readable(struct stream *stream);
void stream_writable(struct stream *stream);

/* Flow control: no more `bytes` events until resumed. What is kept in the tail is offered again on resume. */
void stream_pause(struct stream *stream);
void stream_resume(struct stream *stream);

/* Contiguous room for `size` bytes at the end of the output; stream_commit says how many were used. In any state but OPEN
 * the bytes are accepted and dropped. Marks the stream dirty. */
uint8_t *stream_reserve(struct stream *stream, size_t size);
void stream_commit(struct stream *stream, size_t size);
void stream_write(struct stream *stream, struct slice bytes);
/* Sends `bytes` from where they are; `release(arg, owner)` is called once when they are written or dropped. */
void stream_write_ref(struct stream *stream, struct slice bytes,
                      void (*release)(void *arg, void *owner), void *arg, void *owner);

/* Writes what it can now; called by net_flush_all. */
void stream_flush(struct stream *stream);

static inline bool stream_is_high(const struct stream *stream)
{
    return stream->pending >= STREAM_HIGH_WATER;
}

/* Orderly end: flush, FIN, wait for the peer's end (so that a reset cannot eat our last words), then `closed`. The
 * owner keeps a timer and calls stream_abort when this lasts too long. */
void stream_close(struct stream *stream);
/* At once, nothing more is written; `closed` is called from here. */
void stream_abort(struct stream *stream, int error);

#endif
