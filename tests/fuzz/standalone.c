/* standalone.c - runs a fuzz target without a fuzzing engine, briefly, in every build:
 *     fuzz_x [runs]       that many mutations of the target's seeds (100000); SEED=n repeats a run
 *     fuzz_x -f file...   the inputs in these files, as libFuzzer leaves them behind after a crash
 *     fuzz_x -c dir       all files of a saved corpus
 *     fuzz_x -d dir       writes the seeds there, for an engine to begin with
 * Each input depends on the seed and its number alone. An input lies in memory of exactly its size, so that
 * a sanitizer sees one octet too far. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "base/rand.h"
#include "tests/fuzz/fuzz.h"

enum { RUNS = 100000, INPUT_MAX = 4096, MUTATIONS_MAX = 12 };

struct input {
    uint8_t bytes[INPUT_MAX];
    size_t len;
};

static void insert(struct input *in, size_t at, struct slice bytes)
{
    assert(at <= in->len);
    if (bytes.len == 0 || bytes.len > INPUT_MAX - in->len)
        return;
    memmove(in->bytes + at + bytes.len, in->bytes + at, in->len - at);
    memcpy(in->bytes + at, bytes.at, bytes.len);
    in->len += bytes.len;
}

static void cut_out(struct input *in, size_t at, size_t len)
{
    assert(at + len <= in->len);
    memmove(in->bytes + at, in->bytes + at + len, in->len - at - len);
    in->len -= len;
}

/* A part of some seed, at times the whole. */
static struct slice piece(struct rand *rand)
{
    struct slice s = fuzz_seeds[rand_below(rand, fuzz_seeds_count)];
    size_t from = rand_below(rand, 2) ? 0 : rand_below(rand, s.len + 1);
    size_t len = rand_below(rand, 2) ? s.len - from : rand_below(rand, s.len - from + 1);
    return slice_of(s.at + from, len);
}

/* Puts a number where a length may be: the edges of its width, and what is left of the input. */
static void set_number(struct input *in, size_t at, struct rand *rand)
{
    size_t width = (size_t)1 << rand_below(rand, 4);
    uint64_t left = in->len - at;
    const uint64_t numbers[] = {0, 1, left, left - width, left - width - 1, 0x7F, 0x80, 0xFF, 0x7FFFFFFF,
                                0x80000000, 0xFFFFFFFF, UINT64_MAX};
    uint64_t number = numbers[rand_below(rand, array_size(numbers))];
    for (size_t i = 0; i < width && at + i < in->len; i++)
        in->bytes[at + i] = (uint8_t)(number >> 8 * (width - 1 - i));
}

static void mutate(struct input *in, struct rand *rand)
{
    size_t at = rand_below(rand, in->len + 1), left = in->len - at;
    uint8_t octets[8];
    rand_bytes(rand, octets, sizeof(octets));
    switch (rand_below(rand, 7)) {
    case 0:
        if (left)
            in->bytes[at] ^= (uint8_t)(1 << octets[0] % 8);
        return;
    case 1:
        if (left)
            in->bytes[at] = octets[0];
        return;
    case 2:
        insert(in, at, slice_of(octets, 1 + octets[7] % 8));
        return;
    case 3:
        cut_out(in, at, rand_below(rand, left + 1));
        return;
    case 4:
        insert(in, at, piece(rand));
        return;
    case 5: {
        struct input copy = *in;
        insert(in, at, slice_of(copy.bytes + at, rand_below(rand, left + 1)));
        return;
    }
    default:
        set_number(in, at, rand);
        return;
    }
}

static void run(struct slice input)
{
    uint8_t *exact = malloc(input.len ? input.len : 1);
    assert(exact);
    if (input.len)
        memcpy(exact, input.at, input.len);
    int result = LLVMFuzzerTestOneInput(exact, input.len);
    assert(result == 0);
    free(exact);
}

static void run_mutations(uint64_t seed, uint64_t runs)
{
    static struct input in;
    for (size_t i = 0; i < fuzz_seeds_count; i++)
        run(fuzz_seeds[i]);
    for (uint64_t i = 0; i < runs; i++) {
        struct rand rand = rand_seeded(seed + i * UINT64_C(0x9E3779B97F4A7C15));
        in.len = 0;
        insert(&in, 0, fuzz_seeds[rand_below(&rand, fuzz_seeds_count)]);
        for (uint64_t n = 1 + rand_below(&rand, MUTATIONS_MAX); n > 0; n--)
            mutate(&in, &rand);
        run(slice_of(in.bytes, in.len));
    }
}

static int run_file(const char *path)
{
    static uint8_t bytes[1 << 20];
    FILE *file = fopen(path, "rb");
    if (!file) {
        perror(path);
        return EXIT_FAILURE;
    }
    run(slice_of(bytes, fread(bytes, 1, sizeof(bytes), file)));
    fclose(file);
    return EXIT_SUCCESS;
}

static int run_corpus(const char *dir)
{
    struct dirent **entries;
    int count = scandir(dir, &entries, NULL, alphasort), runs = 0, result = EXIT_SUCCESS;
    for (int i = 0; i < count; i++) {
        char path[4096];
        snprintf(path, sizeof(path), "%s/%s", dir, entries[i]->d_name);
        if (entries[i]->d_name[0] != '.') {
            result |= run_file(path);
            runs++;
        }
        free(entries[i]);
    }
    if (count >= 0)
        free(entries);
    printf("%d inputs of %s\n", runs, dir);
    return runs > 0 ? result : EXIT_FAILURE;
}

static int dump_seeds(const char *dir)
{
    for (size_t i = 0; i < fuzz_seeds_count; i++) {
        char path[4096];
        snprintf(path, sizeof(path), "%s/seed-%zu", dir, i);
        FILE *file = fopen(path, "wb");
        if (!file || fwrite(fuzz_seeds[i].at, 1, fuzz_seeds[i].len, file) != fuzz_seeds[i].len ||
            fclose(file) != 0) {
            perror(path);
            return EXIT_FAILURE;
        }
    }
    return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "-d") == 0)
        return dump_seeds(argv[2]);
    if (argc == 3 && strcmp(argv[1], "-c") == 0)
        return run_corpus(argv[2]);
    if (argc > 1 && strcmp(argv[1], "-f") == 0) {
        int result = EXIT_SUCCESS;
        for (int i = 2; i < argc; i++)
            result |= run_file(argv[i]);
        return result;
    }
    const char *given = getenv("SEED");
    struct rand secure = rand_secure();
    uint64_t seed = given ? strtoull(given, NULL, 0) : rand_u64(&secure);
    uint64_t runs = argc > 1 ? strtoull(argv[1], NULL, 0) : RUNS;
    printf("%s: SEED=%llu, %llu runs\n", argv[0], (unsigned long long)seed, (unsigned long long)runs);
    fflush(stdout);
    run_mutations(seed, runs);
    return EXIT_SUCCESS;
}
