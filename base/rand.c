/* rand.c - random numbers, unguessable or repeatable. */
#include "base/rand.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "base/assert.h"

struct rand rand_secure(void)
{
    return (struct rand){0};
}

struct rand rand_seeded(uint64_t seed)
{
    return (struct rand){seed, 1};
}

/* splitmix64: small, and any seed is a good one. */
static uint64_t next(struct rand *rand)
{
    uint64_t z = (rand->state += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

void rand_bytes(struct rand *rand, void *bytes, size_t size)
{
    uint8_t *at = bytes;
    if (!rand->seeded) {
        while (size) {
            ssize_t got = getrandom(at, size, 0);
            if (got < 0 && errno == EINTR) /* a signal, while the machine has only just been started */
                continue;
            assert(got > 0);
            at += got, size -= (size_t)got;
        }
        return;
    }
    while (size) {
        uint64_t word = next(rand);
        size_t part = size < sizeof(word) ? size : sizeof(word);
        memcpy(at, &word, part);
        at += part, size -= part;
    }
}

uint64_t rand_u64(struct rand *rand)
{
    uint64_t word;
    rand_bytes(rand, &word, sizeof(word));
    return word;
}

uint64_t rand_below(struct rand *rand, uint64_t bound)
{
    assert(bound > 0);
    return (uint64_t)((__extension__(unsigned __int128)rand_u64(rand) * bound) >> 64);
}

void rand_name(struct rand *rand, const char *prefix, char *name)
{
    static const char digits[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    uint8_t random[17] = {0};
    rand_bytes(rand, random, 16);
    size_t len = strlen(prefix);
    memcpy(name, prefix, len);
    for (size_t i = 0; i < 22; i++) {
        size_t bit = i * 6;
        unsigned pair = (unsigned)random[bit / 8] << 8 | random[bit / 8 + 1];
        name[len + i] = digits[pair >> (10 - bit % 8) & 63];
    }
    name[len + 22] = 0;
}
