/* loop.h - the event loop (libuv): sockets, the wake-up from other threads, signals, and the time
 * to sleep. */
#ifndef NET_LOOP_H
#define NET_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/timer.h"
#include "net/net.h"

struct loop;

/* The loop runs `net`'s deferred streams and outlives no stream of it. on_signal runs inside
 * loop_poll, for SIGTERM, SIGINT, SIGHUP and SIGUSR1. SIGPIPE is ignored. */
struct loop *loop_new(struct net *net, void (*on_signal)(void *arg, int signal), void *arg);
/* All listeners and streams must have been closed. */
void loop_free(struct loop **loop);

/* Waits for events until one comes or `timeout_ms` is over (0 = do not wait, -1 = no limit), and
 * lets the streams handle theirs. May return earlier; does not wait while the net has something to
 * flush or to offer again. */
void loop_poll(struct loop *loop, int timeout_ms);
/* From any thread: makes a waiting loop_poll return, or the next one not wait. */
void loop_wake(struct loop *loop);

/* For net/: libuv's own loop. */
struct uv_loop_s *loop_uv(struct loop *loop);

#endif
