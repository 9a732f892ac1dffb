/* fuzz_pattern.c - a regular expression of a permission or policy, and a name: whatever both are, the match
 * ends within its limits. And a scope of a token: its wildcards against the plainest matcher there is.
 * An input: u8 length of the pattern, the pattern, the name. */
#include "auth/grant.h"
#include "auth/pattern.h"
#include "base/assert.h"
#include "base/mem.h"
#include "tests/fuzz/fuzz.h"

const struct slice fuzz_seeds[] = {
    FUZZ_SEED("\x06(a+)+$" "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaab"),
    FUZZ_SEED("\x0e^(a|a?)+(.*)*$" "aaaaaaaaaaaaaaaaaaaaaaaaaaaa\n"),
    FUZZ_SEED("\x09^(?R)?b|c" "bbbbc"),
    FUZZ_SEED("\x0f(?=(\\w+))\\1:|^$" "queue:x"),
    FUZZ_SEED("\x0cread:a*b*/*c" "aabbb/cc"),
    FUZZ_SEED("\x10write:*/%2A*/k*k" "x"),
};
const size_t fuzz_seeds_count = array_size(fuzz_seeds);

enum { STEPS_MAX = 2000 };

/* *steps keeps an exponential matcher from what it is: beyond it nothing is compared. */
static bool plain_match(struct slice pattern, struct slice text, unsigned *steps)
{
    if (++*steps > STEPS_MAX)
        return false;
    if (pattern.len == 0)
        return text.len == 0;
    struct slice rest = slice_of(pattern.at + 1, pattern.len - 1);
    if (pattern.at[0] == '*') {
        for (size_t i = 0; i <= text.len; i++)
            if (plain_match(rest, slice_of(text.at + i, text.len - i), steps))
                return true;
        return false;
    }
    uint8_t wanted = pattern.at[0] == '+' ? ' ' : pattern.at[0]; /* as in an address */
    return text.len && text.at[0] == wanted &&
           plain_match(rest, slice_of(text.at + 1, text.len - 1), steps);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 || size - 1 < data[0])
        return 0;
    struct slice source = slice_of(data + 1, data[0]);
    struct slice name = slice_of(source.at + source.len, size - 1 - source.len);
    char error[300] = "";
    struct pattern *pattern = pattern_compile(source, error, sizeof(error));
    assert(pattern || error[0]);
    if (pattern) {
        bool matched = pattern_matches(pattern, name);
        assertf(pattern_matches(pattern, name) == matched, "two answers");
        pattern_free(&pattern);
    }
    unsigned steps = 0;
    bool plain = plain_match(source, name, &steps);
    bool percent = source.len && memchr(source.at, '%', source.len);
    if (steps <= STEPS_MAX && !percent)
        assertf(wildcard_matches(source, name) == plain, "'%.*s'", SLICE_ARG(source));
    struct grant *grant = grant_new();
    if (grant_add(grant, source)) {
        (void)grant_allows_vhost(grant, name);
        (void)grant_allows(grant, ACCESS_READ, name, source);
        (void)grant_allows_key(grant, ACCESS_WRITE, name, name, name);
    }
    grant_drop(&grant);
    return 0;
}
