/* signals.h - interrupt and terminate as something to wait for. */
#ifndef PERF_SIGNALS_H
#define PERF_SIGNALS_H

#include <stdbool.h>
#include <stdint.h>

struct signals {
    int fd;
    unsigned caught;
};

/* From now on SIGINT and SIGTERM no longer end the process; threads started later inherit that. 0 or
 * -errno. */
int signals_init(struct signals *s) __attribute__((warn_unused_result));
void signals_free(struct signals *s);
/* Waits until `until_ns` (monotonic), a signal, or until `event_fd` (-1: none) can be read, which it
 * empties. */
void signals_wait(struct signals *s, int event_fd, uint64_t until_ns);

#endif
