/* grant.c - the rights that a token carries.
 *
 * Patterns stay text and are read when they are matched: tokens are short. Matching goes back to the last
 * star at most, so its cost is bounded by the product of both lengths. */
#include "auth/grant.h"

#include "base/assert.h"
#include "base/buf.h"
#include "base/mem.h"

struct scope {
    enum access access;
    struct slice text; /* own memory; the patterns are parts of it */
    struct slice vhost, name, key;
    bool has_key;
};

struct grant *grant_new(void)
{
    struct grant *grant = mem_zalloc(sizeof(*grant));
    grant->expires_s = UINT64_MAX;
    return grant;
}

void grant_drop(struct grant **holder)
{
    struct grant *grant = *holder;
    *holder = NULL;
    if (!grant)
        return;
    for (size_t i = 0; i < grant->scope_count; i++)
        slice_free(&grant->scopes[i].text);
    mem_free(grant->scopes);
    mem_free(grant);
}

/* Takes what stands before the next '/' off the front of `rest`. */
static struct slice take_part(struct slice *rest)
{
    const uint8_t *slash = rest->len ? memchr(rest->at, '/', rest->len) : NULL;
    struct slice part = slice_of(rest->at, slash ? (size_t)(slash - rest->at) : rest->len);
    size_t step = part.len + (slash ? 1 : 0);
    *rest = slice_of(rest->at + step, rest->len - step);
    return part;
}

static size_t count(struct slice text, uint8_t byte)
{
    size_t found = 0;
    for (size_t i = 0; i < text.len; i++)
        found += text.at[i] == byte;
    return found;
}

/* "read:vhost/name" or "read:vhost/name/key". */
static bool parse(struct slice text, struct scope *scope)
{
    static const char *const words[] = {
        [ACCESS_CONFIGURE] = "configure:", [ACCESS_WRITE] = "write:", [ACCESS_READ] = "read:"};
    for (size_t i = 0; i < array_size(words); i++) {
        if (!slice_starts_with(text, words[i]))
            continue;
        struct slice rest = slice_of(text.at + strlen(words[i]), text.len - strlen(words[i]));
        size_t slashes = count(rest, '/');
        scope->access = (enum access)i;
        scope->vhost = take_part(&rest);
        scope->name = take_part(&rest);
        scope->key = rest;
        scope->has_key = slashes == 2;
        return slashes == 1 || slashes == 2;
    }
    return false;
}

bool grant_add(struct grant *grant, struct slice text)
{
    struct scope scope = {0};
    if (!parse(text, &scope))
        return true;
    if (grant->scope_count == GRANT_SCOPES_MAX)
        return false;
    scope.text = slice_copy(text);
    bool again = parse(scope.text, &scope);
    assert(again);
    if ((grant->scope_count & (grant->scope_count + 1)) == 0) /* 0, 1, 3, 7 … are full */
        grant->scopes = mem_realloc(grant->scopes,
                                    (grant->scope_count * 2 + 1) * sizeof(*grant->scopes));
    grant->scopes[grant->scope_count++] = scope;
    return true;
}

/* --- matching --- */

static int hex(uint8_t digit)
{
    if (digit >= '0' && digit <= '9')
        return digit - '0';
    digit |= 0x20;
    return digit >= 'a' && digit <= 'f' ? digit - 'a' + 10 : -1;
}

/* A star, a byte, or -1 for what is malformed; and how long it is in the pattern. */
enum { STAR = 256 };

static int read_symbol(struct slice pattern, size_t *length)
{
    assert(pattern.len > 0);
    *length = 1;
    if (pattern.at[0] == '*')
        return STAR;
    if (pattern.at[0] == '+')
        return ' ';
    if (pattern.at[0] != '%')
        return pattern.at[0];
    if (pattern.len < 3 || hex(pattern.at[1]) < 0 || hex(pattern.at[2]) < 0)
        return -1;
    *length = 3;
    return hex(pattern.at[1]) * 16 + hex(pattern.at[2]);
}

bool wildcard_matches(struct slice pattern, struct slice text)
{
    size_t p = 0, t = 0, length = 0;
    size_t after_star = SIZE_MAX, star_text = 0; /* where to go on when what follows the last star failed */
    while (t < text.len || p < pattern.len) {
        int symbol = p < pattern.len
                         ? read_symbol(slice_of(pattern.at + p, pattern.len - p), &length)
                         : STAR + 1;
        if (symbol < 0)
            return false;
        if (symbol == STAR) {
            p += length;
            after_star = p, star_text = t;
        } else if (t < text.len && symbol == text.at[t]) {
            p += length;
            t++;
        } else if (after_star != SIZE_MAX && star_text < text.len) {
            p = after_star, t = ++star_text;
        } else {
            return false;
        }
    }
    return true;
}

/* The vhost's own name in place of {vhost}. */
static bool matches(struct slice pattern, struct slice vhost, struct slice text)
{
    static const char word[] = "{vhost}";
    const uint8_t *found = pattern.len ? memmem(pattern.at, pattern.len, word, sizeof(word) - 1) : NULL;
    if (!found)
        return wildcard_matches(pattern, text);
    struct buf expanded = {0};
    while (pattern.len) {
        if (slice_starts_with(pattern, word)) {
            for (size_t i = 0; i < vhost.len; i++)
                buf_printf(&expanded, "%%%02X", vhost.at[i]);
            pattern = slice_of(pattern.at + sizeof(word) - 1, pattern.len - (sizeof(word) - 1));
        } else {
            buf_append(&expanded, pattern.at, 1);
            pattern = slice_of(pattern.at + 1, pattern.len - 1);
        }
    }
    bool matched = wildcard_matches(buf_slice(&expanded), text);
    buf_free(&expanded);
    return matched;
}

bool grant_allows_vhost(const struct grant *grant, struct slice vhost)
{
    for (size_t i = 0; i < grant->scope_count; i++)
        if (matches(grant->scopes[i].vhost, vhost, vhost))
            return true;
    return false;
}

static bool covers(const struct scope *scope, enum access access, struct slice vhost, struct slice name)
{
    return scope->access == access && matches(scope->vhost, vhost, vhost) &&
           matches(scope->name, vhost, name);
}

bool grant_allows(const struct grant *grant, enum access access, struct slice vhost, struct slice name)
{
    for (size_t i = 0; i < grant->scope_count; i++)
        if (covers(&grant->scopes[i], access, vhost, name))
            return true;
    return false;
}

bool grant_allows_key(const struct grant *grant, enum access access, struct slice vhost,
                      struct slice exchange, struct slice key)
{
    for (size_t i = 0; i < grant->scope_count; i++)
        if (grant->scopes[i].has_key && covers(&grant->scopes[i], access, vhost, exchange) &&
            matches(grant->scopes[i].key, vhost, key))
            return true;
    return false;
}
