/* histogram.c - counts of durations, log-linear. */
#include "tools/perf/histogram.h"

static uint64_t count_of(const struct histogram *h, size_t cell)
{
    return atomic_load_explicit(&h->cells[cell], memory_order_relaxed);
}

static void set_count(struct histogram *h, size_t cell, uint64_t count)
{
    atomic_store_explicit(&h->cells[cell], count, memory_order_relaxed);
}

uint64_t histogram_cell_us(size_t cell)
{
    assert(cell < HISTOGRAM_CELLS);
    if (cell < HISTOGRAM_EXACT)
        return cell;
    size_t octave = (cell >> HISTOGRAM_SUB_BITS) - 1;
    uint64_t mantissa = cell - (octave << HISTOGRAM_SUB_BITS);
    return ((mantissa + 1) << octave) - 1;
}

void histogram_add(struct histogram *to, const struct histogram *from)
{
    for (size_t i = 0; i < HISTOGRAM_CELLS; i++)
        set_count(to, i, count_of(to, i) + count_of(from, i));
}

void histogram_subtract(struct histogram *from, const struct histogram *earlier)
{
    for (size_t i = 0; i < HISTOGRAM_CELLS; i++) {
        assertf(count_of(earlier, i) <= count_of(from, i), "cell %zu", i);
        set_count(from, i, count_of(from, i) - count_of(earlier, i));
    }
}

uint64_t histogram_count(const struct histogram *h)
{
    uint64_t count = 0;
    for (size_t i = 0; i < HISTOGRAM_CELLS; i++)
        count += count_of(h, i);
    return count;
}

uint64_t histogram_percentile(const struct histogram *h, double percent)
{
    assert(percent > 0 && percent <= 100);
    uint64_t count = histogram_count(h);
    if (count == 0)
        return 0;
    double exact = percent / 100 * (double)count;
    uint64_t rank = (uint64_t)exact;
    if ((double)rank < exact - 1e-6 || rank == 0)
        rank++;
    uint64_t seen = 0;
    for (size_t i = 0; i < HISTOGRAM_CELLS; i++) {
        seen += count_of(h, i);
        if (seen >= rank)
            return histogram_cell_us(i);
    }
    return histogram_cell_us(HISTOGRAM_CELLS - 1);
}

double histogram_mean(const struct histogram *h)
{
    double sum = 0, count = 0;
    for (size_t i = 0; i < HISTOGRAM_CELLS; i++) {
        double n = (double)count_of(h, i);
        sum += n * (double)histogram_cell_us(i);
        count += n;
    }
    return count > 0 ? sum / count : 0;
}
