/* report.c - what a user reads: a line a second and the summary. */
#include <inttypes.h>
#include <stdio.h>

#include "base/assert.h"
#include "base/mem.h"
#include "tools/perf/result.h"

const char *report_number(uint64_t n, char *text)
{
    char digits[24];
    int len = snprintf(digits, sizeof(digits), "%" PRIu64, n), put = 0;
    assert(len > 0 && len < 22);
    for (int i = 0; i < len; i++) {
        if (i && (len - i) % 3 == 0)
            text[put++] = ',';
        text[put++] = digits[i];
    }
    text[put] = 0;
    return text;
}

static void print_rate(FILE *out, const char *what, uint64_t count, double seconds)
{
    char text[32];
    fprintf(out, "  %s %s/s", what, report_number((uint64_t)((double)count / seconds), text));
}

/* A duration with a unit that suits it. */
static const char *span(uint64_t us, char *text)
{
    if (us < 10000)
        snprintf(text, 32, "%" PRIu64 " us", us);
    else if (us < 10000000)
        snprintf(text, 32, "%.1f ms", (double)us / 1000);
    else
        snprintf(text, 32, "%.1f s", (double)us / 1e6);
    return text;
}

static void print_interval(FILE *out, const char *what, const struct histogram *from,
                           const struct histogram *to)
{
    struct histogram interval;
    char p50[32], p99[32];
    interval = *to;
    histogram_subtract(&interval, from);
    if (histogram_count(&interval))
        fprintf(out, "  %s p50 %s p99 %s", what, span(histogram_percentile(&interval, 50), p50),
                span(histogram_percentile(&interval, 99), p99));
}

void report_line(FILE *out, const struct options *options, double elapsed, const struct snapshot *from,
                 const struct snapshot *to)
{
    double seconds = (double)(to->at_ns - from->at_ns) / 1e9;
    fprintf(out, "%6.1f s", elapsed);
    if (options->publish.producers)
        print_rate(out, "sent", to->counts[COUNT_SENT] - from->counts[COUNT_SENT], seconds);
    if (options->consume.consumers)
        print_rate(out, "received", to->counts[COUNT_RECEIVED] - from->counts[COUNT_RECEIVED], seconds);
    if (options->publish.window || options->publish.tx)
        print_rate(out, "confirmed", to->counts[COUNT_CONFIRMED] - from->counts[COUNT_CONFIRMED], seconds);
    print_interval(out, "latency", &from->latency, &to->latency);
    print_interval(out, "confirm", &from->confirm, &to->confirm);
    fputc('\n', out);
    fflush(out);
}

static void print_total(FILE *out, const char *what, uint64_t count, double seconds)
{
    char rate[32], total[32];
    fprintf(out, "%-10s %12s msg/s  (%s in %.2f s)\n", what,
            report_number((uint64_t)((double)count / seconds), rate), report_number(count, total), seconds);
}

static void print_histogram(FILE *out, const char *what, const struct histogram *h)
{
    static const struct {
        const char *name;
        double percent;
    } rows[] = {{"p50", 50}, {"p90", 90}, {"p99", 99}, {"p99.9", 99.9}, {"max", 100}};
    char text[32];
    if (histogram_count(h) == 0)
        return;
    fprintf(out, "%-10s", what);
    for (size_t i = 0; i < array_size(rows); i++)
        fprintf(out, " %s %s%s", rows[i].name, span(histogram_percentile(h, rows[i].percent), text),
                i + 1 < array_size(rows) ? "," : "\n");
}

static void print_costs(FILE *out, const struct result *r)
{
    uint64_t sent = r->counts[COUNT_SENT], received = r->counts[COUNT_RECEIVED];
    double millions = (double)(sent > received ? sent : received) / 1e6;
    if (r->has_broker && millions > 0)
        fprintf(out, "%-10s %.3f CPU s per million messages; memory %.1f MB, at most %.1f MB\n", "broker",
                r->broker.cpu_seconds / millions, (double)r->broker.rss_bytes / 1e6,
                (double)r->broker.rss_peak_bytes / 1e6);
    if (millions > 0)
        fprintf(out, "%-10s %.3f CPU s per million messages\n", "this tool", r->own_cpu / millions);
}

static void print_verdict(FILE *out, const struct result *r)
{
    const struct sequence_verdict *v = &r->verdict;
    if (r->counts[COUNT_RETURNED] || r->counts[COUNT_NACKED] || r->unconfirmed)
        fprintf(out, "%-10s %" PRIu64 " returned, %" PRIu64 " refused (nack), %" PRIu64 " unconfirmed\n",
                "publisher", r->counts[COUNT_RETURNED], r->counts[COUNT_NACKED], r->unconfirmed);
    if (r->blocked)
        fprintf(out, "%-10s the broker blocked publishers (connection.blocked)\n", "note");
    if (v->backlog)
        fprintf(out, "%-10s %" PRIu64 " messages not yet received at the end\n", "backlog", v->backlog);
    if (v->foreign)
        fprintf(out, "%-10s %" PRIu64 " messages of somebody else\n", "foreign", v->foreign);
    if (!r->checked)
        return;
    if (v->lost || v->duplicated || v->late)
        fprintf(out, "%-10s %" PRIu64 " LOST, %" PRIu64 " DUPLICATED, %" PRIu64 " REORDERED, %" PRIu64
                     " redelivered\n", "check", v->lost, v->duplicated, v->late, v->redelivered);
    else
        fprintf(out, "%-10s nothing lost, duplicated or reordered; %" PRIu64 " redelivered\n", "check",
                v->redelivered);
}

void report_summary(FILE *out, const struct result *r)
{
    const struct options *o = r->options;
    fprintf(out, "\n%s, %s:%s, %s, %" PRIu64 " producers, %" PRIu64 " consumers, %" PRIu64
                 " queues, %" PRIu64 " bytes%s\n",
            r->server, o->uri.host, o->uri.port, mode_name(o->mode), o->publish.producers,
            o->consume.consumers, o->topology.queues, o->publish.size,
            o->publish.persistent ? ", persistent" : "");
    if (o->publish.producers)
        print_total(out, "sent", r->counts[COUNT_SENT], r->send_seconds);
    if (o->publish.window || o->publish.tx)
        print_total(out, "confirmed", r->counts[COUNT_CONFIRMED], r->send_seconds);
    if (o->consume.consumers)
        print_total(out, "received", r->counts[COUNT_RECEIVED], r->receive_seconds);
    print_histogram(out, "latency", &r->latency);
    print_histogram(out, "confirm", &r->confirm);
    print_costs(out, r);
    print_verdict(out, r);
    if (r->interrupted)
        fprintf(out, "%-10s interrupted\n", "note");
}
