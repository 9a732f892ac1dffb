/* json.c - the result for machines: one object on one line. Durations in microseconds. */
#include <inttypes.h>
#include <stdio.h>

#include "base/assert.h"
#include "tools/perf/result.h"

void report_json_string(FILE *out, const char *text)
{
    fputc('"', out);
    for (const unsigned char *at = (const unsigned char *)text; *at; at++) {
        if (*at == '"' || *at == '\\')
            fprintf(out, "\\%c", *at);
        else if (*at < ' ')
            fprintf(out, "\\u%04x", *at);
        else
            fputc(*at, out);
    }
    fputc('"', out);
}

static void put_text(FILE *out, const char *name, const char *text)
{
    fprintf(out, "\"%s\":", name);
    report_json_string(out, text);
    fputc(',', out);
}

static void put_number(FILE *out, const char *name, uint64_t n)
{
    fprintf(out, "\"%s\":%" PRIu64 ",", name, n);
}

static void put_real(FILE *out, const char *name, double value)
{
    assert(value == value);
    fprintf(out, "\"%s\":%.6g,", name, value);
}

static void put_flag(FILE *out, const char *name, bool value)
{
    fprintf(out, "\"%s\":%s,", name, value ? "true" : "false");
}

static void put_count(FILE *out, const char *name, uint64_t count, double seconds)
{
    char rate[64];
    put_number(out, name, count);
    snprintf(rate, sizeof(rate), "%s_per_second", name);
    fprintf(out, "\"%s\":%.1f,", rate, (double)count / seconds);
}

static void put_histogram(FILE *out, const char *name, const struct histogram *h)
{
    uint64_t count = histogram_count(h);
    if (count == 0)
        return;
    fprintf(out, "\"%s\":{\"count\":%" PRIu64 ",\"mean\":%.1f,\"p50\":%" PRIu64 ",\"p90\":%" PRIu64
                 ",\"p99\":%" PRIu64 ",\"p999\":%" PRIu64 ",\"max\":%" PRIu64 "},",
            name, count, histogram_mean(h), histogram_percentile(h, 50), histogram_percentile(h, 90),
            histogram_percentile(h, 99), histogram_percentile(h, 99.9), histogram_percentile(h, 100));
}

static void put_costs(FILE *out, const struct result *r)
{
    uint64_t sent = r->counts[COUNT_SENT], received = r->counts[COUNT_RECEIVED];
    double millions = (double)(sent > received ? sent : received) / 1e6;
    put_real(out, "tool_cpu_seconds", r->own_cpu);
    if (!r->has_broker)
        return;
    put_real(out, "broker_cpu_seconds", r->broker.cpu_seconds);
    if (millions > 0)
        put_real(out, "broker_cpu_seconds_per_million", r->broker.cpu_seconds / millions);
    put_number(out, "broker_rss_bytes", r->broker.rss_bytes);
    put_number(out, "broker_rss_peak_bytes", r->broker.rss_peak_bytes);
}

void report_json(FILE *out, const struct result *r)
{
    const struct options *o = r->options;
    const struct sequence_verdict *v = &r->verdict;
    fputc('{', out);
    put_text(out, "tool", "leveret-perf " LEVERET_VERSION);
    put_text(out, "mode", mode_name(o->mode));
    put_text(out, "broker", r->server);
    put_number(out, "producers", o->publish.producers);
    put_number(out, "consumers", o->consume.consumers);
    put_number(out, "queues", o->topology.queues);
    put_number(out, "size", o->publish.size);
    put_real(out, "seconds", r->receive_seconds);
    put_count(out, "sent", r->counts[COUNT_SENT], r->send_seconds);
    put_count(out, "confirmed", r->counts[COUNT_CONFIRMED], r->send_seconds);
    put_count(out, "received", r->counts[COUNT_RECEIVED], r->receive_seconds);
    put_histogram(out, "latency_us", &r->latency);
    put_histogram(out, "confirm_us", &r->confirm);
    put_costs(out, r);
    put_number(out, "returned", r->counts[COUNT_RETURNED]);
    put_number(out, "nacked", r->counts[COUNT_NACKED]);
    put_number(out, "unconfirmed", r->unconfirmed);
    put_flag(out, "checked", r->checked);
    put_number(out, "lost", v->lost);
    put_number(out, "duplicated", v->duplicated);
    put_number(out, "reordered", v->late);
    put_number(out, "redelivered", v->redelivered);
    put_number(out, "foreign", v->foreign);
    put_number(out, "backlog", v->backlog);
    put_flag(out, "interrupted", r->interrupted);
    if (r->error[0])
        put_text(out, "error", r->error);
    fprintf(out, "\"ok\":%s}\n", r->error[0] || result_is_bad(r) ? "false" : "true");
}
