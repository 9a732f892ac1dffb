/* pattern.c - a regular expression over the names of exchanges and queues (PCRE2).
 *
 * Owner: the permission it belongs to. A compiled pattern is never changed, but for the note that it gave up. Failure mode: a pattern
 * that backtracks without end on some name stops at the limits below and does not match, which
 * refuses access. */
#include "auth/pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdio.h>

#include "base/assert.h"
#include "base/mem.h"

struct pattern {
    pcre2_code *code;            /* NULL when `everything` */
    pcre2_match_context *limits; /* NULL when `everything` */
    bool everything;             /* ".*", by far the most common one, needs no engine */
    bool gave_up;                /* at a limit, and nobody has asked since */
};

static pcre2_match_context *make_limits(void)
{
    pcre2_match_context *limits = pcre2_match_context_create(NULL);
    if (!limits)
        panic("out of memory for a match context");
    pcre2_set_match_limit(limits, PATTERN_STEPS_MAX);
    pcre2_set_depth_limit(limits, PATTERN_STEPS_MAX);
    pcre2_set_heap_limit(limits, PATTERN_HEAP_KB_MAX);
    return limits;
}

/* NEVER_UTF: a pattern may not switch UTF mode on for itself, names need not be UTF-8. */
static pcre2_code *compile(struct slice source, char *error, size_t error_size)
{
    int number;
    PCRE2_SIZE offset;
    pcre2_code *code =
        pcre2_compile(source.len ? source.at : (PCRE2_SPTR) "", source.len,
                      PCRE2_NEVER_UTF | PCRE2_NEVER_BACKSLASH_C, &number, &offset, NULL);
    if (!code) {
        char reason[160] = "";
        pcre2_get_error_message(number, (PCRE2_UCHAR *)reason, sizeof(reason));
        snprintf(error, error_size, "'%.*s' is not a regular expression: %s at character %zu",
                 SLICE_ARG(source), reason, offset + 1);
    }
    return code;
}

struct pattern *pattern_compile(struct slice source, char *error, size_t error_size)
{
    assert(error && error_size > 0);
    if (source.len > PATTERN_LENGTH_MAX) {
        snprintf(error, error_size,
                 "a regular expression of %zu bytes is longer than the %d allowed", source.len,
                 PATTERN_LENGTH_MAX);
        return NULL;
    }
    struct pattern *pattern = mem_zalloc(sizeof(*pattern));
    pattern->everything = slice_is(source, ".*");
    if (pattern->everything)
        return pattern;
    pattern->code = compile(source.len ? source : SLICE("^$"), error, error_size);
    if (pattern->code)
        pattern->limits = make_limits();
    else
        pattern_free(&pattern);
    assert(!pattern || (pattern->code && pattern->limits));
    return pattern;
}

bool pattern_matches(struct pattern *pattern, struct slice name)
{
    if (pattern->everything)
        return true;
    assert(pattern->code && pattern->limits);
    /* Made for each match: once used it keeps 20 KB, too much to keep for every permission. */
    pcre2_match_data *data = pcre2_match_data_create(1, NULL);
    if (!data)
        panic("out of memory for a match");
    int found = pcre2_match(pattern->code, name.len ? name.at : (PCRE2_SPTR) "", name.len, 0, 0,
                            data, pattern->limits);
    pcre2_match_data_free(data);
    pattern->gave_up = pattern->gave_up || (found < 0 && found != PCRE2_ERROR_NOMATCH);
    return found >= 0;
}

bool pattern_gave_up(struct pattern *pattern)
{
    bool gave_up = pattern->gave_up;
    assert(!gave_up || !pattern->everything);
    pattern->gave_up = false;
    return gave_up;
}

void pattern_free(struct pattern **pattern)
{
    assert(pattern);
    if (*pattern) {
        pcre2_code_free((*pattern)->code);
        pcre2_match_context_free((*pattern)->limits);
        mem_free(*pattern);
    }
    *pattern = NULL;
}
