/* probe.h - how much memory the process uses and may use, and how much room the disk has: asked of the
 * system, or of a test. */
#ifndef BROKER_PROBE_H
#define BROKER_PROBE_H

#include <stdint.h>

/* The answer of a probe that could not find out. */
#define PROBE_UNKNOWN UINT64_MAX

/* All in bytes. */
struct probe {
    uint64_t (*memory_used)(void *arg);  /* resident, of this process */
    uint64_t (*memory_total)(void *arg); /* of the machine or the cgroup, whichever is less */
    uint64_t (*disk_free)(void *arg);    /* that this user may fill */
    void *arg;
};

/* Linux's; `dir` is on the disk in question, and stays the caller's. */
struct probe probe_system(const char *dir);

#endif
