/* loop.c - the event loop.
 *
 * Owner: the server. One thread, but for loop_wake. One loop_poll is one run of libuv's loop: one
 * epoll_wait, then each ready socket once, in tcp.c and listener.c. Failure modes: without
 * descriptors for the loop itself there is no server: it panics with the reason. */
#include "net/loop.h"

#include <signal.h>
#include <stdatomic.h>
#include <uv.h>

#include "base/assert.h"
#include "base/mem.h"
#include "net/carrier.h"
#include "net/worker.h"

static const int watched_signals[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1};

struct loop {
    uv_loop_t uv;
    uv_async_t wake;
    uv_timer_t limit; /* ends a wait */
    /* Who wakes sets `woken`, then looks if the loop `waits`; who is about to wait does it the other way
     * round: one of both sees the other, and a loop that is awake costs nobody a system call. */
    atomic_bool woken, waits;
    uv_signal_t signals[array_size(watched_signals)];
    struct net *net;
    void (*on_signal)(void *arg, int signal);
    void *arg;
};

static void must(int result, const char *what)
{
    if (result < 0)
        panic("cannot %s: %s", what, uv_strerror(result));
}

static void handle_signal(uv_signal_t *handle, int signal)
{
    struct loop *loop = handle->data;
    assert(loop->on_signal != NULL);
    loop->on_signal(loop->arg, signal);
}

/* Being woken, or the limit being over, is all there is to it. */
static void handle_wake(uv_async_t *handle)
{
    (void)handle;
}

static void handle_limit(uv_timer_t *handle)
{
    (void)handle;
}

struct loop *loop_new(struct net *net, void (*on_signal)(void *arg, int signal), void *arg)
{
    assert(net != NULL && on_signal != NULL);
    struct loop *loop = mem_zalloc(sizeof(*loop));
    loop->net = net;
    loop->on_signal = on_signal;
    loop->arg = arg;
    signal(SIGPIPE, SIG_IGN);
    must(uv_loop_init(&loop->uv), "make an event loop");
    must(uv_async_init(&loop->uv, &loop->wake, handle_wake), "make a wake-up");
    must(uv_timer_init(&loop->uv, &loop->limit), "make a timer");
    for (size_t i = 0; i < array_size(watched_signals); i++) {
        must(uv_signal_init(&loop->uv, &loop->signals[i]), "watch signals");
        loop->signals[i].data = loop;
        must(uv_signal_start(&loop->signals[i], handle_signal, watched_signals[i]), "watch a signal");
    }
    return loop;
}

static void assert_closing(uv_handle_t *handle, void *arg)
{
    (void)arg;
    assertf(uv_is_closing(handle), "a %s outlives its loop", uv_handle_type_name(handle->type));
}

void loop_free(struct loop **loop)
{
    struct loop *l = *loop;
    *loop = NULL;
    uv_close((uv_handle_t *)&l->wake, NULL);
    uv_close((uv_handle_t *)&l->limit, NULL);
    for (size_t i = 0; i < array_size(watched_signals); i++)
        uv_close((uv_handle_t *)&l->signals[i], NULL);
    uv_walk(&l->uv, assert_closing, NULL);
    uv_run(&l->uv, UV_RUN_DEFAULT); /* the closed callbacks, which free the sockets */
    int result = uv_loop_close(&l->uv);
    assertf(result == 0, "the loop is still busy: %s", uv_strerror(result));
    mem_free(l);
}

void loop_poll(struct loop *loop, int timeout_ms)
{
    bool wait = timeout_ms != 0 && net_is_idle(loop->net);
    loop->net->has_placed = false;
    net_run_deferred(loop->net);
    if (wait) {
        atomic_store(&loop->waits, true);
        wait = !atomic_load(&loop->woken);
    }
    if (wait && timeout_ms > 0) {
        /* Repeating: one that fires between here and epoll_wait must not leave that without a
         * limit. */
        uv_update_time(&loop->uv);
        must(uv_timer_start(&loop->limit, handle_limit, (uint64_t)timeout_ms, (uint64_t)timeout_ms),
             "start a timer");
    }
    uv_run(&loop->uv, wait ? UV_RUN_ONCE : UV_RUN_NOWAIT);
    atomic_store(&loop->waits, false);
    atomic_store(&loop->woken, false); /* what it was about is looked for from here on */
    if (loop->net->carrier)
        carrier_collect(loop->net->carrier);
    if (loop->net->worker)
        worker_collect(loop->net->worker);
    if (wait && timeout_ms > 0)
        must(uv_timer_stop(&loop->limit), "stop a timer");
}

void loop_wake(struct loop *loop)
{
    atomic_store(&loop->woken, true);
    if (atomic_load(&loop->waits))
        must(uv_async_send(&loop->wake), "wake the loop");
}

struct uv_loop_s *loop_uv(struct loop *loop)
{
    return &loop->uv;
}
