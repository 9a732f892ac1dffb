/* settings.h - what can be chosen of a queue, all in one place, whoever chose it: arguments of its
 * declaration, a policy, an operator's policy. They are merged outside; a queue is given the result with
 * queue_configure, when it is made and whenever it changes, and its parts (limit, expiry, outcomes) take
 * from it what is theirs. */
#ifndef QUEUE_SETTINGS_H
#define QUEUE_SETTINGS_H

#include "queue/limit.h"

#define SETTINGS_NEVER UINT64_MAX

struct retry; /* retry.h */

struct settings {
    uint64_t ttl_ms;         /* a message waits no longer than this; SETTINGS_NEVER = no limit */
    uint64_t expires_ms;     /* the queue goes when it was unused for so long; SETTINGS_NEVER = it stays */
    uint64_t consumer_timeout_ms; /* to settle a message; SETTINGS_NEVER = as the server says */
    struct limit limit;
    int64_t delivery_limit;  /* failed deliveries; negative = no limit */
    bool dead_letters;       /* what is rejected, expires or is dropped goes to `dead_exchange` ... */
    bool has_dead_key;       /* ... with `dead_key`, else with the keys that it came with */
    bool at_least_once;      /* ... and stays here for as long as that fails, if publishers are refused */
    bool refuses;            /* x-overflow is reject-publish, whether there is a limit or not */
    struct slice dead_exchange, dead_key;
    const struct retry *retry; /* NULL = what is requeued comes back at once */
};

/* Nothing is limited, nothing expires, nothing is dead-lettered. */
struct settings settings_none(void);
/* Sets what the arguments of a queue say, which were checked when it was declared; others are ignored. The
 * slices point into `args`. */
void settings_apply_args(struct settings *settings, struct slice args);
static inline struct settings settings_of_args(struct slice args)
{
    struct settings settings = settings_none();
    settings_apply_args(&settings, args);
    return settings;
}

/* True when a message whose dead letter no queue takes is kept. What else comes is to be refused then: with
 * drop-head, or a letter for each message that is refused, there would be no end to it. */
static inline bool settings_keep(const struct settings *settings)
{
    return settings->at_least_once && settings->refuses;
}

/* A copy with own memory; settings_free is for such only. */
struct settings settings_copy(const struct settings *settings);
void settings_free(struct settings *settings);

#endif
