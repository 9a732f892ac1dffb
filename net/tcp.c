/* tcp.c - a connected TCP socket, plain or with TLS.
 *
 * Owner: an arrival, then the stream whose transport it is, until its close; then libuv, whose closed
 * callback frees it. The socket is ours and libuv only watches it, so that a stream reads once a turn,
 * into the buffer all share, and writes with its own writev. */
#include "net/tcp.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include "base/mem.h"
#include "net/listener.h"
#include "net/tls.h"

struct tcp {
    uv_poll_t watcher;
    int fd;      /* -1 once closed */
    int wanted;  /* what the stream wants: UV_READABLE | UV_WRITABLE */
    int watched; /* what libuv was told */
    unsigned linger_s; /* see tcp_linger */
    struct stream *stream; /* NULL until attached */
    struct tls *tls;       /* NULL = plain */
    void (*on_ready)(void *arg); /* of an arrival, NULL once there is a stream */
    void *arg;
};

static void watch(struct tcp *tcp);

/* The TLS of a stream, unless a thread has it just now. */
static struct tls *own_tls(const struct tcp *tcp)
{
    return tcp->stream && !tcp->stream->writing ? tcp->tls : NULL;
}

/* The stream wants to read and TLS knows something that the socket will not tell again. */
static bool has_news(const struct tcp *tcp)
{
    const struct tls *tls = own_tls(tcp);
    return tls && (tcp->wanted & UV_READABLE) && tls_has_news(tls);
}

/* Tells the stream. It may close after any call; the memory lives until the closed callback. */
static void tell_stream(struct tcp *tcp, int events)
{
    struct tls *tls = own_tls(tcp);
    if (tls && (events & UV_WRITABLE) && tls_wants_write(tls))
        tls_flush(tls);
    if (events & UV_READABLE)
        stream_readable(tcp->stream);
    if (tcp->fd >= 0 && tcp->stream && has_news(tcp))
        stream_readable(tcp->stream);
    if (tcp->fd >= 0 && tcp->stream && (events & tcp->wanted & UV_WRITABLE))
        stream_writable(tcp->stream);
}

static void handle_ready(uv_poll_t *watcher, int status, int events)
{
    struct tcp *tcp = container_of(watcher, struct tcp, watcher);
    if (status < 0) {
        /* An error waits on the socket and libuv stopped watching: reading or writing will name the
         * error. */
        tcp->watched = 0;
        events = tcp->wanted;
    }
    if (tcp->stream)
        tell_stream(tcp, events);
    else if (tcp->on_ready)
        tcp->on_ready(tcp->arg);
    if (tcp->fd >= 0)
        watch(tcp);
}

static void watch(struct tcp *tcp)
{
    assert(tcp->fd >= 0);
    int events = tcp->wanted;
    /* Being writable, which it usually is, stands in for what the socket does not tell. */
    const struct tls *tls = own_tls(tcp);
    if (tls && (tls_wants_write(tls) || has_news(tcp)))
        events |= UV_WRITABLE;
    if (events == tcp->watched)
        return;
    int result = events ? uv_poll_start(&tcp->watcher, events, handle_ready) : uv_poll_stop(&tcp->watcher);
    assertf(result == 0, "watching %d for %d: %s", tcp->fd, events, uv_strerror(result));
    tcp->watched = events;
}

static ssize_t tcp_readv(void *io, const struct iovec *parts, int count)
{
    struct tcp *tcp = io;
    struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)parts, .msg_iovlen = (size_t)count};
    ssize_t got = recvmsg(tcp->fd, &message, 0);
    if (got >= 0)
        return got;
    return errno == EINTR || errno == EWOULDBLOCK ? -EAGAIN : -errno;
}

static ssize_t tcp_writev(void *io, const struct iovec *parts, int count)
{
    struct tcp *tcp = io;
    struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)parts, .msg_iovlen = (size_t)count};
    ssize_t put = sendmsg(tcp->fd, &message, MSG_NOSIGNAL);
    if (put >= 0)
        return put;
    return errno == EINTR || errno == EWOULDBLOCK ? -EAGAIN : -errno;
}

static void tcp_want(void *io, bool readable, bool writable)
{
    struct tcp *tcp = io;
    tcp->wanted = (readable ? UV_READABLE : 0) | (writable ? UV_WRITABLE : 0);
    watch(tcp);
}

static void tcp_finish(void *io)
{
    struct tcp *tcp = io;
    /* Fails only when the peer is gone already, which the next read tells. */
    (void)shutdown(tcp->fd, SHUT_WR);
}

static void free_tcp(uv_handle_t *handle)
{
    mem_free(container_of((uv_poll_t *)(void *)handle, struct tcp, watcher));
}

static void tcp_close(void *io)
{
    struct tcp *tcp = io;
    assert(tcp->fd >= 0);
    unsigned patience_ms = tcp->linger_s * 1000;
    tls_free(&tcp->tls);
    uv_close((uv_handle_t *)&tcp->watcher, free_tcp);
    if (patience_ms > 0)
        (void)setsockopt(tcp->fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &patience_ms, sizeof(patience_ms));
    close(tcp->fd);
    tcp->fd = -1;
    tcp->stream = NULL;
}

const struct transport tcp_transport = {
    .readv = tcp_readv,
    .writev = tcp_writev,
    .want = tcp_want,
    .finish = tcp_finish,
    .close = tcp_close,
};

/* ---- with TLS ---- */

static ssize_t tls_transport_readv(void *io, const struct iovec *parts, int count)
{
    struct tcp *tcp = io;
    assert(count == 1);
    return tls_read(tcp->tls, parts->iov_base, parts->iov_len);
}

static ssize_t tls_transport_writev(void *io, const struct iovec *parts, int count)
{
    struct tcp *tcp = io;
    return tls_writev(tcp->tls, parts, count);
}

static void tls_transport_finish(void *io)
{
    struct tcp *tcp = io;
    tls_finish(tcp->tls);
    watch(tcp);
}

const struct transport tcp_tls_transport = {
    .readv = tls_transport_readv,
    .writev = tls_transport_writev,
    .want = tcp_want,
    .finish = tls_transport_finish,
    .close = tcp_close,
    .one_way = true,
};

/* ---- opening ---- */

int tcp_open(struct tcp **tcp, struct loop *loop, int fd)
{
    struct tcp *t = mem_zalloc(sizeof(*t));
    t->fd = fd;
    int result = uv_poll_init_socket(loop_uv(loop), &t->watcher, fd);
    if (result < 0) {
        close(fd);
        mem_free(t);
        return result; /* libuv's codes are -errno */
    }
    *tcp = t;
    return 0;
}

void tcp_attach(void *io, struct stream *stream)
{
    struct tcp *tcp = io;
    if (stream->io == NULL)
        return; /* closed again before it was attached */
    assert(tcp->stream == NULL && stream->io == io && tcp->fd >= 0);
    tcp->stream = stream;
    tcp->on_ready = NULL;
    watch(tcp);
}

void tcp_wait(struct tcp *tcp, bool readable, bool writable, void (*on_ready)(void *arg), void *arg)
{
    assert(tcp->stream == NULL && on_ready != NULL);
    tcp->on_ready = on_ready;
    tcp->arg = arg;
    tcp_want(tcp, readable, writable);
}

void tcp_linger(struct tcp *tcp, unsigned seconds)
{
    assert(seconds > 0 && seconds <= UINT16_MAX);
    tcp->linger_s = seconds;
}

int tcp_fd(const struct tcp *tcp)
{
    return tcp->fd;
}

void tcp_secure(struct tcp *tcp, struct tls *tls)
{
    assert(tcp->tls == NULL && tls != NULL);
    tcp->tls = tls;
}
