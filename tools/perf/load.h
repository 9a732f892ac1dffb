/* load.h - a run with producers and consumers: throughput, latency, fill and drain. */
#ifndef PERF_LOAD_H
#define PERF_LOAD_H

#include "tools/perf/consumer.h"
#include "tools/perf/producer.h"
#include "tools/perf/result.h"
#include "tools/perf/signals.h"

struct load {
    const struct options *options;
    struct topology topology;
    struct templates templates;
    struct control control;
    struct client admin; /* declares, asks and deletes */
    struct worker *workers;
    struct producer *producers;
    struct consumer *consumers;
    uint64_t worker_count, producer_count, consumer_count; /* of those opened */
    uint64_t expected;      /* drain: messages to receive; else unused */
    struct snapshot begin, last, end;
    uint64_t send_end_ns;
    bool begun;
    struct signals *signals;
    FILE *out;
    struct result result;
};

/* Opens all connections, declares and subscribes; nothing flows yet. False: load.result.error says why. */
bool load_open(struct load *load, const struct options *options);
/* Runs to the end and fills in load.result. */
void load_run(struct load *load, struct signals *signals, FILE *out);
/* Closes connections, deletes what was declared, frees. */
void load_close(struct load *load);

/* Reads all counters now. */
void load_snapshot(const struct load *load, struct snapshot *s);
/* One counter now, over all workers. */
uint64_t load_count(const struct load *load, enum count kind);
/* Messages that consumers should get in all, as far as is known now. */
uint64_t load_expected(const struct load *load);
/* After all workers ended: adds up what the consumers saw. `idle`: nothing came any more at the end. */
void load_verify(struct load *load, bool idle);

#endif
