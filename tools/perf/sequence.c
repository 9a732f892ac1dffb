/* sequence.c - checks sequence numbers for loss, repetition and order. */
#include "tools/perf/sequence.h"

#include <string.h>

#include "base/assert.h"
#include "base/mem.h"

enum { SEQUENCE_GAPS_MAX = 4096 };

static void open_gap(struct sequence *s, uint64_t first, uint64_t end)
{
    assert(first < end);
    s->missing += end - first;
    if (!s->gaps)
        s->gaps = mem_alloc(SEQUENCE_GAPS_MAX * sizeof(*s->gaps));
    if (s->gap_count == SEQUENCE_GAPS_MAX) {
        s->gap_count--;
        memmove(s->gaps, s->gaps + 1, s->gap_count * sizeof(*s->gaps));
    }
    s->gaps[s->gap_count++] = (struct sequence_gap){first, end};
}

/* Takes `number` out of the gap that holds it; false when it was not missing. */
static bool fill_gap(struct sequence *s, uint64_t number)
{
    size_t low = 0, high = s->gap_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (s->gaps[middle].end <= number)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == s->gap_count || s->gaps[low].first > number)
        return false;
    struct sequence_gap *gap = &s->gaps[low];
    s->missing--;
    if (gap->first == number) {
        gap->first++;
    } else if (gap->end == number + 1) {
        gap->end--;
    } else if (s->gap_count < SEQUENCE_GAPS_MAX) {
        memmove(gap + 1, gap, (s->gap_count - low) * sizeof(*gap));
        s->gap_count++;
        gap[0].end = number;
        gap[1].first = number + 1;
    } else {
        gap->first = number + 1; /* the part before is given up: it stays missing */
    }
    if (gap->first == gap->end) {
        s->gap_count--;
        memmove(gap, gap + 1, (s->gap_count - low) * sizeof(*gap));
    }
    return true;
}

void sequence_take_other(struct sequence *s, uint64_t number, bool redelivered)
{
    bool is_new = number >= s->next;
    s->redelivered += redelivered;
    if (is_new) {
        if (number > s->next && !s->shared)
            open_gap(s, s->next, number);
        s->next = number + 1;
    } else if (s->shared) {
        s->late += !redelivered; /* late or repeated: the fingerprint tells */
        is_new = true;
    } else {
        is_new = fill_gap(s, number);
        if (!redelivered && is_new)
            s->late++;
        else if (!redelivered)
            s->duplicated++;
    }
    if (is_new) {
        s->received++;
        s->fingerprint += sequence_mix(number);
    }
}

void sequence_free(struct sequence *s)
{
    mem_free(s->gaps);
    *s = (struct sequence){0};
}
