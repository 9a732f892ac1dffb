/* worker.c - the loop of a thread that drives links.
 * A link is in worker.running while it has something to do, else it waits for its socket or in the
 * schedule. */
#include "tools/perf/worker.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/mem.h"

enum { EVENTS_MAX = 256 };

void control_notify(struct control *control)
{
    ssize_t n = write(control->event_fd, &(uint64_t){1}, sizeof(uint64_t));
    assert(n == sizeof(uint64_t));
}

void control_fail(struct control *control, const char *error)
{
    pthread_mutex_lock(&control->mutex);
    if (!control->error[0])
        snprintf(control->error, sizeof(control->error), "%s", error);
    pthread_mutex_unlock(&control->mutex);
    atomic_store(&control->phase, PHASE_STOP);
    control_notify(control);
}

int worker_init(struct worker *w, struct control *control)
{
    *w = (struct worker){.control = control, .epoll_fd = -1, .wake_fd = -1};
    list_init(&w->links);
    list_init(&w->running);
    w->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (w->epoll_fd < 0)
        return -errno;
    w->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (w->wake_fd < 0)
        return -errno;
    struct epoll_event event = {.events = EPOLLIN};
    return epoll_ctl(w->epoll_fd, EPOLL_CTL_ADD, w->wake_fd, &event) ? -errno : 0;
}

static void run_link(struct worker *w, struct link *link)
{
    if (heap_linked(&link->due))
        heap_remove(&w->schedule, &link->due);
    if (!list_linked(&link->run))
        list_push_back(&w->running, &link->run);
}

int worker_add(struct worker *w, struct link *link)
{
    assert(!link->worker && link->turn && link->client.fd >= 0);
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = link};
    if (epoll_ctl(w->epoll_fd, EPOLL_CTL_ADD, link->client.fd, &event))
        return -errno;
    link->worker = w;
    link->readable = link->writable = true;
    link->scan.frame_max = link->client.frame_max;
    list_push_back(&w->links, &link->node);
    run_link(w, link);
    return 0;
}

static void run_all(struct worker *w)
{
    uint64_t ignored;
    if (read(w->wake_fd, &ignored, sizeof(ignored)) < 0)
        assertf(errno == EAGAIN, "%s", strerror(errno));
    list_each(node, &w->links)
        run_link(w, container_of(node, struct link, node));
}

/* Waits for sockets or the schedule; not at all while links are running. */
static int wait_events(struct worker *w, struct epoll_event *events)
{
    struct timespec span = {0}, *timeout = &span;
    struct heap_node *first = heap_min(&w->schedule);
    if (list_empty(&w->running) && first) {
        uint64_t now = clock_now_ns(), wait = first->key > now ? first->key - now : 0;
        span = (struct timespec){.tv_sec = (time_t)(wait / 1000000000), .tv_nsec = (long)(wait % 1000000000)};
    } else if (list_empty(&w->running)) {
        timeout = NULL;
    }
    int n = epoll_pwait2(w->epoll_fd, events, EVENTS_MAX, timeout, NULL);
    assertf(n >= 0 || errno == EINTR, "%s", strerror(errno));
    return n;
}

static void take_events(struct worker *w)
{
    struct epoll_event events[EVENTS_MAX];
    int n = wait_events(w, events);
    for (int i = 0; i < n; i++) {
        struct link *link = events[i].data.ptr;
        if (!link) {
            run_all(w);
            continue;
        }
        link->readable |= (events[i].events & ~(uint32_t)EPOLLOUT) != 0;
        link->writable |= (events[i].events & EPOLLOUT) != 0;
        run_link(w, link);
    }
    struct heap_node *first = heap_min(&w->schedule);
    if (!first)
        return;
    for (uint64_t now = clock_now_ns(); first && first->key <= now; first = heap_min(&w->schedule))
        run_link(w, container_of(first, struct link, due));
}

static void give_turns(struct worker *w)
{
    struct list turns;
    list_init(&turns);
    list_splice_back(&turns, &w->running);
    while (!list_empty(&turns)) {
        struct link *link = container_of(list_pop_front(&turns), struct link, run);
        switch (link->turn(link)) {
        case TURN_AGAIN:
            list_push_back(&w->running, &link->run);
            break;
        case TURN_DUE:
            heap_push(&w->schedule, &link->due);
            break;
        case TURN_WAIT:
            break;
        case TURN_FAILED:
            control_fail(w->control, link->client.error);
            break;
        }
    }
}

static void *run_worker(void *arg)
{
    struct worker *w = arg;
    prctl(PR_SET_TIMERSLACK, 1000);
    while (control_phase(w->control) != PHASE_STOP) {
        take_events(w);
        give_turns(w);
    }
    return NULL;
}

int worker_start(struct worker *w)
{
    int error = pthread_create(&w->thread, NULL, run_worker, w);
    w->started = error == 0;
    return -error;
}

void worker_wake(struct worker *w)
{
    ssize_t n = write(w->wake_fd, &(uint64_t){1}, sizeof(uint64_t));
    assert(n == sizeof(uint64_t));
}

void worker_join(struct worker *w)
{
    assert(control_phase(w->control) == PHASE_STOP);
    if (!w->started)
        return;
    worker_wake(w);
    pthread_join(w->thread, NULL);
    w->started = false;
}

void worker_free(struct worker *w)
{
    assert(!w->started);
    if (w->epoll_fd >= 0)
        close(w->epoll_fd);
    if (w->wake_fd >= 0)
        close(w->wake_fd);
    heap_free(&w->schedule);
    w->epoll_fd = w->wake_fd = -1;
}
