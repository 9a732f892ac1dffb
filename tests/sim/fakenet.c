/* fakenet.c - a network in memory. Owner of everything here: the test. */
#include "tests/sim/fakenet.h"

#include <errno.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"

struct pipe {
    uint8_t *bytes;
    size_t capacity, head, size;
    bool ended; /* nothing more will be put in */
};

struct fakenet {
    struct rand *rand;
    size_t pipe_size;
    struct list links;
    size_t link_count;
    bool pumping; /* links that are closed on both sides stay until the end of the pump */
};

struct fakenet_link {
    struct fakenet *fakenet;
    struct list link;
    struct pipe up, down; /* to the server, to the client */
    struct stream *stream;
    bool want_read, want_write;
    bool reset, server_closed, client_closed;
    unsigned reads; /* in this event */
};

/* ---- pipes ---- */

static size_t pipe_room(const struct pipe *pipe)
{
    return pipe->capacity - pipe->size;
}

static size_t pipe_put(struct pipe *pipe, const uint8_t *bytes, size_t size)
{
    size_t put = size < pipe_room(pipe) ? size : pipe_room(pipe);
    for (size_t done = 0; done < put;) {
        size_t at = (pipe->head + pipe->size) % pipe->capacity;
        size_t run = put - done < pipe->capacity - at ? put - done : pipe->capacity - at;
        memcpy(pipe->bytes + at, bytes + done, run);
        pipe->size += run;
        done += run;
    }
    return put;
}

static size_t pipe_take(struct pipe *pipe, uint8_t *bytes, size_t size)
{
    size_t taken = size < pipe->size ? size : pipe->size;
    for (size_t done = 0; done < taken;) {
        size_t run = pipe->capacity - pipe->head;
        if (run > taken - done)
            run = taken - done;
        memcpy(bytes + done, pipe->bytes + pipe->head, run);
        pipe->head = (pipe->head + run) % pipe->capacity;
        pipe->size -= run;
        done += run;
    }
    return taken;
}

/* ---- links ---- */

struct fakenet *fakenet_new(struct rand *rand, size_t pipe_size)
{
    assert(pipe_size > 0);
    struct fakenet *fakenet = mem_zalloc(sizeof(*fakenet));
    fakenet->rand = rand;
    fakenet->pipe_size = pipe_size;
    list_init(&fakenet->links);
    return fakenet;
}

void fakenet_free(struct fakenet **fakenet)
{
    assertf((*fakenet)->link_count == 0, "%zu links still open", (*fakenet)->link_count);
    mem_free(*fakenet);
    *fakenet = NULL;
}

struct fakenet_link *fakenet_connect(struct fakenet *fakenet)
{
    struct fakenet_link *link = mem_zalloc(sizeof(*link));
    link->fakenet = fakenet;
    struct pipe *pipes[] = {&link->up, &link->down};
    for (size_t i = 0; i < array_size(pipes); i++) {
        pipes[i]->capacity = fakenet->pipe_size;
        pipes[i]->bytes = mem_alloc(fakenet->pipe_size);
    }
    list_push_back(&fakenet->links, &link->link);
    fakenet->link_count++;
    return link;
}

void fakenet_attach(void *io, struct stream *stream)
{
    struct fakenet_link *link = io;
    if (stream->io == NULL)
        return; /* closed again before it was attached */
    assert(link->stream == NULL && stream->io == io && !link->server_closed);
    link->stream = stream;
}

static void free_if_closed(struct fakenet_link *link)
{
    if (!link->server_closed || !link->client_closed || link->fakenet->pumping)
        return;
    list_remove(&link->link);
    link->fakenet->link_count--;
    mem_free(link->up.bytes);
    mem_free(link->down.bytes);
    mem_free(link);
}

static void reset_link(struct fakenet_link *link)
{
    link->reset = true;
    link->up.size = link->down.size = 0;
}

/* ---- the server's end ---- */

/* A random part of `size`, not 0 unless `size` is; all of it half of the time. */
static size_t cut(struct fakenet *fakenet, size_t size)
{
    if (!fakenet->rand || size == 0 || rand_below(fakenet->rand, 2) == 0)
        return size;
    return 1 + (size_t)rand_below(fakenet->rand, size);
}

static ssize_t server_readv(void *io, const struct iovec *parts, int count)
{
    struct fakenet_link *link = io;
    assert(!link->server_closed && count > 0);
    link->reads++;
    if (link->reset)
        return -ECONNRESET;
    if (link->up.size == 0)
        return link->up.ended ? 0 : -EAGAIN;
    size_t limit = cut(link->fakenet, link->up.size), got = 0;
    for (int i = 0; i < count && got < limit; i++) {
        assert(parts[i].iov_len > 0);
        size_t part = parts[i].iov_len < limit - got ? parts[i].iov_len : limit - got;
        got += pipe_take(&link->up, parts[i].iov_base, part);
    }
    return (ssize_t)got;
}

static ssize_t server_writev(void *io, const struct iovec *parts, int count)
{
    struct fakenet_link *link = io;
    assert(!link->server_closed && !link->down.ended && count > 0 && count <= 64);
    if (link->reset || link->client_closed)
        return link->reset ? -ECONNRESET : -EPIPE;
    size_t limit = cut(link->fakenet, pipe_room(&link->down));
    if (limit == 0)
        return -EAGAIN;
    ssize_t put = 0;
    for (int i = 0; i < count && limit > 0; i++) {
        assert(parts[i].iov_len > 0);
        size_t part = parts[i].iov_len < limit ? parts[i].iov_len : limit;
        pipe_put(&link->down, parts[i].iov_base, part);
        put += (ssize_t)part;
        limit -= part;
    }
    return put;
}

static void server_want(void *io, bool readable, bool writable)
{
    struct fakenet_link *link = io;
    assert(!link->server_closed);
    link->want_read = readable;
    link->want_write = writable;
}

static void server_finish(void *io)
{
    struct fakenet_link *link = io;
    assert(!link->server_closed && !link->down.ended);
    link->down.ended = true;
}

static void server_close(void *io)
{
    struct fakenet_link *link = io;
    assert(!link->server_closed);
    if (link->up.size > 0)
        reset_link(link);
    link->down.ended = true;
    link->server_closed = true;
    link->stream = NULL;
    link->want_read = link->want_write = false;
    free_if_closed(link);
}

const struct transport fakenet_transport = {
    .readv = server_readv,
    .writev = server_writev,
    .want = server_want,
    .finish = server_finish,
    .close = server_close,
};

/* ---- the client's end ---- */

size_t fakenet_client_write(struct fakenet_link *link, const void *bytes, size_t size)
{
    assert(!link->client_closed && !link->up.ended);
    if (link->server_closed)
        reset_link(link);
    return link->reset ? 0 : pipe_put(&link->up, bytes, size);
}

size_t fakenet_client_read(struct fakenet_link *link, void *bytes, size_t size)
{
    assert(!link->client_closed);
    return pipe_take(&link->down, bytes, size);
}

void fakenet_client_finish(struct fakenet_link *link)
{
    assert(!link->client_closed);
    link->up.ended = true;
}

void fakenet_client_reset(struct fakenet_link *link)
{
    assert(!link->client_closed);
    reset_link(link);
}

bool fakenet_client_at_end(const struct fakenet_link *link)
{
    return link->reset || (link->down.ended && link->down.size == 0);
}

bool fakenet_client_was_reset(const struct fakenet_link *link)
{
    return link->reset;
}

void fakenet_client_close(struct fakenet_link **link)
{
    struct fakenet_link *l = *link;
    *link = NULL;
    assert(!l->client_closed);
    if (l->down.size > 0)
        reset_link(l);
    l->up.ended = true;
    l->client_closed = true;
    free_if_closed(l);
}

/* ---- events ---- */

static bool can_read(const struct fakenet_link *link)
{
    return link->want_read && (link->up.size > 0 || link->up.ended || link->reset);
}

static bool can_write(const struct fakenet_link *link)
{
    return link->want_write && (pipe_room(&link->down) > 0 || link->reset || link->client_closed);
}

/* Delivers what the link has. True when it has, or had, something. */
static bool pump_link(struct fakenet_link *link)
{
    struct fakenet *fakenet = link->fakenet;
    if (!link->stream || (!can_read(link) && !can_write(link)))
        return false;
    if (fakenet->rand && rand_below(fakenet->rand, 4) == 0)
        return true; /* late */
    if (can_read(link)) {
        link->reads = 0;
        stream_readable(link->stream);
        assertf(link->reads <= 4, "%u reads in one event", link->reads);
    }
    if (link->stream && can_write(link))
        stream_writable(link->stream);
    return true;
}

static void shuffle(struct rand *rand, struct fakenet_link **links, size_t count)
{
    for (size_t i = count; i > 1; i--) {
        size_t j = (size_t)rand_below(rand, i);
        struct fakenet_link *other = links[j];
        links[j] = links[i - 1];
        links[i - 1] = other;
    }
}

bool fakenet_pump(struct fakenet *fakenet, struct net *net)
{
    bool busy = !net_is_idle(net);
    fakenet->pumping = true;
    net_run_deferred(net);
    size_t count = 0;
    struct fakenet_link **links = mem_alloc(fakenet->link_count * sizeof(struct fakenet_link *));
    list_each(node, &fakenet->links)
        links[count++] = container_of(node, struct fakenet_link, link);
    assert(count == fakenet->link_count);
    if (fakenet->rand)
        shuffle(fakenet->rand, links, count);
    for (size_t i = 0; i < count; i++)
        busy = pump_link(links[i]) || busy;
    mem_free(links);
    fakenet->pumping = false;
    list_each_safe(node, &fakenet->links)
        free_if_closed(container_of(node, struct fakenet_link, link));
    return busy;
}
