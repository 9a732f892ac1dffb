/* loop.h - the event loop (libuv): sockets, the wake-up from other threads, signals, and the time to sleep. */
#ifndef NET_LOOP_H
#define NET_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/timer.h"
#include "net/net.h"

struct loop;

/* on_signal runs inside loop_poll, for SIGTERM, SIGINT and SIGHUP. SIGPIPE is ignored. */
struct loop *loop_new(void (*on_signal)(void *arg, int signal), void *arg);
void loop_free(struct loop **loop);

/* Waits for events until one comes or `timeout_ms` is over (0 = do not wait, -1 = no limit), and lets the streams
 * handle theirs. */
void loop_poll(struct loop *loop, int timeout_ms);
/* From any thread: makes a waiting loop_poll return. */
void loop_wake(struct loop *loop);

#endif
