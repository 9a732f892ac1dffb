/* stream.c - a byte stream to one peer.
 *
 * Owner: the connection that embeds it. One thread.
 *
 * Invariants: a stream that has output, or room to add some, is dirty, waits to be writable, or has
 * reached its limit.
 * After `closed` nothing is called any more and nothing is held.
 * Every handler may pause, close or abort its stream (and write to others): the state is asked
 * again after each. */
#include "net/stream.h"

#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "net/net.h"
#include "net/writer.h"

enum { READ_USEFUL = 64 * 1024 }; /* a read of less is not worth its system call */

void stream_init(struct stream *stream, struct net *net, const struct transport *transport,
                 void *io, const struct stream_events *events)
{
    assert(io != NULL && events->bytes && events->closed);
    *stream = (struct stream){.net = net, .transport = transport, .io = io, .events = events};
    output_init(&stream->output);
    stream->limit = UINT64_MAX;
    transport->want(io, true, false);
}

static void update_want(struct stream *stream)
{
    bool readable = !stream->paused && !stream->peer_done && !(stream->job && stream->transport->one_way);
    stream->transport->want(stream->io, readable, stream->want_write);
}

static void mark_dirty(struct stream *stream)
{
    if (!stream->want_write && !list_linked(&stream->dirty))
        list_push_back(&stream->net->dirty, &stream->dirty);
}

/* ---- output ---- */

uint8_t *stream_reserve_more(struct stream *stream, size_t size)
{
    if (stream->state != STREAM_OPEN)
        return net_scratch(stream->net, size);
    mark_dirty(stream);
    return output_reserve_more(&stream->output, stream->net, size);
}

void stream_write(struct stream *stream, struct slice bytes)
{
    if (bytes.len == 0 || stream->state != STREAM_OPEN)
        return;
    memcpy(stream_reserve(stream, bytes.len), bytes.at, bytes.len);
    stream_commit(stream, bytes.len);
}

void stream_write_ref(struct stream *stream, struct slice bytes,
                      void (*release)(void *arg, void *owner), void *arg, void *owner)
{
    if (bytes.len == 0 || stream->state != STREAM_OPEN) {
        release(arg, owner);
        return;
    }
    mark_dirty(stream);
    output_add_ref(&stream->output, stream->net, bytes, release, arg, owner);
}

/* ---- ending ---- */

static void forget_tail(struct stream *stream)
{
    mem_free(stream->tail);
    stream->tail = NULL;
    stream->tail_start = stream->tail_size = 0;
}

/* Lets go of everything but `stream` itself. */
static void let_go(struct stream *stream)
{
    if (stream->job)
        writer_cancel(stream->net->writer, &stream->job);
    stream->state = STREAM_CLOSED;
    stream->want_write = false;
    list_unlink(&stream->dirty);
    list_unlink(&stream->deferred);
    output_drop(&stream->output, stream->net);
    forget_tail(stream);
    if (stream->io)
        stream->transport->close(stream->io);
    stream->io = NULL;
}

static void become_closed(struct stream *stream, int error)
{
    assert(stream->state != STREAM_CLOSED && error <= 0);
    let_go(stream);
    stream->error = error;
    stream->events->closed(stream, error);
}

void stream_free(struct stream *stream)
{
    let_go(stream);
    assert(stream->output.pending == 0 && stream->tail == NULL);
    assert(!list_linked(&stream->dirty) && !list_linked(&stream->deferred));
}

void stream_close(struct stream *stream)
{
    if (stream->state != STREAM_OPEN)
        return;
    output_seal(&stream->output);
    stream->state = STREAM_CLOSING;
    stream->paused = false;
    list_unlink(&stream->deferred);
    forget_tail(stream);
    update_want(stream);
    mark_dirty(stream);
}

void stream_abort(struct stream *stream, int error)
{
    if (stream->state != STREAM_CLOSED)
        become_closed(stream, error);
}

/* CLOSING and all is flushed: our end goes out; the peer's end is waited for, unless it came
 * already. */
static void finish(struct stream *stream)
{
    if (!stream->finished) {
        stream->finished = true;
        stream->transport->finish(stream->io);
    }
    if (stream->peer_done)
        become_closed(stream, 0);
    else
        update_want(stream);
}

/* After a write: what is next. `full`: the transport takes no more for now. */
static void go_on(struct stream *stream, bool full)
{
    struct output *output = &stream->output;
    bool more = output->pending > 0 && stream->sent < stream->limit;
    stream->want_write = more && full;
    if (stream->state == STREAM_CLOSING && output->pending == 0) {
        finish(stream);
        return;
    }
    update_want(stream);
    if (more && !full)
        mark_dirty(stream);
    if (stream->state == STREAM_OPEN && stream->was_high && output->pending < STREAM_LOW_WATER) {
        stream->was_high = false;
        if (stream->events->drained)
            stream->events->drained(stream);
    }
}

void stream_written(struct stream *stream, ssize_t result, size_t size)
{
    assert(stream->job != NULL && stream->state != STREAM_CLOSED);
    stream->job = NULL;
    if (result < 0 && result != -EAGAIN) {
        become_closed(stream, (int)result);
        return;
    }
    size_t written = result > 0 ? (size_t)result : 0;
    assert(written <= size);
    stream->was_high |= stream_is_high(stream); /* it may have become so while the thread wrote */
    output_consume(&stream->output, stream->net, written);
    stream->sent += written;
    if (stream->output.pending == 0)
        output_drop(&stream->output, stream->net);
    go_on(stream, written < size);
    /* The next flush may hand the connection to a thread again, before the loop looks at the socket. */
    if (stream->transport->one_way && stream->state != STREAM_CLOSED && !stream->job) {
        stream_readable(stream);
        if (stream->state != STREAM_CLOSED)
            update_want(stream);
    }
}

/* Large writes go to a thread of the writer, if there is one. */
static bool write_elsewhere(struct stream *stream, size_t share)
{
    size_t size = share < stream->output.pending ? share : stream->output.pending;
    if (!stream->net->writer || size < STREAM_ELSEWHERE_MIN)
        return false;
    stream->want_write = false;
    stream->job = writer_start(stream->net->writer, stream, share);
    update_want(stream);
    return true;
}

void stream_flush(struct stream *stream)
{
    list_unlink(&stream->dirty);
    if (stream->state == STREAM_CLOSED || stream->job)
        return;
    if (stream_is_high(stream))
        stream->was_high = true;
    assert(stream->limit >= stream->sent);
    uint64_t allowed = stream->limit - stream->sent;
    size_t share = allowed < STREAM_FLUSH_MAX ? (size_t)allowed : STREAM_FLUSH_MAX;
    if (write_elsewhere(stream, share))
        return;
    int error = output_write(&stream->output, stream->net, stream->transport, stream->io, share,
                             &stream->sent);
    if (error)
        become_closed(stream, error);
    else
        go_on(stream, true);
}

void stream_limit(struct stream *stream, uint64_t offset)
{
    assert(offset >= stream->sent);
    stream->limit = offset;
    if (stream->state != STREAM_CLOSED && stream->output.pending > 0)
        mark_dirty(stream);
}

void stream_writable(struct stream *stream)
{
    stream_flush(stream);
}

/* ---- input ---- */

/* Keeps what the handler left of `in`, in memory of its own. */
static void keep_tail(struct stream *stream, struct slice in)
{
    assert(stream->tail == NULL);
    if (in.len == 0)
        return;
    stream->tail = mem_alloc(in.len);
    memcpy(stream->tail, in.at, in.len);
    stream->tail_size = in.len;
}

/* Calls the handler; returns what it consumed. Afterwards the stream may be in any state. */
static size_t offer(struct stream *stream, struct slice in)
{
    struct net *net = stream->net;
    assert(!net->reading);
    net->reading = true;
    size_t used = stream->events->bytes(stream, in);
    net->reading = false;
    assertf(used <= in.len, "%zu consumed of %zu", used, in.len);
    return used;
}

/* The peer sends no more. Who only sent its own end may still read what we have left to say, but
 * only in an orderly closing: an open connection ends here, as in RabbitMQ. */
static void end_of_input(struct stream *stream, int error)
{
    if (error == 0 && stream->state == STREAM_CLOSING && !stream->finished) {
        stream->peer_done = true;
        update_want(stream);
        return;
    }
    become_closed(stream, error);
}

/* Makes the shared buffer large enough for the tail and a read worth its while. */
static void fit_read_buffer(struct net *net, size_t tail_size)
{
    if (tail_size + READ_USEFUL <= net->read_buffer_size)
        return;
    while (tail_size + READ_USEFUL > net->read_buffer_size)
        net->read_buffer_size *= 2;
    mem_free(net->read_buffer);
    net->read_buffer = mem_alloc(net->read_buffer_size);
}

void stream_readable(struct stream *stream)
{
    struct net *net = stream->net;
    if (stream->state == STREAM_CLOSED || stream->paused || stream->peer_done)
        return;
    if (stream->job && stream->transport->one_way)
        return; /* told before the job began; told again after it */
    if (list_linked(&stream->deferred))
        return; /* what is kept comes first: an end that is read now would overtake it */
    assert(!net->reading);
    fit_read_buffer(net, stream->tail_size);
    size_t tail = stream->tail_size;
    size_t room = net->read_buffer_size - tail;
    ssize_t got = stream->transport->read(stream->io, net->read_buffer + tail,
                                          room < NET_READ_SIZE ? room : NET_READ_SIZE);
    if (got == -EAGAIN)
        return;
    if (got <= 0) {
        end_of_input(stream, (int)got);
        return;
    }
    stream->received += (uint64_t)got;
    if (stream->state == STREAM_CLOSING)
        return; /* read only to see the end */
    if (tail > 0)
        memcpy(net->read_buffer, stream->tail + stream->tail_start, tail);
    forget_tail(stream);
    struct slice in = slice_of(net->read_buffer, tail + (size_t)got);
    size_t used = offer(stream, in);
    if (stream->state == STREAM_OPEN)
        keep_tail(stream, slice_of(in.at + used, in.len - used));
}

void stream_pause(struct stream *stream)
{
    if (stream->state != STREAM_OPEN || stream->paused)
        return;
    stream->paused = true;
    list_unlink(&stream->deferred);
    update_want(stream);
}

void stream_resume(struct stream *stream)
{
    if (stream->state != STREAM_OPEN || !stream->paused)
        return;
    stream->paused = false;
    /* Whether or not there is a tail: when the handler itself resumes, its tail is not kept yet. */
    list_push_back(&stream->net->deferred, &stream->deferred);
    update_want(stream);
}

void stream_offer_again(struct stream *stream)
{
    list_unlink(&stream->deferred);
    if (stream->state != STREAM_OPEN || stream->paused || stream->tail_size == 0)
        return;
    /* Taken out of the stream, so that a handler that aborts does not free what it reads. */
    uint8_t *tail = stream->tail;
    size_t start = stream->tail_start, size = stream->tail_size;
    stream->tail = NULL;
    stream->tail_start = stream->tail_size = 0;
    size_t used = offer(stream, slice_of(tail + start, size));
    if (stream->state == STREAM_OPEN && used < size) {
        stream->tail = tail;
        stream->tail_start = start + used;
        stream->tail_size = size - used;
    } else {
        mem_free(tail);
    }
}
