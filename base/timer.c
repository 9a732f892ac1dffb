/* timer.c - timers on a heap. */
#include "base/timer.h"

#include "base/assert.h"
#include "base/mem.h"

void timer_set(struct timers *timers, struct timer *timer, uint64_t due_ms)
{
    assert(timer->fire != NULL);
    timer_clear(timers, timer);
    timer->node.key = due_ms;
    heap_push(&timers->heap, &timer->node);
}

void timer_clear(struct timers *timers, struct timer *timer)
{
    if (heap_linked(&timer->node))
        heap_remove(&timers->heap, &timer->node);
}

void timers_run(struct timers *timers, uint64_t now_ms)
{
    while (timers_next_ms(timers) <= now_ms) {
        struct heap_node *node = heap_pop(&timers->heap);
        struct timer *timer = container_of(node, struct timer, node);
        timer->fire(timer);
    }
}

uint64_t timers_next_ms(const struct timers *timers)
{
    struct heap_node *node = heap_min(&timers->heap);
    return node ? node->key : UINT64_MAX;
}

void timers_free(struct timers *timers)
{
    heap_free(&timers->heap);
}
