/* rand.h - random numbers: the kernel's, which nobody can guess, or a seeded sequence for the
 * simulator and the model tests (one seed = one run). */
#ifndef BASE_RAND_H
#define BASE_RAND_H

#include <stddef.h>
#include <stdint.h>

struct rand {
    uint64_t state; /* of the seeded sequence */
    int seeded;
};

struct rand rand_secure(void);
struct rand rand_seeded(uint64_t seed);

uint64_t rand_u64(struct rand *rand);
/* 0 … bound - 1; bound > 0. */
uint64_t rand_below(struct rand *rand, uint64_t bound);
void rand_bytes(struct rand *rand, void *bytes, size_t size);

/* A name nobody can guess: `prefix` and 22 base64url characters of 128 random bits, as RabbitMQ's
 * server-named queues and consumer tags. `name` holds at least strlen(prefix) + 23 bytes. */
void rand_name(struct rand *rand, const char *prefix, char *name);

#endif
