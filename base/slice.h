/* slice.h - a borrowed run of bytes: whoever made the slice says how long it is valid. */
#ifndef BASE_SLICE_H
#define BASE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct slice {
    const uint8_t *at;
    size_t len;
};

/* A slice of a string literal. */
#define SLICE(literal) ((struct slice){(const uint8_t *)(literal), sizeof(literal) - 1})
/* The two arguments of a "%.*s". */
#define SLICE_ARG(s) (int)(s).len, (const char *)(s).at

static inline struct slice slice_of(const void *at, size_t len)
{
    return (struct slice){at, len};
}

static inline struct slice slice_of_string(const char *string)
{
    return (struct slice){(const uint8_t *)string, strlen(string)};
}

static inline bool slice_equal(struct slice a, struct slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.at, b.at, a.len) == 0);
}

static inline bool slice_is(struct slice a, const char *string)
{
    return slice_equal(a, slice_of_string(string));
}

static inline bool slice_starts_with(struct slice a, const char *prefix)
{
    size_t len = strlen(prefix);
    return a.len >= len && memcmp(a.at, prefix, len) == 0;
}

/* Bytewise order, shorter first among equals; as memcmp. */
static inline int slice_compare(struct slice a, struct slice b)
{
    size_t shared = a.len < b.len ? a.len : b.len;
    int order = shared ? memcmp(a.at, b.at, shared) : 0;
    return order ? order : (a.len > b.len) - (a.len < b.len);
}

/* A copy with memory of its own (freed with slice_free), followed by a zero byte not counted. */
struct slice slice_copy(struct slice s);
void slice_free(struct slice *s);

/* True when the bytes are well-formed UTF-8 (RFC 3629: no surrogates, no overlong forms). */
bool slice_is_utf8(struct slice s);

/* Seeded 64-bit hash; the seed keeps clients from choosing colliding names. */
uint64_t slice_hash(struct slice s, uint64_t seed);
/* 128 bits of hash, the same for ever: for names that are told apart by it alone. */
void slice_digest(struct slice s, uint64_t digest[2]);

#endif
