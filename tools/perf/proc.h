/* proc.h - CPU time and memory of a process, from /proc. */
#ifndef PERF_PROC_H
#define PERF_PROC_H

#include <stdbool.h>
#include <stdint.h>

struct proc_usage {
    double cpu_seconds; /* user and system, all threads */
    uint64_t rss_bytes, rss_peak_bytes;
};

/* False when there is no such process or it may not be read. */
bool proc_read(uint64_t pid, struct proc_usage *usage);
/* CPU seconds of this process. */
double proc_own_cpu(void);

#endif
