/* listener.c - listening TCP sockets.
 *
 * Owner: the server, until listener_close; then libuv and the worker, until all handles are closed and no
 * handshake is under way. Failure
 * modes: without file descriptors it stops accepting for a moment and leaves clients in the
 * kernel's backlog; a connection that dies before it is accepted is passed over. */
#include "net/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include "base/assert.h"
#include "base/mem.h"
#include "net/arrival.h"
#include "net/tcp.h"

struct listener {
    uv_poll_t watcher;
    uv_timer_t retry, expiry;
    struct loop *loop;
    int fd; /* -1 once closed */
    int open_handles;
    int clients_end; /* descriptors from this one on are not for clients */
    uint16_t port;
    bool lagging;  /* paused, and not caught up since */
    bool crowded;  /* paused until an arrival leaves */
    struct arrivals arrivals; /* with the options */
    void (*on_pause)(void *arg, int error);
};

static void free_if_done(struct listener *listener)
{
    if (listener->fd < 0 && listener->open_handles == 0 && listener->arrivals.count == 0)
        mem_free(listener);
}

static void fill_peer(struct peer *peer, int fd, const union address *remote)
{
    union address local = {0};
    socklen_t size = sizeof(local);
    *peer = (struct peer){0};
    if (getsockname(fd, &local.any, &size) == 0)
        peer->port = address_text(&local, peer->host, sizeof(peer->host));
    peer->peer_port = address_text(remote, peer->peer_host, sizeof(peer->peer_host));
    peer->loopback = address_is_loopback(remote);
}

/* ---- accepting ---- */

static void handle_ready(uv_poll_t *watcher, int status, int events);

static void watch(struct listener *listener)
{
    int result = uv_poll_start(&listener->watcher, UV_READABLE, handle_ready);
    assertf(result == 0, "watching a listener: %s", uv_strerror(result));
}

static void handle_retry(uv_timer_t *retry)
{
    struct listener *listener = container_of(retry, struct listener, retry);
    if (!listener->crowded)
        watch(listener);
}

static void pause_accepting(struct listener *listener, int error)
{
    uv_poll_stop(&listener->watcher);
    int result = uv_timer_start(&listener->retry, handle_retry, LISTENER_RETRY_MS, 0);
    assert(result == 0);
    bool first = !listener->lagging;
    listener->lagging = true;
    if (first && listener->on_pause)
        listener->on_pause(listener->arrivals.options.arg, error);
}

static bool is_shortage(int error)
{
    return error == -EMFILE || error == -ENFILE || error == -ENOBUFS || error == -ENOMEM;
}

/* Arrivals that have been there too long go; the timer runs while there are any. */
static void handle_expiry(uv_timer_t *expiry)
{
    struct listener *listener = container_of(expiry, struct listener, expiry);
    uint64_t next_ms = arrivals_expire(&listener->arrivals);
    if (listener->fd < 0 || next_ms == UINT64_MAX)
        return;
    int result = uv_timer_start(expiry, handle_expiry, next_ms, 0);
    assert(result == 0);
}

static void handle_leave(void *owner)
{
    struct listener *listener = owner;
    if (listener->fd >= 0 && listener->crowded) {
        listener->crowded = false;
        watch(listener);
    }
    free_if_done(listener);
}

/* Nobody has to wait for a peer on this machine, so that what lies between us is only ever copied: with the
 * kernel's own sizes, of several megabytes, large messages fall out of the processor's cache meanwhile. A
 * size that the configuration gives is not changed. */
static void keep_short(int fd, const struct tcp_options *options)
{
    int size = LISTENER_LOCAL_BUFFER;
    if (!options->sndbuf)
        (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    if (!options->recbuf)
        (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
}

/* Options that matter less than the connection: what fails here is said by its first read, or is nothing. */
static void set_options(int fd, const struct tcp_options *options)
{
    int nodelay = options->nodelay, keepalive = options->keepalive;
    struct linger reset = {.l_onoff = 1, .l_linger = 0};
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &nodelay, sizeof(nodelay));
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &keepalive, sizeof(keepalive));
    if (options->linger && options->linger_s == 0)
        (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
}

/* Some descriptors are left to those who cannot wait for one: a store that cannot open the file it has to
 * write to would end the process. The kernel gives out the lowest that is free. */
static int clients_end(void)
{
    struct rlimit limit;
    int result = getrlimit(RLIMIT_NOFILE, &limit);
    assert(result == 0);
    rlim_t all = limit.rlim_cur < INT_MAX ? limit.rlim_cur : INT_MAX;
    rlim_t kept = all / 4 < LISTENER_DESCRIPTORS_KEPT ? all / 4 : LISTENER_DESCRIPTORS_KEPT;
    return (int)(all - kept);
}

/* 0, or -EMFILE when the next descriptor is not for a client, who then waits in the backlog. */
static int look_for_descriptor(const struct listener *listener)
{
    int next = fcntl(listener->fd, F_DUPFD_CLOEXEC, 0);
    if (next < 0)
        return -errno;
    close(next);
    return next < listener->clients_end ? 0 : -EMFILE;
}

/* Accepts one connection. 0, or -errno: -EAGAIN when no more wait. */
static int accept_one(struct listener *listener)
{
    union address remote = {0};
    socklen_t size = sizeof(remote);
    int shortage = look_for_descriptor(listener);
    if (shortage < 0)
        return shortage;
    int fd = accept4(listener->fd, &remote.any, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return errno == EWOULDBLOCK ? -EAGAIN : -errno;
    const struct tcp_options *options = &listener->arrivals.options.tcp;
    struct peer peer;
    set_options(fd, options);
    fill_peer(&peer, fd, &remote);
    if (peer.loopback)
        keep_short(fd, options);
    struct tcp *tcp;
    int result = tcp_open(&tcp, listener->loop, fd);
    if (result < 0)
        return result;
    if (options->linger && options->linger_s > 0)
        tcp_linger(tcp, (unsigned)options->linger_s);
    arrivals_add(&listener->arrivals, tcp, &peer, &remote);
    if (listener->fd >= 0 && listener->arrivals.count > 0 && !uv_is_active((uv_handle_t *)&listener->expiry))
        handle_expiry(&listener->expiry);
    return 0;
}

static void handle_ready(uv_poll_t *watcher, int status, int events)
{
    struct listener *listener = container_of(watcher, struct listener, watcher);
    (void)events;
    if (status < 0) { /* libuv stopped watching: accept names the error, the retry watches again */
        pause_accepting(listener, status);
        return;
    }
    for (int i = 0; i < LISTENER_ACCEPTS_MAX && listener->fd >= 0; i++) {
        if (!arrivals_make_room(&listener->arrivals)) {
            listener->crowded = true;
            uv_poll_stop(&listener->watcher);
            return;
        }
        int result = accept_one(listener);
        if (result == -EAGAIN) {
            listener->lagging = false;
            return;
        }
        if (is_shortage(result)) {
            pause_accepting(listener, result);
            return;
        }
        /* Any other error is one connection's: it died in the backlog. */
    }
}

/* ---- opening ---- */

/* A socket that is bound to the address, or -errno. */
static int bind_at(const struct addrinfo *at, const struct tcp_options *options)
{
    int fd = socket(at->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    int on = 1, off = 0;
    bool done = setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0;
    if (done && at->ai_family == AF_INET6)
        done = setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)) == 0;
    /* Buffers of accepted sockets are those of the listening one. */
    if (done && options->sndbuf)
        done = setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &options->sndbuf, sizeof(options->sndbuf)) == 0;
    if (done && options->recbuf)
        done = setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &options->recbuf, sizeof(options->recbuf)) == 0;
    if (done && bind(fd, at->ai_addr, at->ai_addrlen) == 0)
        return fd;
    int error = -errno;
    close(fd);
    return error;
}

/* The first address of `host` that can be bound to; -errno of the last one otherwise. */
static int bind_to(const char *host, const struct listener_options *options, const char **reason)
{
    char service[8];
    snprintf(service, sizeof(service), "%u", (unsigned)options->port);
    struct addrinfo hints = {
        .ai_socktype = SOCK_STREAM,
        .ai_flags = AI_PASSIVE | AI_NUMERICSERV,
    };
    struct addrinfo *found = NULL;
    int code = getaddrinfo(host, service, &hints, &found);
    if (code != 0) {
        *reason = gai_strerror(code);
        return -EADDRNOTAVAIL;
    }
    int fd = -EADDRNOTAVAIL;
    for (struct addrinfo *at = found; at && fd < 0; at = at->ai_next)
        fd = bind_at(at, &options->tcp);
    freeaddrinfo(found);
    if (fd < 0)
        *reason = strerror(-fd);
    return fd;
}

/* Both families on one socket where there is IPv6; a port that is taken is no reason to do with
 * less. */
static int bind_to_all(const struct listener_options *options, const char **reason)
{
    int fd = bind_to("::", options, reason);
    if (fd == -EAFNOSUPPORT || fd == -EADDRNOTAVAIL)
        fd = bind_to("0.0.0.0", options, reason);
    return fd;
}

static int refuse(const struct listener_options *options, const char *reason, int status, char *error,
                  size_t error_size)
{
    assert(status < 0);
    snprintf(error, error_size, "cannot listen on %s port %u: %s",
             options->host[0] ? options->host : "all addresses", (unsigned)options->port, reason);
    return status;
}

int listener_bind(const struct listener_options *options, char *error, size_t error_size)
{
    const char *reason = NULL, *host = options->host;
    int fd = host[0] ? bind_to(host, options, &reason) : bind_to_all(options, &reason);
    return fd < 0 ? refuse(options, reason, fd, error, error_size) : fd;
}

static void init_timer(struct listener *listener, uv_timer_t *timer)
{
    int result = uv_timer_init(loop_uv(listener->loop), timer);
    assert(result == 0);
    listener->open_handles++;
}

int listener_open(struct listener **listener, struct loop *loop, const struct listener_options *options,
                  char *error, size_t error_size)
{
    assert(options->on_accept != NULL && options->tcp.backlog > 0);
    int fd = options->fd > 0 ? options->fd : listener_bind(options, error, error_size);
    if (fd < 0)
        return fd;
    if (listen(fd, options->tcp.backlog) < 0) {
        int status = -errno;
        close(fd);
        return refuse(options, strerror(-status), status, error, error_size);
    }
    struct listener *l = mem_zalloc(sizeof(*l));
    *l = (struct listener){.loop = loop, .fd = fd, .clients_end = clients_end()};
    arrivals_init(&l->arrivals, loop, options);
    l->arrivals.on_leave = handle_leave;
    l->arrivals.owner = l;
    union address local = {0};
    socklen_t size = sizeof(local);
    char text[64];
    int result = getsockname(fd, &local.any, &size);
    assert(result == 0);
    l->port = address_text(&local, text, sizeof(text));
    result = uv_poll_init_socket(loop_uv(loop), &l->watcher, fd);
    if (result < 0) {
        snprintf(error, error_size, "cannot watch port %u: %s", (unsigned)l->port, uv_strerror(result));
        close(fd);
        mem_free(l);
        return result;
    }
    l->open_handles = 1;
    init_timer(l, &l->retry);
    init_timer(l, &l->expiry);
    watch(l);
    *listener = l;
    return 0;
}

void listener_on_pause(struct listener *listener, void (*on_pause)(void *arg, int error))
{
    listener->on_pause = on_pause;
}

uint16_t listener_port(const struct listener *listener)
{
    return listener->port;
}

static void handle_closed(uv_handle_t *handle)
{
    struct listener *listener = handle->data;
    assert(listener->open_handles > 0);
    listener->open_handles--;
    free_if_done(listener);
}

void listener_close(struct listener **listener)
{
    struct listener *l = *listener;
    uv_handle_t *handles[] = {(uv_handle_t *)&l->watcher, (uv_handle_t *)&l->retry,
                              (uv_handle_t *)&l->expiry};
    *listener = NULL;
    assert(l->fd >= 0 && l->open_handles == (int)array_size(handles));
    int fd = l->fd;
    l->fd = -1;
    for (size_t i = 0; i < array_size(handles); i++) {
        handles[i]->data = l;
        uv_close(handles[i], handle_closed);
    }
    close(fd);
    arrivals_close(&l->arrivals);
}
