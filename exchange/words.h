/* words.h - keys of a topic exchange as words: cut at the dots, and a binding key's wildcards put in one
 * form. A run of wildcards becomes its '*', as many as there were, and then one '#' if there was any: so
 * "#.*", "*.#" and "#.*.#" are the same pattern, and no wildcard follows a '#'. */
#ifndef EXCHANGE_WORDS_H
#define EXCHANGE_WORDS_H

#include "base/slice.h"

/* 255 dots make 256 empty words. */
enum { WORDS_KEY_MAX = 255, WORDS_MAX = 256 };

enum word_kind { WORD_LITERAL, WORD_STAR, WORD_HASH };

/* A key cut at its dots. */
struct words {
    struct slice words[WORDS_MAX];
    unsigned count;
};

/* A binding key with its wildcards in the one form. */
struct word_pattern {
    struct slice words[WORDS_MAX];
    uint8_t kinds[WORDS_MAX]; /* enum word_kind */
    unsigned count;
    unsigned plain_from; /* there is no '#' from this word on, so that the bytes of these words end the key */
};

/* The words point into `key`, which has at most WORDS_KEY_MAX bytes; "" has no words. */
void words_split(struct slice key, struct words *words);
void words_parse(struct slice key, struct word_pattern *pattern);
enum word_kind words_kind(struct slice word);
/* Takes the next word from a rest that begins with the dot before it; false at its end. */
bool words_next(struct slice *rest, struct slice *word);

#endif
