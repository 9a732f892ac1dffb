/* slice.c - borrowed runs of bytes. */
#include "base/slice.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/mem.h"

struct slice slice_copy(struct slice s)
{
    return slice_of(mem_copy(s.at, s.len), s.len);
}

void slice_free(struct slice *s)
{
    mem_free((void *)(uintptr_t)s->at);
    *s = (struct slice){0};
}

/* Length of the well-formed sequence at `p`, 0 if there is none. RFC 3629, section 4. */
static size_t utf8_sequence(const uint8_t *p, size_t left)
{
    uint8_t low = 0x80, high = 0xBF;
    size_t len;
    if (p[0] < 0x80)
        return 1;
    if (p[0] >= 0xC2 && p[0] <= 0xDF)
        len = 2;
    else if ((p[0] & 0xF0) == 0xE0)
        len = 3, low = p[0] == 0xE0 ? 0xA0 : 0x80, high = p[0] == 0xED ? 0x9F : 0xBF;
    else if (p[0] >= 0xF0 && p[0] <= 0xF4)
        len = 4, low = p[0] == 0xF0 ? 0x90 : 0x80, high = p[0] == 0xF4 ? 0x8F : 0xBF;
    else
        return 0;
    if (left < len || p[1] < low || p[1] > high)
        return 0;
    for (size_t i = 2; i < len; i++)
        if ((p[i] & 0xC0) != 0x80)
            return 0;
    return len;
}

static uint64_t load_word(const uint8_t *at)
{
    uint64_t word;
    memcpy(&word, at, sizeof(word));
    return word;
}

/* Eight bytes at a time, the last word overlapping the one before it. */
static bool is_ascii(struct slice s)
{
    uint64_t all = 0;
    if (s.len < sizeof(all)) {
        for (size_t i = 0; i < s.len; i++)
            all |= s.at[i];
        return all < 0x80;
    }
    for (size_t i = sizeof(all); i < s.len; i += sizeof(all))
        all |= load_word(s.at + i - sizeof(all));
    all |= load_word(s.at + s.len - sizeof(all));
    return (all & UINT64_C(0x8080808080808080)) == 0;
}

bool slice_is_utf8(struct slice s)
{
    if (is_ascii(s)) /* nearly all names are */
        return true;
    for (size_t i = 0; i < s.len;) {
        size_t len = utf8_sequence(s.at + i, s.len - i);
        if (len == 0)
            return false;
        i += len;
    }
    return true;
}

uint64_t slice_hash(struct slice s, uint64_t seed)
{
    return XXH3_64bits_withSeed(s.at, s.len, seed);
}

void slice_digest(struct slice s, uint64_t digest[2])
{
    XXH128_hash_t hash = XXH3_128bits(s.at, s.len);
    digest[0] = hash.high64, digest[1] = hash.low64;
}
