/* modes.h - the runs without a flow of messages. They print their results; false: the run failed. */
#ifndef PERF_MODES_H
#define PERF_MODES_H

#include "tools/perf/options.h"

/* Opens connection and channel, declares, publishes and closes, over and over. */
bool mode_churn(const struct options *options, FILE *out);
/* Opens connections with a channel each and holds them. */
bool mode_idle(const struct options *options, FILE *out);
/* Declares many queues without waiting for each. */
bool mode_queues(const struct options *options, FILE *out);

#endif
