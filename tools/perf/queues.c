/* queues.c - declares many queues pipelined: rate, and the broker's memory per queue. */
#include <inttypes.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "tools/perf/modes.h"
#include "tools/perf/proc.h"
#include "tools/perf/result.h"
#include "tools/perf/topology.h"

struct queues_result {
    double declare_seconds, delete_seconds;
    uint64_t rss_before, rss_after;
};

static void print_result(FILE *out, const struct options *o, const struct client *c,
                         const struct queues_result *r)
{
    uint64_t queues = o->topology.queues;
    double each = ((double)r->rss_after - (double)r->rss_before) / (double)queues;
    fprintf(out, "\n%s, %s:%s\n", c->server, o->uri.host, o->uri.port);
    fprintf(out, "declared   %" PRIu64 " queues in %.3f s, %.0f/s\n", queues, r->declare_seconds,
            (double)queues / r->declare_seconds);
    if (r->delete_seconds > 0)
        fprintf(out, "deleted    in %.3f s, %.0f/s\n", r->delete_seconds, (double)queues / r->delete_seconds);
    if (r->rss_after)
        fprintf(out, "broker     %.1f MB before, %.1f MB after: %.0f bytes a queue\n",
                (double)r->rss_before / 1e6, (double)r->rss_after / 1e6, each);
    if (!o->run.json)
        return;
    printf("{\"mode\":\"queues\",\"broker\":");
    report_json_string(stdout, c->server);
    printf(",\"queues\":%" PRIu64 ",\"seconds\":%.6f,\"declared_per_second\":%.1f", queues,
           r->declare_seconds, (double)queues / r->declare_seconds);
    if (r->delete_seconds > 0)
        printf(",\"deleted_per_second\":%.1f", (double)queues / r->delete_seconds);
    if (r->rss_after)
        printf(",\"broker_rss_before_bytes\":%" PRIu64 ",\"broker_rss_bytes\":%" PRIu64
               ",\"bytes_per_queue\":%.0f", r->rss_before, r->rss_after, each);
    printf(",\"ok\":true}\n");
}

static double seconds_since(uint64_t start_ns)
{
    uint64_t now = clock_now_ns();
    assert(now >= start_ns);
    return (double)(now - start_ns + 1) / 1e9;
}

static bool measure(struct topology *t, struct client *c, struct queues_result *r)
{
    const struct options *o = t->options;
    struct proc_usage usage;
    if (!client_open(c, &o->uri) || !client_open_channel(c))
        return false;
    if (o->run.broker_pid && proc_read(o->run.broker_pid, &usage))
        r->rss_before = usage.rss_bytes;
    uint64_t start = clock_now_ns();
    if (!topology_declare_queues(t, c))
        return false;
    r->declare_seconds = seconds_since(start);
    if (o->run.broker_pid && proc_read(o->run.broker_pid, &usage))
        r->rss_after = usage.rss_bytes;
    start = clock_now_ns();
    if (!o->topology.remove)
        return true;
    if (!topology_delete_queues(t, c))
        return false;
    r->delete_seconds = seconds_since(start);
    return true;
}

bool mode_queues(const struct options *options, FILE *out)
{
    struct topology t;
    struct client c;
    struct queues_result r = {0};
    client_init(&c, (uint64_t)(options->run.timeout * 1000));
    bool ok = topology_init(&t, options) && measure(&t, &c, &r);
    if (ok)
        print_result(out, options, &c, &r);
    else if (c.error[0])
        fprintf(stderr, "leveret-perf: %s\n", c.error);
    client_close(&c);
    topology_free(&t);
    return ok;
}
