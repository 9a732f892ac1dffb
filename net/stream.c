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
#include "net/carrier.h"
#include "net/net.h"

enum {
    READ_USEFUL = 64 * 1024, /* a read of less is not worth its system call */
    HEAD_SIZE = 4096,        /* read behind a place: the next such body should find its place as well */
    ROUNDS_MAX = 4,          /* reads in a turn, of a stream with places */
};

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
    bool busy = stream->reading || (stream->writing && stream->transport->one_way);
    bool readable = !stream->paused && !stream->peer_done && !busy;
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

static void cancel(struct stream *stream, struct carrier_job **job)
{
    if (*job) {
        carrier_wait(stream->net->carrier, *job);
        carrier_drop(stream->net->carrier, job);
    }
}

/* Lets go of everything but `stream` itself. */
static void let_go(struct stream *stream)
{
    cancel(stream, &stream->writing);
    cancel(stream, &stream->reading);
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
    stream_recall(stream);
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
    assert(stream->writing != NULL && stream->state != STREAM_CLOSED);
    stream->writing = NULL;
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
    if (stream->transport->one_way && stream->state != STREAM_CLOSED && !stream->writing) {
        stream_readable(stream);
        if (stream->state != STREAM_CLOSED)
            update_want(stream);
    }
}

/* Large writes go to a thread of the carrier, if there is one. */
static bool write_elsewhere(struct stream *stream, size_t share)
{
    size_t size = share < stream->output.pending ? share : stream->output.pending;
    if (!stream->net->carrier || size < STREAM_ELSEWHERE_MIN)
        return false;
    stream->want_write = false;
    stream->writing = carrier_write(stream->net->carrier, stream, share);
    update_want(stream);
    return true;
}

/* What is left of a frame that passed the limit; true when nothing is any more. TLS has to be given the same
 * bytes again. */
static bool send_rest(struct stream *stream)
{
    ssize_t written = stream->transport->writev(
        stream->io, &(struct iovec){stream->rest, stream->rest_size}, 1);
    if (written < 0 && written != -EAGAIN) {
        become_closed(stream, (int)written);
        return false;
    }
    if (written > 0) {
        assert(written <= stream->rest_size);
        stream->rest_size -= (uint8_t)written;
        memmove(stream->rest, stream->rest + written, stream->rest_size);
    }
    if (stream->rest_size > 0) {
        stream->want_write = true;
        update_want(stream);
    }
    return stream->rest_size == 0;
}

bool stream_pass(struct stream *stream, struct slice frame)
{
    assert(frame.len <= sizeof(stream->rest));
    if (stream->state != STREAM_OPEN || stream->writing || stream->rest_size > 0 ||
        stream->output.pending == 0 || stream->sent != stream->limit)
        return false;
    memcpy(stream->rest, frame.at, frame.len);
    stream->rest_size = (uint8_t)frame.len;
    send_rest(stream);
    return true;
}

void stream_flush(struct stream *stream)
{
    list_unlink(&stream->dirty);
    if (stream->state == STREAM_CLOSED || stream->writing ||
        (stream->rest_size > 0 && !send_rest(stream)))
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

static bool may_read(const struct stream *stream)
{
    if (stream->state == STREAM_CLOSED || stream->paused || stream->peer_done || stream->reading)
        return false;
    if (stream->writing && stream->transport->one_way)
        return false; /* told before the job began; told again after it */
    /* What is kept comes first: an end that is read now would overtake it. */
    return !list_linked(&stream->deferred);
}

static uint8_t *find_place(struct stream *stream, size_t *size)
{
    *size = 0;
    if (!stream->events->place || stream->state != STREAM_OPEN || stream->tail_size > 0 ||
        stream->transport->one_way)
        return NULL;
    uint8_t *place = stream->events->place(stream, size);
    assertf(place ? *size >= STREAM_PLACE_MIN : *size == 0, "a place of %zu bytes", *size);
    return place;
}

/* `got` bytes have come: first those that are in their place, then the others, behind the tail at `at`. */
static void take_in(struct stream *stream, size_t got, size_t place_size, const uint8_t *at)
{
    size_t placed = got < place_size ? got : place_size;
    stream->received += got;
    if (stream->state == STREAM_CLOSING)
        return; /* read only to see the end */
    if (placed > 0)
        stream->events->placed(stream, placed);
    struct slice in = slice_of(at, stream->tail_size + got - placed);
    forget_tail(stream);
    if (got == placed)
        return;
    size_t used = stream->paused ? 0 : offer(stream, in);
    if (stream->state == STREAM_OPEN)
        keep_tail(stream, slice_of(in.at + used, in.len - used));
}

/* TLS opens whole records, and needs room for that. */
static size_t read_most(const struct stream *stream)
{
    size_t max = stream->net->read_max;
    return stream->transport->one_way && max < READ_USEFUL ? READ_USEFUL : max;
}

/* Reads once. True when a place is full, and what was to be read behind it too. */
static bool read_here(struct stream *stream, uint8_t *place, size_t place_size)
{
    struct net *net = stream->net;
    size_t tail = stream->tail_size;
    assert(!net->reading);
    fit_read_buffer(net, tail);
    size_t room = net->read_buffer_size - tail, most = place ? HEAD_SIZE : read_most(stream);
    struct iovec parts[] = {{place, place_size}, {net->read_buffer + tail, room < most ? room : most}};
    ssize_t got = place ? stream->transport->readv(stream->io, parts, 2)
                        : stream->transport->readv(stream->io, parts + 1, 1);
    if (got == -EAGAIN)
        return false;
    if (got <= 0) {
        end_of_input(stream, (int)got);
        return false;
    }
    net->full_reads += (size_t)got >= net->read_max / 2;
    if (tail > 0)
        memcpy(net->read_buffer, stream->tail + stream->tail_start, tail);
    take_in(stream, (size_t)got, place_size, net->read_buffer);
    return place && (size_t)got == place_size + parts[1].iov_len;
}

void stream_readable(struct stream *stream)
{
    struct net *net = stream->net;
    for (int round = 0; round < ROUNDS_MAX && may_read(stream); round++) {
        size_t size;
        uint8_t *place = find_place(stream, &size);
        if (place && net->carrier && net->has_placed && round == 0) {
            stream->reading = carrier_read(net->carrier, stream, place, size);
            update_want(stream);
            return;
        }
        net->has_placed |= place != NULL;
        if (!read_here(stream, place, size))
            return;
    }
}

/* Takes what the job brought; returns what its readv did. */
static ssize_t take_load(struct stream *stream)
{
    struct carrier_job *job = stream->reading;
    struct carrier_load load = carrier_load(job);
    stream->reading = NULL;
    if (load.result > 0)
        take_in(stream, (size_t)load.result, load.place_size, load.head);
    carrier_drop(stream->net->carrier, &job);
    return load.result;
}

void stream_was_read(struct stream *stream)
{
    assert(stream->reading != NULL && stream->state == STREAM_OPEN && stream->tail_size == 0);
    ssize_t got = take_load(stream);
    if (got == 0 || (got < 0 && got != -EAGAIN))
        end_of_input(stream, (int)got);
    else if (got > 0)
        stream_readable(stream); /* there may be more */
    if (stream->state != STREAM_CLOSED && !stream->reading)
        update_want(stream);
}

void stream_recall(struct stream *stream)
{
    if (!stream->reading)
        return;
    carrier_wait(stream->net->carrier, stream->reading);
    bool paused = stream->paused;
    stream->paused = true; /* what is not placed is kept for the next turn; an end is read again */
    (void)take_load(stream);
    stream->paused = paused;
    if (!paused && stream->tail_size > 0 && !list_linked(&stream->deferred))
        list_push_back(&stream->net->deferred, &stream->deferred);
    update_want(stream);
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

void stream_yield(struct stream *stream)
{
    if (stream->state == STREAM_OPEN && !stream->paused && !list_linked(&stream->deferred))
        list_push_back(&stream->net->deferred, &stream->deferred);
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
