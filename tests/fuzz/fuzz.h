/* fuzz.h - what a fuzz target is made of. With clang it is linked with libFuzzer, otherwise with
 * standalone.c, which mutates the target's own seeds. */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

/* Takes any input and panics when a property does not hold; returns 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Good inputs to start from, so that mutations get past the first check. */
extern const struct slice fuzz_seeds[];
extern const size_t fuzz_seeds_count;

/* An element of fuzz_seeds. */
#define FUZZ_SEED(literal) {(const uint8_t *)(literal), sizeof(literal) - 1}

#endif
