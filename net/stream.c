/* stream.c - a byte stream to one peer.
 *
 * Owner: the connection that embeds it. One thread.
 *
 * Output is a list of parts. A part is a run of copied bytes and, after it, at most one reference
 * to bytes kept by somebody else. Parts lie in pooled chunks, each before its own run, so neither
 * costs an allocation of its own:
 *
 *   chunk: | part | run ... | part | run ... | room |
 *
 * Invariants: only the last part grows (`filling`), at `room`; its size is set by seal(). `pending`
 * is the sum of what all parts have left. If a stream has parts it is dirty or waits to be
 * writable. After `closed` nothing is called any more and nothing is held.
 *
 * Every handler may pause, close or abort its stream (and write to others): the state is asked
 * again after each. */
#include "net/stream.h"

#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "net/net.h"

enum {
    WRITE_PARTS_MAX = 64,        /* iovecs in one writev */
    READ_USEFUL = 64 * 1024,     /* a read smaller than this is not worth its system call */
    ROOM_USEFUL = 512,           /* less room than this is not worth a part */
};

struct out_part {
    struct list link; /* in stream.parts */
    struct net_chunk *chunk;
    const uint8_t *at; /* what is left of the run */
    size_t size;
    struct slice ref; /* what is left of the reference */
    void (*release)(void *arg, void *owner); /* NULL = no reference */
    void *arg, *owner;
};

void stream_init(struct stream *stream, struct net *net, const struct transport *transport, void *io,
                 const struct stream_events *events)
{
    assert(io != NULL && events->bytes && events->closed);
    *stream = (struct stream){.net = net, .transport = transport, .io = io, .events = events};
    list_init(&stream->parts);
    transport->want(io, true, false);
}

static void update_want(struct stream *stream)
{
    bool readable = !stream->paused && !stream->peer_done;
    stream->transport->want(stream->io, readable, stream->want_write);
}

static void mark_dirty(struct stream *stream)
{
    if (!stream->want_write && !list_linked(&stream->dirty))
        list_push_back(&stream->net->dirty, &stream->dirty);
}

/* ---- output: parts ---- */

/* Makes the size of the growing part true. */
static void seal(struct stream *stream)
{
    if (stream->filling)
        stream->filling->size = (size_t)(stream->room - stream->filling->at);
}

static struct out_part *first_part(struct stream *stream)
{
    return list_empty(&stream->parts) ? NULL : list_first(&stream->parts, struct out_part, link);
}

/* Starts a part at `at` in the chunk; the rest of the chunk is its room. */
static void start_part(struct stream *stream, struct net_chunk *chunk, uint8_t *at)
{
    uint8_t *end = chunk->bytes + chunk->capacity;
    assert(at >= chunk->bytes && (uintptr_t)at % _Alignof(struct out_part) == 0);
    assert(at + sizeof(struct out_part) <= end);
    struct out_part *part = (struct out_part *)(void *)at;
    stream->room = at + sizeof(*part);
    stream->room_size = (size_t)(end - stream->room);
    *part = (struct out_part){.chunk = chunk, .at = stream->room};
    chunk->parts++;
    list_push_back(&stream->parts, &part->link);
    stream->filling = part;
}

static void stop_filling(struct stream *stream)
{
    seal(stream);
    stream->filling = NULL;
    stream->room = NULL;
    stream->room_size = 0;
}

/* Takes the part out and releases what it refers to; its memory is gone afterwards. */
static void drop_part(struct stream *stream, struct out_part *part)
{
    void (*release)(void *arg, void *owner) = part->release;
    void *arg = part->arg, *owner = part->owner;
    struct net_chunk *chunk = part->chunk;
    assert(part != stream->filling && chunk->parts > 0);
    list_remove(&part->link);
    if (--chunk->parts == 0)
        net_chunk_give(stream->net, &chunk);
    if (release)
        release(arg, owner);
}

static void drop_output(struct stream *stream)
{
    struct out_part *part;
    stop_filling(stream);
    stream->pending = 0;
    while ((part = first_part(stream)))
        drop_part(stream, part);
}

/* Slow half of stream_reserve: no room yet, or not enough. */
uint8_t *stream_reserve_more(struct stream *stream, size_t size)
{
    if (stream->state != STREAM_OPEN)
        return net_scratch(stream->net, size);
    size_t need = size + sizeof(struct out_part);
    assert(need > size);
    stop_filling(stream);
    struct net_chunk *chunk = net_chunk_take(stream->net, need);
    start_part(stream, chunk, chunk->bytes);
    mark_dirty(stream);
    assert(stream->room_size >= size);
    return stream->room;
}

void stream_write(struct stream *stream, struct slice bytes)
{
    if (bytes.len == 0 || stream->state != STREAM_OPEN)
        return;
    memcpy(stream_reserve(stream, bytes.len), bytes.at, bytes.len);
    stream_commit(stream, bytes.len);
}

/* Ends the growing part and starts another in what its chunk has left, if that is worth it. */
static void start_part_behind(struct stream *stream)
{
    struct net_chunk *chunk = stream->filling->chunk;
    size_t used = (size_t)(stream->room - chunk->bytes);
    size_t aligned = (used + 15) & ~(size_t)15;
    stop_filling(stream);
    if (aligned + sizeof(struct out_part) + ROOM_USEFUL <= chunk->capacity)
        start_part(stream, chunk, chunk->bytes + aligned);
}

void stream_write_ref(struct stream *stream, struct slice bytes,
                      void (*release)(void *arg, void *owner), void *arg, void *owner)
{
    assert(release != NULL);
    if (bytes.len == 0 || stream->state != STREAM_OPEN) {
        release(arg, owner);
        return;
    }
    if (!stream->filling)
        stream_reserve_more(stream, 0);
    struct out_part *part = stream->filling;
    assert(part->release == NULL);
    part->ref = bytes;
    part->release = release;
    part->arg = arg;
    part->owner = owner;
    stream->pending += bytes.len;
    start_part_behind(stream);
}

/* ---- output: writing ---- */

static int gather(const struct stream *stream, struct iovec *parts, size_t *size)
{
    int count = 0;
    *size = 0;
    list_each(node, &stream->parts) {
        const struct out_part *part = container_of(node, struct out_part, link);
        if (count + 2 > WRITE_PARTS_MAX)
            break;
        if (part->size > 0)
            parts[count++] = (struct iovec){(void *)(uintptr_t)part->at, part->size};
        if (part->ref.len > 0)
            parts[count++] = (struct iovec){(void *)(uintptr_t)part->ref.at, part->ref.len};
        *size += part->size + part->ref.len;
    }
    return count;
}

/* Takes `size` written bytes off the front. */
static void consume(struct stream *stream, size_t size)
{
    assertf(size <= stream->pending, "%zu written of %zu", size, stream->pending);
    stream->pending -= size;
    stream->sent += size;
    struct out_part *part;
    while ((part = first_part(stream)) && part != stream->filling) {
        size_t run = size < part->size ? size : part->size;
        part->at += run, part->size -= run, size -= run;
        size_t ref = size < part->ref.len ? size : part->ref.len;
        part->ref.at += ref, part->ref.len -= ref, size -= ref;
        if (part->size + part->ref.len > 0)
            break;
        drop_part(stream, part);
    }
    if (size > 0) {
        assert(part && part == stream->filling && size <= part->size);
        part->at += size;
        part->size -= size;
    }
}

/* Writes until all is written, the socket is full or the stream had its share. 0 or -errno. */
static int write_out(struct stream *stream)
{
    struct iovec parts[WRITE_PARTS_MAX];
    size_t share = STREAM_FLUSH_MAX;
    seal(stream);
    while (stream->pending > 0 && share > 0) {
        size_t size;
        int count = gather(stream, parts, &size);
        assert(count > 0 && size > 0);
        ssize_t written = stream->transport->writev(stream->io, parts, count);
        if (written == -EAGAIN)
            break;
        if (written < 0)
            return (int)written;
        assert((size_t)written <= size);
        consume(stream, (size_t)written);
        if ((size_t)written < size)
            break; /* the socket is full: it would only say EAGAIN */
        share -= size < share ? size : share;
    }
    if (stream->pending == 0)
        drop_output(stream); /* parts that were started and never used */
    stream->want_write = stream->pending > 0;
    return 0;
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
    stream->state = STREAM_CLOSED;
    stream->want_write = false;
    list_unlink(&stream->dirty);
    list_unlink(&stream->deferred);
    drop_output(stream);
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
    assert(stream->pending == 0 && !list_linked(&stream->dirty) && !list_linked(&stream->deferred));
}

void stream_close(struct stream *stream)
{
    if (stream->state != STREAM_OPEN)
        return;
    stop_filling(stream);
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

void stream_flush(struct stream *stream)
{
    list_unlink(&stream->dirty);
    if (stream->state == STREAM_CLOSED)
        return;
    if (stream_is_high(stream))
        stream->was_high = true;
    int error = write_out(stream);
    if (error) {
        become_closed(stream, error);
        return;
    }
    if (stream->state == STREAM_CLOSING && stream->pending == 0) {
        finish(stream);
        return;
    }
    update_want(stream);
    if (stream->state == STREAM_OPEN && stream->was_high && stream->pending < STREAM_LOW_WATER) {
        stream->was_high = false;
        if (stream->events->drained)
            stream->events->drained(stream);
    }
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
    list_unlink(&stream->deferred);
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
