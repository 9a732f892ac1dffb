/* signals.c - a signalfd, so that ctrl-C ends a run in order. */
#include "tools/perf/signals.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/assert.h"
#include "tools/perf/client.h"

int signals_init(struct signals *s)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    *s = (struct signals){.fd = -1};
    int error = pthread_sigmask(SIG_BLOCK, &set, NULL);
    if (error)
        return -error;
    s->fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    return s->fd < 0 ? -errno : 0;
}

void signals_free(struct signals *s)
{
    if (s->fd >= 0)
        close(s->fd);
    s->fd = -1;
}

void signals_wait(struct signals *s, int event_fd, uint64_t until_ns)
{
    struct pollfd p[2] = {{.fd = s->fd, .events = POLLIN}, {.fd = event_fd, .events = POLLIN}};
    struct signalfd_siginfo info;
    uint64_t now = clock_now_ns(), ignored;
    assert(s->fd >= 0);
    int timeout = until_ns > now ? (int)((until_ns - now) / 1000000) + 1 : 0;
    if (poll(p, 2, timeout) <= 0)
        return;
    while (read(s->fd, &info, sizeof(info)) == sizeof(info))
        s->caught++;
    if (p[1].revents && read(event_fd, &ignored, sizeof(ignored)) < 0)
        assert(errno == EAGAIN);
}
