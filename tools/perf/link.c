/* link.c - what producers and consumers do alike with their connection. */
#include <errno.h>
#include <poll.h>

#include "base/assert.h"
#include "tools/perf/secure.h"
#include "tools/perf/worker.h"

enum { CLOSE_TIMEOUT_MS = 3000, CLOSE_READ_SIZE = 256 * 1024 };

bool link_read(struct link *link, size_t size)
{
    struct client *c = &link->client;
    ssize_t n = secure_read(c, buf_reserve(&c->in, size), size);
    if (n == 0)
        return client_fail_errno(c, 0);
    if (n < 0 && errno != EAGAIN && errno != EINTR)
        return client_fail_errno(c, errno);
    link->readable = n == (ssize_t)size || (n < 0 && errno == EINTR);
    if (n > 0)
        c->in.len += (size_t)n;
    link->scan.at = c->in.at + c->in_at;
    link->scan.end = c->in.at + c->in.len;
    return true;
}

void link_keep_rest(struct link *link)
{
    struct client *c = &link->client;
    assert(link->scan.end == c->in.at + c->in.len);
    buf_consume(&c->in, (size_t)(link->scan.at - c->in.at));
    c->in_at = 0;
}

bool link_write(struct link *link)
{
    int error = client_write(&link->client);
    if (error)
        return client_fail_errno(&link->client, -error);
    link->writable = link->client.out.len == 0;
    return true;
}

bool link_take_method(struct link *link, struct slice payload)
{
    struct method m;
    struct fault f;
    if (!method_decode(payload, &m, &f))
        return client_fail_method(&link->client, payload);
    if (m.id == METHOD_connection_blocked || m.id == METHOD_connection_unblocked) {
        atomic_store(&link->worker->control->blocked, m.id == METHOD_connection_blocked);
        return true;
    }
    if (m.id == METHOD_channel_flow) {
        struct method ok = {.id = METHOD_channel_flow_ok,
                            .channel_flow_ok = {.active = m.channel_flow.active}};
        client_put(&link->client, CLIENT_CHANNEL, &ok);
        return true;
    }
    return client_fail_method(&link->client, payload);
}

/* True when connection.close-ok has come, or anything that makes waiting pointless. */
static bool scan_close_ok(struct link *link)
{
    struct scan_event e;
    for (;;) {
        switch (scan_next(&link->scan, &e)) {
        case SCAN_MORE:
            link_keep_rest(link);
            return false;
        case SCAN_BAD:
            return true;
        case SCAN_METHOD:
            if (e.payload.len >= 4 && load_u32(e.payload.at) >= METHOD_connection_close &&
                load_u32(e.payload.at) <= METHOD_connection_close_ok)
                return true;
            break;
        case SCAN_DELIVER:
        case SCAN_RETURN:
        case SCAN_CONFIRM:
            break;
        }
    }
}

void link_close(struct link *link)
{
    struct client *c = &link->client;
    uint64_t deadline = clock_now_ns() + (uint64_t)CLOSE_TIMEOUT_MS * 1000000;
    struct method m = {.id = METHOD_connection_close,
                       .connection_close = {.reply_code = 200, .reply_text = SLICE("bye")}};
    bool open = c->fd >= 0 && !c->error[0];
    if (open)
        client_put(c, 0, &m);
    while (open && clock_now_ns() < deadline) {
        struct pollfd p = {.fd = c->fd, .events = (short)(POLLIN | (c->out.len ? POLLOUT : 0))};
        if (poll(&p, 1, 100) < 0 && errno != EINTR)
            break;
        if (!link_write(link) || !link_read(link, CLOSE_READ_SIZE) || scan_close_ok(link))
            break;
    }
    client_drop(c);
}
