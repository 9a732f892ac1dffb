/* local.c - a listening Unix socket.
 *
 * Owner: the server, until local_close; then libuv, until its handles are closed. Failure modes: a peer that
 * goes before it is accepted is passed over; without file descriptors peers wait in the backlog, and it is
 * looked again a little later: the socket stays readable, so the loop would not sleep any more. */
#include "net/local.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <uv.h>

#include "base/assert.h"
#include "base/mem.h"
#include "net/tcp.h"

enum { LOCAL_MODE = 0600, LOCAL_BACKLOG = 128, LOCAL_ACCEPTS_MAX = 16 };

struct local {
    uv_poll_t watcher;
    uv_timer_t retry;
    struct loop *loop;
    int fd;
    int open_handles;
    accept_handler *on_accept;
    void *arg;
    char path[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
};

static void handle_ready(uv_poll_t *watcher, int status, int events);

static void watch(struct local *local)
{
    int result = uv_poll_start(&local->watcher, UV_READABLE, handle_ready);
    assertf(result == 0, "watching %d: %s", local->fd, uv_strerror(result));
}

static void handle_retry(uv_timer_t *retry)
{
    watch(container_of(retry, struct local, retry));
}

static void pause_accepting(struct local *local)
{
    uv_poll_stop(&local->watcher);
    int result = uv_timer_start(&local->retry, handle_retry, LISTENER_RETRY_MS, 0);
    assert(result == 0);
}

/* 0, or -errno: -EAGAIN when no more wait. */
static int accept_one(struct local *local)
{
    int fd = accept4(local->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    struct tcp *tcp;
    struct peer peer = {.loopback = true};
    if (fd < 0)
        return errno == EWOULDBLOCK ? -EAGAIN : -errno;
    int result = tcp_open(&tcp, local->loop, fd);
    if (result == 0)
        local->on_accept(local->arg, &tcp_transport, tcp, &peer);
    return result;
}

static void handle_ready(uv_poll_t *watcher, int status, int events)
{
    struct local *local = container_of(watcher, struct local, watcher);
    (void)events;
    for (int i = 0; i < LOCAL_ACCEPTS_MAX && local->fd >= 0; i++) {
        int result = status < 0 ? status : accept_one(local); /* then libuv has stopped watching */
        if (result == -EAGAIN)
            return;
        if (result < 0 && result != -ECONNABORTED && result != -EINTR) {
            pause_accepting(local);
            return;
        }
    }
}

/* Nobody listens on the socket file any more, or there is none: 0; else -errno. */
static int clear_path(const struct sockaddr_un *address)
{
    struct stat status;
    if (lstat(address->sun_path, &status) < 0)
        return errno == ENOENT ? 0 : -errno;
    if (!S_ISSOCK(status.st_mode))
        return -EEXIST;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    int result = connect(fd, (const struct sockaddr *)address, sizeof(*address));
    bool dead = result < 0 && errno == ECONNREFUSED;
    close(fd);
    if (!dead)
        return -EADDRINUSE;
    return unlink(address->sun_path) < 0 ? -errno : 0;
}

/* The mode is set before there is a file: nobody else can ever connect. */
static int listen_at(const struct sockaddr_un *address)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    if (fchmod(fd, LOCAL_MODE) == 0 && bind(fd, (const struct sockaddr *)address, sizeof(*address)) == 0 &&
        chmod(address->sun_path, LOCAL_MODE) == 0 && listen(fd, LOCAL_BACKLOG) == 0)
        return fd;
    int error = -errno;
    close(fd);
    return error;
}

int local_open(struct local **local, struct loop *loop, const char *path, accept_handler *on_accept,
               void *arg, char *error, size_t error_size)
{
    assert(on_accept != NULL);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t len = strlen(path);
    if (len == 0 || len >= sizeof(address.sun_path)) {
        snprintf(error, error_size, "a socket's path has 1 to %zu bytes, not the %zu of '%s'",
                 sizeof(address.sun_path) - 1, len, path);
        return -ENAMETOOLONG;
    }
    memcpy(address.sun_path, path, len);
    int fd = clear_path(&address);
    fd = fd < 0 ? fd : listen_at(&address);
    if (fd < 0) {
        snprintf(error, error_size, "cannot listen on the socket '%s': %s", path, strerror(-fd));
        return fd;
    }
    struct local *l = mem_zalloc(sizeof(*l));
    l->loop = loop, l->fd = fd, l->on_accept = on_accept, l->arg = arg;
    memcpy(l->path, path, len);
    int result = uv_poll_init_socket(loop_uv(loop), &l->watcher, fd);
    assertf(result == 0, "watching %d: %s", fd, uv_strerror(result));
    result = uv_timer_init(loop_uv(loop), &l->retry);
    assert(result == 0);
    l->open_handles = 2;
    watch(l);
    *local = l;
    return 0;
}

static void handle_closed(uv_handle_t *handle)
{
    struct local *local = handle->data;
    assert(local->open_handles > 0);
    if (--local->open_handles == 0)
        mem_free(local);
}

void local_close(struct local **local)
{
    struct local *l = *local;
    *local = NULL;
    assert(l->fd >= 0);
    uv_handle_t *handles[] = {(uv_handle_t *)&l->watcher, (uv_handle_t *)&l->retry};
    for (size_t i = 0; i < array_size(handles); i++) {
        handles[i]->data = l;
        uv_close(handles[i], handle_closed);
    }
    close(l->fd);
    l->fd = -1;
    (void)unlink(l->path);
}
