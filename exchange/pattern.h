/* pattern.h - keys of a topic exchange as words: cut at the dots, and a binding key's wildcards put in one
 * form. A run of wildcards becomes its '*', as many as there were, and then one '#' if there was any: so
 * "#.*", "*.#" and "#.*.#" are the same pattern, and no wildcard follows a '#'. */
#ifndef EXCHANGE_PATTERN_H
#define EXCHANGE_PATTERN_H

#include "base/slice.h"

/* 255 dots make 256 empty words. */
enum { PATTERN_KEY_MAX = 255, PATTERN_WORDS_MAX = 256 };

enum word_kind { WORD_LITERAL, WORD_STAR, WORD_HASH };

/* A key cut at its dots. */
struct words {
    struct slice words[PATTERN_WORDS_MAX];
    unsigned count;
};

/* A binding key with its wildcards in the one form. */
struct pattern {
    struct slice words[PATTERN_WORDS_MAX];
    uint8_t kinds[PATTERN_WORDS_MAX]; /* enum word_kind */
    unsigned count;
    unsigned plain_from; /* there is no '#' from this word on, so that the bytes of these words end the key */
};

/* The words point into `key`, which has at most PATTERN_KEY_MAX bytes; "" has no words. */
void pattern_split(struct slice key, struct words *words);
void pattern_parse(struct slice key, struct pattern *pattern);
enum word_kind pattern_kind(struct slice word);
/* Takes the next word from a rest that begins with the dot before it; false at its end. */
bool pattern_next(struct slice *rest, struct slice *word);

#endif
