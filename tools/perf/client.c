/* client.c - one AMQP connection: frames in and out, and calls that wait for their answer.
 * Failure: the first reason stays in client.error; the connection is then only good for client_close. */
#include "tools/perf/client.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "tools/perf/secure.h"

enum { READ_SIZE = 16 * 1024, PIPELINE_DEPTH = 2000, CLOSE_TIMEOUT_MS = 3000 };

void client_init(struct client *c, uint64_t timeout_ms)
{
    assert(timeout_ms > 0);
    *c = (struct client){.fd = -1, .frame_max = FRAME_MIN_SIZE, .timeout_ms = timeout_ms};
}

bool client_fail(struct client *c, const char *format, ...)
{
    va_list args;
    if (c->error[0])
        return false;
    va_start(args, format);
    vsnprintf(c->error, sizeof(c->error), format, args);
    va_end(args);
    assert(c->error[0]);
    return false;
}

bool client_fail_errno(struct client *c, int error)
{
    if (error == 0)
        return client_fail(c, "the broker closed the connection without a word");
    return client_fail(c, "the connection broke: %s", strerror(error));
}

bool client_fail_method(struct client *c, struct slice payload)
{
    struct method m;
    struct fault f;
    if (!method_decode(payload, &m, &f))
        return client_fail(c, "the broker sent a malformed method: %s", f.text);
    if (m.id == METHOD_connection_close)
        return client_fail(c, "the broker closed the connection: %u %.*s", m.connection_close.reply_code,
                           SLICE_ARG(m.connection_close.reply_text));
    if (m.id == METHOD_channel_close)
        return client_fail(c, "the broker closed the channel: %u %.*s", m.channel_close.reply_code,
                           SLICE_ARG(m.channel_close.reply_text));
    if (m.id == METHOD_basic_cancel)
        return client_fail(c, "the broker cancelled consumer %.*s (queue deleted?)",
                           SLICE_ARG(m.basic_cancel.consumer_tag));
    return client_fail(c, "the broker sent an unexpected %s", method_name(m.id));
}

void client_put(struct client *c, uint16_t channel, const struct method *m)
{
    uint8_t *at = buf_reserve(&c->out, CLIENT_METHOD_MAX + FRAME_OVERHEAD);
    struct writer w = writer_of(at + FRAME_HEAD_SIZE, CLIENT_METHOD_MAX);
    method_encode(&w, m);
    assert(!w.bad);
    uint32_t size = (uint32_t)(w.at - at - FRAME_HEAD_SIZE);
    frame_write_head(at, FRAME_METHOD, channel, size);
    *w.at = FRAME_END;
    c->out.len += size + FRAME_OVERHEAD;
}

int client_write(struct client *c)
{
    assert(c->out_at <= c->out.len);
    while (c->out_at < c->out.len) {
        ssize_t n = secure_write(c, c->out.at + c->out_at, c->out.len - c->out_at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN ? 0 : -errno;
        c->out_at += (size_t)n;
    }
    c->out.len = c->out_at = 0;
    return 0;
}

/* Waits until the socket is ready for `events`; false after the time-out. */
static bool wait_ready(struct client *c, short events, uint64_t deadline_ns)
{
    if ((events & POLLIN) && secure_pending(c))
        return true;
    for (;;) {
        uint64_t now = clock_now_ns();
        if (now >= deadline_ns)
            return client_fail(c, "no answer from the broker within %.1f s", (double)c->timeout_ms / 1000);
        struct pollfd p = {.fd = c->fd, .events = events};
        int n = poll(&p, 1, (int)((deadline_ns - now) / 1000000) + 1);
        if (n > 0)
            return true;
        if (n < 0 && errno != EINTR)
            return client_fail_errno(c, errno);
    }
}

static uint64_t deadline_of(const struct client *c)
{
    return clock_now_ns() + c->timeout_ms * 1000000;
}

/* Reads what is there; 0 bytes is no failure, the end of the stream is. */
static bool read_more(struct client *c)
{
    if (c->in_at == c->in.len)
        c->in_at = c->in.len = 0;
    else if (c->in_at > READ_SIZE) {
        buf_consume(&c->in, c->in_at);
        c->in_at = 0;
    }
    ssize_t n = secure_read(c, buf_reserve(&c->in, READ_SIZE), READ_SIZE);
    if (n == 0)
        return client_fail_errno(c, 0);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR || client_fail_errno(c, errno);
    c->in.len += (size_t)n;
    return true;
}

bool client_flush(struct client *c)
{
    uint64_t deadline = deadline_of(c);
    for (;;) {
        int error = client_write(c);
        if (error)
            return client_fail_errno(c, -error);
        if (c->out.len == 0)
            return true;
        if (!wait_ready(c, POLLOUT, deadline))
            return false;
    }
}

/* Takes the next frame out of the in-buffer; *frame.payload.at is NULL when none is complete. */
static bool take_frame(struct client *c, struct frame *frame)
{
    struct fault f;
    size_t used = 0;
    *frame = (struct frame){0};
    if (c->in_at == c->in.len)
        return true;
    struct slice in = slice_of(c->in.at + c->in_at, c->in.len - c->in_at);
    switch (frame_cut(in, c->frame_max, frame, &used, &f)) {
    case FRAME_COMPLETE:
        c->in_at += used;
        return true;
    case FRAME_NEEDS_MORE:
        *frame = (struct frame){0};
        return true;
    case FRAME_BAD:
        break;
    }
    if (in.len >= 4 && memcmp(in.at, "AMQP", 4) == 0)
        return client_fail(c, "the broker does not speak AMQP 0-9-1");
    return client_fail(c, "the broker sent a bad frame: %s", f.text);
}

bool client_receive(struct client *c, struct frame *frame)
{
    uint64_t deadline = deadline_of(c);
    for (;;) {
        if (!take_frame(c, frame))
            return false;
        if (frame->payload.at && frame->type != FRAME_HEARTBEAT)
            return true;
        if (!frame->payload.at && (!wait_ready(c, POLLIN, deadline) || !read_more(c)))
            return false;
    }
}

/* Waits for a method; content that a consumer did not take any more is passed over. */
static bool receive_method(struct client *c, uint32_t id, struct method *m)
{
    struct frame frame;
    struct fault f;
    for (;;) {
        if (!client_receive(c, &frame))
            return false;
        if (frame.type != FRAME_METHOD)
            continue;
        if (!method_decode(frame.payload, m, &f))
            return client_fail_method(c, frame.payload);
        if (m->id == id)
            return true;
        bool passing = method_has_content(m->id) || m->id == METHOD_basic_ack ||
                       m->id == METHOD_connection_blocked || m->id == METHOD_connection_unblocked;
        if (!passing)
            return client_fail_method(c, frame.payload);
    }
}

bool client_call(struct client *c, const struct method *m, uint32_t reply_id, struct method *reply)
{
    struct method ignored;
    uint16_t channel = m->id >> 16 == 10 ? 0 : CLIENT_CHANNEL;
    client_put(c, channel, m);
    return client_flush(c) && receive_method(c, reply_id, reply ? reply : &ignored);
}

bool client_pipeline(struct client *c, uint64_t count, void (*make)(struct method *m, uint64_t i, void *arg),
                     void *arg, uint32_t reply_id)
{
    struct method m;
    uint64_t sent = 0;
    for (uint64_t answered = 0; answered < count; answered++) {
        if (sent < count && sent - answered <= PIPELINE_DEPTH / 2) {
            for (; sent < count && sent - answered < PIPELINE_DEPTH; sent++) {
                make(&m, sent, arg);
                client_put(c, CLIENT_CHANNEL, &m);
            }
            if (!client_flush(c))
                return false;
        }
        if (!receive_method(c, reply_id, &m))
            return false;
    }
    return true;
}

void client_drop(struct client *c)
{
    secure_close(c);
    if (c->fd >= 0)
        close(c->fd);
    buf_free(&c->in);
    buf_free(&c->out);
    c->fd = -1;
    c->in_at = c->out_at = 0;
}

void client_close(struct client *c)
{
    if (c->fd >= 0 && !c->error[0]) {
        struct method close_method = {.id = METHOD_connection_close,
                                      .connection_close = {.reply_code = 200, .reply_text = SLICE("bye")}};
        if (c->timeout_ms > CLOSE_TIMEOUT_MS)
            c->timeout_ms = CLOSE_TIMEOUT_MS;
        if (!client_call(c, &close_method, METHOD_connection_close_ok, NULL))
            fprintf(stderr, "leveret-perf: closing a connection: %s\n", c->error);
    }
    client_drop(c);
}
