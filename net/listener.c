/* listener.c - listening TCP sockets.
 *
 * Owner: the server, until listener_close; then libuv, until both handles are closed. Failure
 * modes: without file descriptors it stops accepting for a moment and leaves clients in the
 * kernel's backlog; a connection that dies before it is accepted is passed over. */
#include "net/listener.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include "base/assert.h"
#include "base/mem.h"
#include "net/tcp.h"

struct listener {
    uv_poll_t watcher;
    uv_timer_t retry;
    struct loop *loop;
    int fd; /* -1 once closed */
    int open_handles;
    uint16_t port;
    bool lagging; /* paused, and not caught up since */
    accept_handler *on_accept;
    void (*on_pause)(void *arg, int error);
    void *arg;
};

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    struct sockaddr_storage storage;
};

/* ---- addresses ---- */

static uint16_t address_text(const union address *address, char *host, size_t size)
{
    bool v6 = address->any.sa_family == AF_INET6;
    bool mapped = v6 && IN6_IS_ADDR_V4MAPPED(&address->v6.sin6_addr);
    const uint8_t *number = v6 ? address->v6.sin6_addr.s6_addr + (mapped ? 12 : 0)
                               : (const uint8_t *)&address->v4.sin_addr;
    if (!inet_ntop(v6 && !mapped ? AF_INET6 : AF_INET, number, host, (socklen_t)size))
        snprintf(host, size, "unknown");
    return ntohs(v6 ? address->v6.sin6_port : address->v4.sin_port);
}

static bool address_is_loopback(const union address *address)
{
    if (address->any.sa_family == AF_INET)
        return ntohl(address->v4.sin_addr.s_addr) >> 24 == 127;
    const struct in6_addr *v6 = &address->v6.sin6_addr;
    return IN6_IS_ADDR_LOOPBACK(v6) || (IN6_IS_ADDR_V4MAPPED(v6) && v6->s6_addr[12] == 127);
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
    watch(container_of(retry, struct listener, retry));
}

static void pause_accepting(struct listener *listener, int error)
{
    uv_poll_stop(&listener->watcher);
    int result = uv_timer_start(&listener->retry, handle_retry, LISTENER_RETRY_MS, 0);
    assert(result == 0);
    bool first = !listener->lagging;
    listener->lagging = true;
    if (first && listener->on_pause)
        listener->on_pause(listener->arg, error);
}

static bool is_shortage(int error)
{
    return error == -EMFILE || error == -ENFILE || error == -ENOBUFS || error == -ENOMEM;
}

/* Accepts one connection. 0, or -errno: -EAGAIN when no more wait. */
static int accept_one(struct listener *listener)
{
    union address remote = {0};
    socklen_t size = sizeof(remote);
    int fd = accept4(listener->fd, &remote.any, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return errno == EWOULDBLOCK ? -EAGAIN : -errno;
    struct peer peer;
    fill_peer(&peer, fd, &remote);
    struct tcp *tcp;
    int result = tcp_open(&tcp, listener->loop, fd);
    if (result == 0)
        listener->on_accept(listener->arg, &tcp_transport, tcp, &peer);
    return result;
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

/* A listening socket at the address, or -errno. */
static int listen_at(const struct addrinfo *at)
{
    int fd = socket(at->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    int on = 1, off = 0;
    bool done = setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0;
    if (done && at->ai_family == AF_INET6)
        done = setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)) == 0;
    done = done && bind(fd, at->ai_addr, at->ai_addrlen) == 0 && listen(fd, LISTENER_BACKLOG) == 0;
    if (done)
        return fd;
    int error = -errno;
    close(fd);
    return error;
}

/* The first address of `host` that can be listened at; -errno of the last one otherwise. */
static int listen_on(const char *host, uint16_t port, const char **reason)
{
    char service[8];
    snprintf(service, sizeof(service), "%u", (unsigned)port);
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
        fd = listen_at(at);
    freeaddrinfo(found);
    if (fd < 0)
        *reason = strerror(-fd);
    return fd;
}

/* Both families on one socket where there is IPv6; a port that is taken is no reason to do with
 * less. */
static int listen_on_all(uint16_t port, const char **reason)
{
    int fd = listen_on("::", port, reason);
    if (fd == -EAFNOSUPPORT || fd == -EADDRNOTAVAIL)
        fd = listen_on("0.0.0.0", port, reason);
    return fd;
}

int listener_open(struct listener **listener, struct loop *loop, const char *host, uint16_t port,
                  accept_handler *on_accept, void *arg, char *error, size_t error_size)
{
    assert(on_accept != NULL);
    const char *reason = NULL;
    int fd = host[0] ? listen_on(host, port, &reason) : listen_on_all(port, &reason);
    if (fd < 0) {
        snprintf(error, error_size, "cannot listen on %s port %u: %s", host[0] ? host : "all addresses",
                 (unsigned)port, reason);
        return fd;
    }
    struct listener *l = mem_zalloc(sizeof(*l));
    *l = (struct listener){.loop = loop, .fd = fd, .on_accept = on_accept, .arg = arg};
    union address local = {0};
    socklen_t size = sizeof(local);
    char text[64];
    int result = getsockname(fd, &local.any, &size);
    assert(result == 0);
    l->port = address_text(&local, text, sizeof(text));
    result = uv_poll_init_socket(loop_uv(loop), &l->watcher, fd);
    if (result < 0) {
        snprintf(error, error_size, "cannot watch port %u: %s", (unsigned)port, uv_strerror(result));
        close(fd);
        mem_free(l);
        return result;
    }
    result = uv_timer_init(loop_uv(loop), &l->retry);
    assert(result == 0);
    l->open_handles = 2;
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
    if (--listener->open_handles == 0)
        mem_free(listener);
}

void listener_close(struct listener **listener)
{
    struct listener *l = *listener;
    *listener = NULL;
    assert(l->fd >= 0);
    l->watcher.data = l->retry.data = l;
    uv_close((uv_handle_t *)&l->watcher, handle_closed);
    uv_close((uv_handle_t *)&l->retry, handle_closed);
    close(l->fd);
    l->fd = -1;
}
