/* clock.c - the system's clocks. */
#include "base/clock.h"

#include <time.h>

uint64_t clock_now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static uint64_t system_monotonic_ns(void *arg)
{
    (void)arg;
    return clock_now_ns();
}

static uint64_t system_wall_us(void *arg)
{
    (void)arg;
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return (uint64_t)ts.tv_sec * 1000000u + (uint64_t)ts.tv_nsec / 1000;
}

struct clock clock_system(void)
{
    return (struct clock){system_monotonic_ns, system_wall_us, 0};
}
