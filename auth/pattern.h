/* pattern.h - a regular expression over the names of exchanges and queues (PCRE2), as permissions
 * use it. The pattern is an administrator's, the name a client's: matching is bounded, so no pair
 * of the two can hold up the loop. Bytes are compared as they are, as RabbitMQ does: no UTF mode,
 * case matters. */
#ifndef AUTH_PATTERN_H
#define AUTH_PATTERN_H

#include <stdbool.h>
#include <stddef.h>

#include "base/slice.h"

enum {
    PATTERN_LENGTH_MAX = 4096,
    PATTERN_STEPS_MAX = 100000, /* about 1.5 ms of backtracking at worst */
    PATTERN_HEAP_KB_MAX = 1024, /* that it may hold meanwhile */
};

struct pattern;

/* NULL when `source` is no regular expression or too long: `error` gets one sentence that names the
 * place. An empty pattern means "^$" (RabbitMQ's access-control page): it matches no name there is.
 */
struct pattern *pattern_compile(struct slice source, char *error, size_t error_size);
/* Unanchored. False too when the match takes more steps or memory than its limits allow. */
bool pattern_matches(struct pattern *pattern, struct slice name);
/* True when a match was given up at those limits since this was last asked. */
bool pattern_gave_up(struct pattern *pattern);
/* NULL is allowed. */
void pattern_free(struct pattern **pattern);

#endif
