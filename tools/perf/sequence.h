/* sequence.h - checks the sequence numbers of one producer in one queue as one consumer sees them:
 * what is missing, what came late (reordered) and what came twice.
 * A consumer that shares its queue sees gaps that are none: it checks the order only, and a fingerprint that
 * all consumers of the queue add up. */
#ifndef PERF_SEQUENCE_H
#define PERF_SEQUENCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sequence_gap {
    uint64_t first, end; /* missing: first … end - 1 */
};

struct sequence {
    uint64_t next;        /* the number after the highest seen */
    uint64_t received;    /* without the repeated ones */
    uint64_t fingerprint; /* sum of sequence_mix of those */
    uint64_t missing, late, duplicated, redelivered;
    struct sequence_gap *gaps; /* in order, at most SEQUENCE_GAPS_MAX; older ones are given up */
    size_t gap_count;
    bool shared; /* with other consumers: order only */
};

/* What a run found. */
struct sequence_verdict {
    uint64_t lost, late, duplicated, redelivered, foreign, backlog;
};

/* Spreads a number over 64 bits, so that sums of them tell sets apart. */
static inline uint64_t sequence_mix(uint64_t n)
{
    n = (n + 1) * UINT64_C(0x9E3779B97F4A7C15);
    return n ^ n >> 29;
}

/* The rare cases of sequence_take. */
void sequence_take_other(struct sequence *s, uint64_t number, bool redelivered);

/* Takes a number that a message carried. */
static inline void sequence_take(struct sequence *s, uint64_t number, bool redelivered)
{
    if (number != s->next || redelivered) {
        sequence_take_other(s, number, redelivered);
        return;
    }
    s->next++;
    s->received++;
    s->fingerprint += sequence_mix(number);
}

void sequence_free(struct sequence *s);

#endif
