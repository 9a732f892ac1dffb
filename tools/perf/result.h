/* result.h - what a run measured, and how it is shown. */
#ifndef PERF_RESULT_H
#define PERF_RESULT_H

#include <stdio.h>

#include "tools/perf/options.h"
#include "tools/perf/proc.h"
#include "tools/perf/sequence.h"
#include "tools/perf/worker.h"

/* The state of all counters at a moment. */
struct snapshot {
    uint64_t at_ns;
    uint64_t counts[COUNT_KINDS];
    struct histogram latency, confirm;
    struct proc_usage broker;
    double own_cpu;
};

struct result {
    const struct options *options;
    char server[128];
    double send_seconds, receive_seconds; /* measured intervals */
    uint64_t counts[COUNT_KINDS];         /* in them */
    struct histogram latency, confirm;
    struct proc_usage broker;             /* cpu_seconds: in the interval; rss_peak: highest seen */
    double own_cpu;
    bool has_broker;
    struct sequence_verdict verdict;
    uint64_t unconfirmed;
    bool checked, blocked, interrupted;
    char error[CLIENT_ERROR_MAX];         /* empty = none */
};

/* What happened between two snapshots; `send_end_ns` is when publishing ended. */
void result_measure(struct result *r, const struct snapshot *begin, const struct snapshot *end,
                    uint64_t send_end_ns);
/* True when messages were lost, repeated or reordered without cause. */
bool result_is_bad(const struct result *r);

/* The line of a second. */
void report_line(FILE *out, const struct options *options, double elapsed, const struct snapshot *from,
                 const struct snapshot *to);
void report_summary(FILE *out, const struct result *r);
void report_json(FILE *out, const struct result *r);
/* 1234567 as "1,234,567"; `text` holds 32 bytes. */
const char *report_number(uint64_t n, char *text);
/* A JSON string with its quotes. */
void report_json_string(FILE *out, const char *text);

#endif
