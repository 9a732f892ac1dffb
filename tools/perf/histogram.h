/* histogram.h - counts of durations in microseconds, log-linear: exact up to 255 us, within 0.8 % up to
 * HISTOGRAM_MAX_US; longer ones are counted as the longest.
 * One thread records; any other may read at the same time (a count is late at most, never torn). */
#ifndef PERF_HISTOGRAM_H
#define PERF_HISTOGRAM_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "base/assert.h"

enum {
    HISTOGRAM_SUB_BITS = 7,                       /* 128 cells an octave */
    HISTOGRAM_EXACT = 2 << HISTOGRAM_SUB_BITS,    /* values below have a cell each */
    HISTOGRAM_MAX_US = 60 * 1000 * 1000,
    HISTOGRAM_OCTAVES = 26 - HISTOGRAM_SUB_BITS - 1, /* 2^26 us > 60 s */
    HISTOGRAM_CELLS = HISTOGRAM_EXACT + (HISTOGRAM_OCTAVES << HISTOGRAM_SUB_BITS),
};

struct histogram {
    _Atomic uint64_t cells[HISTOGRAM_CELLS];
};

/* The cell of a duration. */
static inline size_t histogram_cell(uint64_t us)
{
    if (us < HISTOGRAM_EXACT)
        return (size_t)us;
    if (us > HISTOGRAM_MAX_US)
        us = HISTOGRAM_MAX_US;
    unsigned octave = 63u - (unsigned)__builtin_clzll(us) - HISTOGRAM_SUB_BITS;
    size_t cell = ((size_t)octave << HISTOGRAM_SUB_BITS) + (size_t)(us >> octave);
    assert(cell < HISTOGRAM_CELLS);
    return cell;
}

static inline void histogram_record(struct histogram *h, uint64_t us)
{
    _Atomic uint64_t *cell = &h->cells[histogram_cell(us)];
    uint64_t count = atomic_load_explicit(cell, memory_order_relaxed);
    atomic_store_explicit(cell, count + 1, memory_order_relaxed);
}

/* The longest duration that is counted in `cell`. */
uint64_t histogram_cell_us(size_t cell);
/* Adds the counts of `from`. */
void histogram_add(struct histogram *to, const struct histogram *from);
/* Takes the counts of an earlier state of the same histogram away. */
void histogram_subtract(struct histogram *from, const struct histogram *earlier);
uint64_t histogram_count(const struct histogram *h);
/* The duration that `percent` (0 < percent <= 100) of the recorded ones do not exceed; 0 when empty. */
uint64_t histogram_percentile(const struct histogram *h, double percent);
double histogram_mean(const struct histogram *h);

#endif
