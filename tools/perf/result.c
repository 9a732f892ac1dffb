/* result.c - the difference between two snapshots. */
#include "tools/perf/result.h"

#include "base/assert.h"

static double seconds_between(uint64_t from_ns, uint64_t to_ns)
{
    return to_ns > from_ns ? (double)(to_ns - from_ns) / 1e9 : 1e-9;
}

void result_measure(struct result *r, const struct snapshot *begin, const struct snapshot *end,
                    uint64_t send_end_ns)
{
    assert(begin->at_ns <= end->at_ns);
    if (send_end_ns == 0 || send_end_ns > end->at_ns)
        send_end_ns = end->at_ns;
    r->send_seconds = seconds_between(begin->at_ns, send_end_ns);
    r->receive_seconds = seconds_between(begin->at_ns, end->at_ns);
    for (size_t i = 0; i < COUNT_KINDS; i++) {
        assert(begin->counts[i] <= end->counts[i]);
        r->counts[i] = end->counts[i] - begin->counts[i];
    }
    r->latency = end->latency;
    histogram_subtract(&r->latency, &begin->latency);
    r->confirm = end->confirm;
    histogram_subtract(&r->confirm, &begin->confirm);
    r->own_cpu = end->own_cpu - begin->own_cpu;
    r->has_broker = r->has_broker && end->broker.rss_bytes > 0; /* else it has ended meanwhile */
    r->broker.cpu_seconds = end->broker.cpu_seconds - begin->broker.cpu_seconds;
    r->broker.rss_bytes = end->broker.rss_bytes;
    if (end->broker.rss_bytes > r->broker.rss_peak_bytes)
        r->broker.rss_peak_bytes = end->broker.rss_bytes;
}

bool result_is_bad(const struct result *r)
{
    const struct sequence_verdict *v = &r->verdict;
    return !r->options->run.lossy && (v->lost || v->late || v->duplicated);
}
