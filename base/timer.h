/* timer.h - timers on a heap, driven by whoever owns the clock: the loop in the broker, the
 * simulator's fake clock in tests. */
#ifndef BASE_TIMER_H
#define BASE_TIMER_H

#include "base/heap.h"

struct timer {
    struct heap_node node; /* key = due time in ms */
    void (*fire)(struct timer *timer);
};

struct timers {
    struct heap heap;
};

/* Sets or moves the timer; `due_ms` is on the same clock as timers_run's `now_ms`. */
void timer_set(struct timers *timers, struct timer *timer, uint64_t due_ms);
/* Nothing happens when it is not set. */
void timer_clear(struct timers *timers, struct timer *timer);
/* Fires what is due, oldest first; a timer is unset when its function is called. */
void timers_run(struct timers *timers, uint64_t now_ms);
/* Due time of the next one, UINT64_MAX when there is none. */
uint64_t timers_next_ms(const struct timers *timers);
void timers_free(struct timers *timers);

#endif
