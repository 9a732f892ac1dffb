/* clock.h - where the time comes from: the system, or the simulator. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

struct clock {
    uint64_t (*monotonic_ns)(void *arg);
    uint64_t (*wall_us)(void *arg); /* microseconds since 1970, UTC */
    void *arg;
};

/* The system's clocks. */
struct clock clock_system(void);

/* The system's monotonic time, for threads and tools that no simulator runs. */
uint64_t clock_now_ns(void);

static inline uint64_t clock_ms(const struct clock *clock)
{
    return clock->monotonic_ns(clock->arg) / 1000000;
}

/* Milliseconds since 1970, UTC. */
static inline uint64_t clock_wall_ms(const struct clock *clock)
{
    return clock->wall_us(clock->arg) / 1000;
}

#endif
