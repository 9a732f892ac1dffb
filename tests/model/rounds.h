/* rounds.h - how a model test is run: SEED=n plays one round with that seed; otherwise those that once
 * failed, and ROUNDS rounds from a random seed on, each said before it begins. */
#ifndef TESTS_MODEL_ROUNDS_H
#define TESTS_MODEL_ROUNDS_H

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/rand.h"

/* `found`: the seeds that once failed; `rounds`: how many when the environment does not say. */
static inline void model_rounds(void (*run_round)(uint64_t seed), const uint64_t *found, size_t found_count,
                                int rounds)
{
    const char *seed = getenv("SEED"), *wanted = getenv("ROUNDS");
    struct rand rand = rand_secure();
    uint64_t first = seed ? strtoull(seed, NULL, 10) : rand_u64(&rand) >> 32;
    int count = seed ? 1 : wanted ? atoi(wanted) : rounds;
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (size_t i = 0; i < found_count && !seed; i++)
        run_round(found[i]);
    for (int i = 0; i < count; i++) {
        printf("SEED=%" PRIu64 "\n", first + (uint64_t)i);
        run_round(first + (uint64_t)i);
    }
}

#endif
