/* options.h - what the user asked for. Texts point into argv. */
#ifndef PERF_OPTIONS_H
#define PERF_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "tools/perf/uri.h"

enum mode {
    MODE_THROUGHPUT,
    MODE_LATENCY,
    MODE_FILL,
    MODE_DRAIN,
    MODE_CHURN,
    MODE_IDLE,
    MODE_QUEUES,
};

struct run_options {
    const char *uri, *cacert, *cert, *key;
    double seconds; /* 0 = until the counts are reached */
    double warmup, drain, timeout;
    uint64_t threads;     /* 0 = choose */
    uint64_t connections; /* idle */
    uint64_t broker_pid;  /* 0 = unknown */
    bool json, lossy;
};

struct topology_options {
    const char *queue, *exchange, *type, *key, *binding_key, *queue_args; /* NULL = not given */
    uint64_t queues, bindings, keys, fanout;
    bool durable, auto_delete, predeclared, keep, remove;
};

struct publish_options {
    uint64_t producers, size;
    uint64_t rate;     /* messages a second, 0 = unlimited */
    uint64_t messages; /* per producer, 0 = unlimited */
    uint64_t window;   /* unconfirmed messages, 0 = no confirms */
    uint64_t tx;       /* messages per transaction, 0 = none */
    bool persistent, mandatory;
};

struct consume_options {
    uint64_t consumers;
    uint64_t messages;  /* per consumer, 0 = unlimited */
    uint64_t ack_every; /* 0 with autoack */
    uint64_t prefetch;
    bool autoack;
};

struct options {
    enum mode mode;
    struct run_options run;
    struct topology_options topology;
    struct publish_options publish;
    struct consume_options consume;
    struct uri uri;
};

enum options_status { OPTIONS_RUN, OPTIONS_DONE, OPTIONS_WRONG };

/* DONE: help or version was printed. WRONG: the reason was printed to standard error. */
enum options_status options_parse(struct options *options, int argc, char **argv);
const char *mode_name(enum mode mode);
/* Prints the whole help. */
void options_help(FILE *out);

#endif
