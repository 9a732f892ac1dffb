/* levels.c - the orders of a priority queue. */
#include "queue/levels.h"

struct levels *levels_new(struct order *base, uint8_t max, uint8_t missing)
{
    assert(base->queue && order_size(base) == 0 && missing <= max);
    struct levels *levels = mem_zalloc(sizeof *levels + max * sizeof(levels->above[0]));
    levels->base = base;
    levels->max = max;
    levels->missing = missing;
    levels->first_sequence = 1;
    return levels;
}

void levels_free(struct levels **freed)
{
    struct levels *levels = *freed;
    *freed = NULL;
    if (!levels)
        return;
    assert(levels->ready == 0);
    for (unsigned i = 0; i < levels->max; i++) {
        if (!levels->above[i])
            continue;
        order_free(levels->above[i]);
        mem_free(levels->above[i]);
    }
    mem_free(levels);
}

struct order *levels_use(struct levels *levels, unsigned level)
{
    struct order *order = levels_at(levels, level);
    if (order)
        return order;
    order = levels->above[level - 1] = mem_zalloc(sizeof *order);
    order->queue = levels->base->queue;
    order->id = levels->base->id | (uint64_t)level << STORE_LANE_SHIFT;
    order->next_sequence = levels->first_sequence;
    return order;
}

void levels_note(struct levels *levels, struct order *order)
{
    size_t size = order_size(order);
    unsigned level = (unsigned)(order->id >> STORE_LANE_SHIFT);
    uint64_t bit = (uint64_t)1 << level % 64;
    assert(levels_at(levels, level) == order && levels->ready >= order->counted);
    levels->ready += size - order->counted;
    order->counted = size;
    if (size)
        levels->waiting[level / 64] |= bit;
    else
        levels->waiting[level / 64] &= ~bit;
}

struct order *levels_front(const struct levels *levels)
{
    for (unsigned i = array_size(levels->waiting); i-- > 0;)
        if (levels->waiting[i])
            return levels_at(levels, i * 64 + 63 - (unsigned)__builtin_clzll(levels->waiting[i]));
    return levels->base;
}

void levels_raise(struct levels *levels, uint64_t first_sequence)
{
    if (levels->first_sequence < first_sequence)
        levels->first_sequence = first_sequence;
    for (unsigned level = 0; level <= levels->max; level++) {
        struct order *order = levels_at(levels, level);
        if (order && order->next_sequence < first_sequence)
            order->next_sequence = first_sequence;
    }
}
