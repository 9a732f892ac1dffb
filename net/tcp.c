/* tcp.c - a connected TCP socket as the transport of a stream.
 *
 * Owner: its stream, until transport->close; then libuv, until the watcher's closed callback frees
 * it. The socket is ours and libuv only watches it, so that a stream reads once a turn, into the
 * buffer all share, and writes with its own writev. */
#include "net/tcp.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include "base/mem.h"
#include "net/listener.h"

struct tcp {
    uv_poll_t watcher;
    int fd;      /* -1 once closed */
    int wanted;  /* what the stream wants: UV_READABLE | UV_WRITABLE */
    int watched; /* what libuv was told */
    struct stream *stream; /* NULL until attached */
};

static void watch(struct tcp *tcp);

static void handle_ready(uv_poll_t *watcher, int status, int events)
{
    struct tcp *tcp = container_of(watcher, struct tcp, watcher);
    if (status < 0) {
        /* An error waits on the socket and libuv stopped watching: reading or writing will name the
         * error. */
        tcp->watched = 0;
        events = tcp->wanted;
    }
    if (tcp->stream && (events & UV_READABLE))
        stream_readable(tcp->stream);
    /* Either call may have closed it; the memory lives until the closed callback. */
    if (tcp->fd >= 0 && tcp->stream && (events & UV_WRITABLE))
        stream_writable(tcp->stream);
    if (tcp->fd >= 0)
        watch(tcp);
}

static void watch(struct tcp *tcp)
{
    assert(tcp->fd >= 0);
    if (tcp->wanted == tcp->watched)
        return;
    int result = tcp->wanted ? uv_poll_start(&tcp->watcher, tcp->wanted, handle_ready)
                             : uv_poll_stop(&tcp->watcher);
    assertf(result == 0, "watching %d for %d: %s", tcp->fd, tcp->wanted, uv_strerror(result));
    tcp->watched = tcp->wanted;
}

static ssize_t tcp_read(void *io, void *bytes, size_t size)
{
    struct tcp *tcp = io;
    ssize_t got = recv(tcp->fd, bytes, size, 0);
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
    uv_close((uv_handle_t *)&tcp->watcher, free_tcp);
    close(tcp->fd);
    tcp->fd = -1;
    tcp->stream = NULL;
}

const struct transport tcp_transport = {
    .read = tcp_read,
    .writev = tcp_writev,
    .want = tcp_want,
    .finish = tcp_finish,
    .close = tcp_close,
};

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
    int on = 1;
    /* The connection may be reset by now: then the first read says so. */
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
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
}
