/* worker.h - a thread that drives connections with epoll (edge-triggered): each connection is a link, whose
 * turn function does what can be done now. Whoever starts workers owns them and their links; while a worker
 * runs, its links belong to its thread. */
#ifndef PERF_WORKER_H
#define PERF_WORKER_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/heap.h"
#include "base/list.h"
#include "tools/perf/client.h"
#include "tools/perf/histogram.h"
#include "tools/perf/scan.h"

enum phase {
    PHASE_RUN,
    PHASE_DRAIN, /* nothing is published any more */
    PHASE_STOP,  /* workers end */
};

enum count {
    COUNT_SENT,
    COUNT_CONFIRMED,
    COUNT_NACKED,
    COUNT_RETURNED,
    COUNT_RECEIVED,
    COUNT_KINDS,
};

/* Shared by the main thread and all workers. */
struct control {
    _Atomic int phase;
    _Atomic uint64_t producers_left, consumers_left; /* not yet finished */
    _Atomic bool blocked;                            /* the broker sent connection.blocked */
    int event_fd;                                    /* wakes the main thread */
    uint64_t start_ns;                               /* of rated publishing */
    pthread_mutex_t mutex;
    char error[CLIENT_ERROR_MAX]; /* the first failure; under the mutex */
};

struct worker {
    struct control *control;
    pthread_t thread;
    bool started;
    int epoll_fd, wake_fd;
    struct list links, running;
    struct heap schedule; /* links that wait for their time; key in ns */
    _Atomic uint64_t counts[COUNT_KINDS];
    struct histogram latency, confirm;
};

enum turn {
    TURN_AGAIN,  /* there is more to do now */
    TURN_WAIT,   /* until the socket is ready */
    TURN_DUE,    /* until link.due.key, or the socket is ready */
    TURN_FAILED, /* client.error says why */
};

struct link {
    struct client client;
    struct scan scan;
    struct worker *worker; /* NULL until added */
    struct list node, run; /* in worker.links and worker.running */
    struct heap_node due;
    bool readable, writable;
    enum turn (*turn)(struct link *link);
};

int worker_init(struct worker *w, struct control *control) __attribute__((warn_unused_result));
/* The link's connection is open; the worker has not been started. */
int worker_add(struct worker *w, struct link *link) __attribute__((warn_unused_result));
int worker_start(struct worker *w) __attribute__((warn_unused_result));
/* Lets every link look at the phase. */
void worker_wake(struct worker *w);
/* The phase must be PHASE_STOP. */
void worker_join(struct worker *w);
void worker_free(struct worker *w);

/* Adds to a counter of the calling worker. */
static inline void worker_count(struct worker *w, enum count kind, uint64_t n)
{
    uint64_t count = atomic_load_explicit(&w->counts[kind], memory_order_relaxed);
    atomic_store_explicit(&w->counts[kind], count + n, memory_order_relaxed);
}

static inline enum phase control_phase(struct control *control)
{
    return (enum phase)atomic_load_explicit(&control->phase, memory_order_relaxed);
}

/* Wakes the main thread. */
void control_notify(struct control *control);
/* Keeps the first failure and ends the run. */
void control_fail(struct control *control, const char *error);

/* Reads once, at most `size` bytes, into the in-buffer and points the scan at all that is there; false:
 * failed. */
bool link_read(struct link *link, size_t size);
/* Keeps what the scan did not use for the next link_read. */
void link_keep_rest(struct link *link);
/* Writes what is in the out-buffer as far as it goes. */
bool link_write(struct link *link);
/* What every link answers alike: connection.blocked, channel.flow; false for a close or the unexpected. */
bool link_take_method(struct link *link, struct slice payload);
/* Says goodbye after the worker has ended, passing over what still comes. Frees the buffers. */
void link_close(struct link *link);

#endif
