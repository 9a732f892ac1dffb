/* words.c - keys of a topic exchange as words. */
#include "exchange/words.h"

#include "base/assert.h"

void words_split(struct slice key, struct words *words)
{
    assertf(key.len <= WORDS_KEY_MAX, "key of %zu bytes", key.len);
    words->count = 0;
    if (key.len == 0)
        return;
    const uint8_t *start = key.at, *end = key.at + key.len;
    for (const uint8_t *at = key.at; at < end; at++) {
        if (*at != '.')
            continue;
        words->words[words->count++] = slice_of(start, (size_t)(at - start));
        start = at + 1;
    }
    words->words[words->count++] = slice_of(start, (size_t)(end - start));
}

enum word_kind words_kind(struct slice word)
{
    if (word.len != 1)
        return WORD_LITERAL;
    return word.at[0] == '*' ? WORD_STAR : word.at[0] == '#' ? WORD_HASH : WORD_LITERAL;
}

static void append(struct word_pattern *p, enum word_kind kind, struct slice word)
{
    p->kinds[p->count] = (uint8_t)kind;
    p->words[p->count++] = word;
    if (kind == WORD_HASH)
        p->plain_from = p->count;
}

void words_parse(struct slice key, struct word_pattern *p)
{
    struct words raw;
    words_split(key, &raw);
    p->count = p->plain_from = 0;
    bool hash = false;
    for (unsigned i = 0; i < raw.count; i++) {
        enum word_kind kind = words_kind(raw.words[i]);
        if (kind == WORD_HASH) {
            hash = true;
            continue;
        }
        if (kind == WORD_LITERAL && hash) {
            append(p, WORD_HASH, SLICE("#"));
            hash = false;
        }
        append(p, kind, raw.words[i]);
    }
    if (hash)
        append(p, WORD_HASH, SLICE("#"));
}

bool words_next(struct slice *rest, struct slice *word)
{
    if (rest->len == 0)
        return false;
    assert(rest->at[0] == '.');
    const uint8_t *start = rest->at + 1, *end = rest->at + rest->len;
    const uint8_t *dot = memchr(start, '.', (size_t)(end - start));
    const uint8_t *stop = dot ? dot : end;
    *word = slice_of(start, (size_t)(stop - start));
    *rest = slice_of(stop, (size_t)(end - stop));
    return true;
}
