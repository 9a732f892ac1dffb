/* idle.c - holds many connections with a channel each: the broker's memory per connection. */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "base/assert.h"
#include "base/mem.h"
#include "tools/perf/modes.h"
#include "tools/perf/proc.h"
#include "tools/perf/result.h"
#include "tools/perf/signals.h"

struct idle {
    const struct options *options;
    struct client *clients;
    uint64_t opened, died;
    double open_seconds;
    uint64_t rss_before, rss_after;
    char error[CLIENT_ERROR_MAX + 64];
};

/* A client that only waits needs no buffers. */
static void trim(struct client *c)
{
    assert(c->out.len == 0);
    buf_free(&c->in);
    buf_free(&c->out);
    c->in_at = c->out_at = 0;
}

static uint64_t broker_rss(const struct idle *idle)
{
    struct proc_usage usage;
    uint64_t pid = idle->options->run.broker_pid;
    return pid && proc_read(pid, &usage) ? usage.rss_bytes : 0;
}

static bool open_all(struct idle *idle, struct signals *signals)
{
    uint64_t start = clock_now_ns(), count = idle->options->run.connections;
    for (; idle->opened < count && signals->caught == 0; idle->opened++) {
        struct client *c = &idle->clients[idle->opened];
        client_init(c, (uint64_t)(idle->options->run.timeout * 1000));
        if (!client_open(c, &idle->options->uri) || !client_open_channel(c)) {
            snprintf(idle->error, sizeof(idle->error), "connection %" PRIu64 ": %s", idle->opened + 1,
                     c->error);
            client_drop(c);
            return false;
        }
        trim(c);
        if (idle->opened % 64 == 0)
            signals_wait(signals, -1, 0);
    }
    idle->open_seconds = (double)(clock_now_ns() - start + 1) / 1e9;
    return true;
}

static void hold(struct idle *idle, struct signals *signals)
{
    uint64_t end = clock_now_ns() + (uint64_t)(idle->options->run.seconds * 1e9);
    while (clock_now_ns() < end && signals->caught == 0)
        signals_wait(signals, -1, end);
    idle->rss_after = broker_rss(idle);
}

/* Counts the connections that the broker has ended meanwhile, and closes all. */
static void close_all(struct idle *idle)
{
    for (uint64_t i = 0; i < idle->opened; i++) {
        uint8_t first;
        ssize_t n = recv(idle->clients[i].fd, &first, 1, MSG_PEEK | MSG_DONTWAIT);
        bool heartbeat = n == 1 && (first == FRAME_HEARTBEAT || idle->clients[i].tls);
        bool alive = (n < 0 && errno == EAGAIN) || heartbeat;
        idle->died += !alive;
        if (alive)
            client_close(&idle->clients[i]);
        else
            client_drop(&idle->clients[i]);
    }
}

static void print_result(FILE *out, const struct idle *idle, const char *server)
{
    const struct options *o = idle->options;
    double n = (double)idle->opened;
    double each = idle->opened ? ((double)idle->rss_after - (double)idle->rss_before) / n : 0;
    fprintf(out, "\n%s, %s:%s\n", server, o->uri.host, o->uri.port);
    fprintf(out, "opened     %" PRIu64 " connections with a channel in %.2f s, %.0f/s; %" PRIu64 " died\n",
            idle->opened, idle->open_seconds, n / idle->open_seconds, idle->died);
    if (idle->rss_after)
        fprintf(out, "broker     %.1f MB before, %.1f MB after: %.0f bytes a connection\n",
                (double)idle->rss_before / 1e6, (double)idle->rss_after / 1e6, each);
    if (!o->run.json)
        return;
    printf("{\"mode\":\"idle\",\"broker\":");
    report_json_string(stdout, server);
    printf(",\"connections\":%" PRIu64 ",\"died\":%" PRIu64 ",\"opened_per_second\":%.1f", idle->opened,
           idle->died, n / idle->open_seconds);
    if (idle->rss_after)
        printf(",\"broker_rss_before_bytes\":%" PRIu64 ",\"broker_rss_bytes\":%" PRIu64
               ",\"bytes_per_connection\":%.0f", idle->rss_before, idle->rss_after, each);
    printf(",\"ok\":%s}\n", idle->died ? "false" : "true");
}

bool mode_idle(const struct options *options, FILE *out)
{
    struct idle idle = {.options = options};
    struct signals signals;
    int error = signals_init(&signals);
    assertf(error == 0, "%s", strerror(-error));
    idle.clients = mem_zalloc(options->run.connections * sizeof(*idle.clients));
    idle.rss_before = broker_rss(&idle);
    bool ok = open_all(&idle, &signals);
    if (ok) {
        hold(&idle, &signals);
        char server[sizeof(idle.clients[0].server)];
        memcpy(server, idle.clients[0].server, sizeof(server));
        close_all(&idle);
        print_result(out, &idle, server);
    } else {
        fprintf(stderr, "leveret-perf: %s\n", idle.error);
        close_all(&idle);
    }
    mem_free(idle.clients);
    signals_free(&signals);
    return ok && idle.died == 0;
}
