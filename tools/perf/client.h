/* client.h - one AMQP connection with at most one channel (number 1), used in two ways: with the calls here,
 * which wait (set-up and tidying), or by a worker, which reads and writes the socket itself.
 * Functions return false when they fail and leave the reason in client.error. */
#ifndef PERF_CLIENT_H
#define PERF_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/clock.h"
#include "protocol/frame.h"
#include "protocol/method.h"
#include "tools/perf/uri.h"

enum { CLIENT_CHANNEL = 1, CLIENT_ERROR_MAX = 600, CLIENT_METHOD_MAX = 64 * 1024 };

struct client {
    int fd;           /* -1: none; non-blocking */
    struct ssl_st *tls; /* NULL: plain */
    struct buf in;    /* bytes read; from in_at on they are not yet used */
    size_t in_at;
    struct buf out;   /* bytes to write; before out_at they are written */
    size_t out_at;
    uint32_t frame_max;
    uint64_t timeout_ms;
    char server[128]; /* product and version */
    char error[CLIENT_ERROR_MAX];
};

/* Must come first; `timeout_ms` bounds every wait. */
void client_init(struct client *c, uint64_t timeout_ms);
/* Connects, logs in and opens the vhost. */
bool client_open(struct client *c, const struct uri *uri);
bool client_open_channel(struct client *c);
/* Says goodbye if the connection still works, and frees everything. Safe on a client that never opened. */
void client_close(struct client *c);
/* Frees without a word. */
void client_drop(struct client *c);

/* Appends a method frame to the out-buffer. */
void client_put(struct client *c, uint16_t channel, const struct method *m);
/* Writes the out-buffer as far as the socket takes it; 0 or -errno, never -EAGAIN. */
int client_write(struct client *c) __attribute__((warn_unused_result));
/* Waits until everything is written. */
bool client_flush(struct client *c);
/* Waits for the next frame that is no heartbeat; it points into the in-buffer, until the next call. */
bool client_receive(struct client *c, struct frame *frame);
/* Sends the method on the channel and waits for `reply_id`; anything else but content fails. */
bool client_call(struct client *c, const struct method *m, uint32_t reply_id, struct method *reply);
/* Sends `count` methods made by `make` without waiting for each answer; `reply_id` must answer each. */
bool client_pipeline(struct client *c, uint64_t count, void (*make)(struct method *m, uint64_t i, void *arg),
                     void *arg, uint32_t reply_id);

/* Writes client.error and returns false. */
bool client_fail(struct client *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The error of an unexpected method: for a close, the broker's code and text. */
bool client_fail_method(struct client *c, struct slice payload);
/* The error of a socket call. */
bool client_fail_errno(struct client *c, int error);

#endif
