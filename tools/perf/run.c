/* run.c - the course of a run, seen from the main thread, which only waits, counts and prints:
 *
 *   warm-up --> measured interval --> drain (consumers take the rest) --> verdict
 */
#include <inttypes.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "tools/perf/load.h"

enum { TICK_NS = 1000000000, SAMPLE_NS = 100000000, GIVEN_UP_TIMEOUT_MS = 2000 };

static bool stopped(const struct load *load)
{
    return atomic_load(&load->control.phase) == PHASE_STOP || load->signals->caught > 0;
}

static void start_workers(struct load *load)
{
    load->control.start_ns = clock_now_ns();
    for (uint64_t i = 0; i < load->worker_count; i++) {
        int error = worker_start(&load->workers[i]);
        if (error)
            control_fail(&load->control, strerror(-error));
    }
}

static void sample_memory(struct load *load)
{
    struct proc_usage usage;
    uint64_t pid = load->options->run.broker_pid;
    if (!pid || !proc_read(pid, &usage))
        return;
    load->result.has_broker = true;
    if (load->begun && usage.rss_bytes > load->result.broker.rss_peak_bytes)
        load->result.broker.rss_peak_bytes = usage.rss_bytes;
}

/* True when all is published and consumers have waited for the rest long enough. */
static bool rest_is_missing(const struct load *load, const struct snapshot *now)
{
    const struct run_options *o = &load->options->run;
    double quiet = (double)(now->at_ns - load->last.at_ns) / 1e9;
    return load->send_end_ns && quiet > (o->drain > 0.1 ? o->drain : 0.1);
}

/* Progress is any count that moves: without it for --timeout the broker is taken for dead. */
static bool stalls(const struct load *load, const struct snapshot *now)
{
    const struct options *o = load->options;
    bool waits = o->publish.producers > 0 || o->publish.messages || o->consume.messages ||
                 o->mode == MODE_DRAIN;
    double quiet = (double)(now->at_ns - load->last.at_ns) / 1e9;
    return waits && quiet > o->run.timeout;
}

/* True when the counts that were asked for are reached. */
static bool counts_reached(struct load *load)
{
    const struct options *o = load->options;
    bool sends = o->publish.producers > 0, receives = o->consume.consumers > 0;
    bool sent = sends && atomic_load(&load->control.producers_left) == 0;
    if (sent && load->send_end_ns == 0)
        load->send_end_ns = clock_now_ns();
    if (receives && o->consume.messages && atomic_load(&load->control.consumers_left) == 0)
        return true;
    if (sent && !receives)
        return true;
    if (!sent && o->mode != MODE_DRAIN)
        return false;
    return load_count(load, COUNT_RECEIVED) >= load_expected(load);
}

/* Waits, prints a line a second, until `until_ns` (0: no limit) or until nothing is left to do. */
static void watch(struct load *load, uint64_t until_ns)
{
    struct snapshot shown, now;
    uint64_t next_line = clock_now_ns() + TICK_NS;
    load_snapshot(load, &shown);
    load->last = shown;
    while (!stopped(load) && !counts_reached(load)) {
        uint64_t at = clock_now_ns(), wake = at + SAMPLE_NS < next_line ? at + SAMPLE_NS : next_line;
        if (until_ns && at >= until_ns)
            break;
        signals_wait(load->signals, load->control.event_fd, until_ns && until_ns < wake ? until_ns : wake);
        sample_memory(load);
        load_snapshot(load, &now);
        if (memcmp(now.counts, load->last.counts, sizeof(now.counts)) != 0)
            load->last = now;
        if (now.at_ns >= next_line) {
            double elapsed = (double)(now.at_ns - load->control.start_ns) / 1e9;
            report_line(load->out, load->options, elapsed, &shown, &now);
            shown = now;
            next_line += TICK_NS;
        }
        assert(load->last.at_ns <= now.at_ns);
        if (rest_is_missing(load, &now))
            break;
        if (stalls(load, &now))
            control_fail(&load->control, "no progress: the broker does not answer any more");
    }
}

/* Lets confirms and messages under way arrive; true when nothing came any more at the end. */
static bool drain(struct load *load)
{
    uint64_t end = clock_now_ns() + (uint64_t)(load->options->run.drain * 1e9), quiet_since = clock_now_ns();
    uint64_t before = 0;
    unsigned interrupts = load->signals->caught;
    atomic_store(&load->control.phase, PHASE_DRAIN);
    for (uint64_t i = 0; i < load->worker_count; i++)
        worker_wake(&load->workers[i]);
    while (clock_now_ns() < end && load->signals->caught == interrupts &&
           atomic_load(&load->control.phase) == PHASE_DRAIN) {
        bool sent = atomic_load(&load->control.producers_left) == 0;
        uint64_t received = load_count(load, COUNT_RECEIVED);
        uint64_t moved = received + load_count(load, COUNT_CONFIRMED);
        if (moved != before)
            quiet_since = clock_now_ns();
        before = moved;
        if (sent && (load->options->consume.consumers == 0 || load->options->consume.messages ||
                     received >= load_expected(load)))
            break;
        if (interrupts > 0 && atomic_load(&load->control.blocked) && clock_now_ns() - quiet_since > TICK_NS)
            break; /* who wants to end does not wait for a broker that does not read */
        signals_wait(load->signals, load->control.event_fd, clock_now_ns() + SAMPLE_NS / 5);
    }
    bool idle = clock_now_ns() - quiet_since > TICK_NS;
    if (idle && atomic_load(&load->control.producers_left) > 0 && load->signals->caught == interrupts &&
        !atomic_load(&load->control.blocked))
        control_fail(&load->control, "the broker stopped answering publishers");
    return idle;
}

static void count_unconfirmed(struct load *load)
{
    for (uint64_t i = 0; i < load->producer_count; i++)
        load->result.unconfirmed += load->producers[i].unconfirmed;
}

void load_run(struct load *load, struct signals *signals, FILE *out)
{
    const struct run_options *o = &load->options->run;
    load->signals = signals;
    load->out = out;
    start_workers(load);
    if (o->warmup > 0)
        watch(load, clock_now_ns() + (uint64_t)(o->warmup * 1e9));
    load_snapshot(load, &load->begin);
    load->begun = true;
    sample_memory(load);
    watch(load, o->seconds > 0 ? load->begin.at_ns + (uint64_t)(o->seconds * 1e9) : 0);
    load_snapshot(load, &load->end);
    load->result.interrupted = signals->caught > 0;
    bool idle = false;
    if (control_phase(&load->control) != PHASE_STOP)
        idle = drain(load);
    atomic_store(&load->control.phase, PHASE_STOP);
    for (uint64_t i = 0; i < load->worker_count; i++)
        worker_join(&load->workers[i]);
    result_measure(&load->result, &load->begin, &load->end, load->send_end_ns);
    load->result.blocked = atomic_load(&load->control.blocked);
    memcpy(load->result.error, load->control.error, sizeof(load->result.error));
    if (load->result.error[0])
        load->admin.timeout_ms = GIVEN_UP_TIMEOUT_MS;
    count_unconfirmed(load);
    load_verify(load, idle);
}
