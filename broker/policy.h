/* policy.h - one policy: what it says, whom it is for, and how two of them are merged. RabbitMQ's page
 * "Policies": of a vhost's policies the one with the highest priority whose pattern matches the name
 * counts; so of its operator policies; numbers of both are merged by the lesser one. */
#ifndef BROKER_POLICY_H
#define BROKER_POLICY_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/slice.h"

enum policy_target {
    POLICY_QUEUES, /* of every kind */
    POLICY_CLASSIC_QUEUES,
    POLICY_QUORUM_QUEUES,
    POLICY_STREAMS,
    POLICY_EXCHANGES,
    POLICY_ALL,
};

/* What a policy may be for: one of the last four kinds of queue or exchange above. */
enum policy_subject { POLICY_CLASSIC_QUEUE, POLICY_QUORUM_QUEUE, POLICY_STREAM, POLICY_EXCHANGE };

struct pattern;

struct policy {
    unsigned refs; /* one for the vhost, one for each queue and exchange that it governs */
    bool of_operator;
    struct slice name, source; /* the pattern as written; own memory */
    struct pattern *pattern;
    unsigned give_ups; /* names whose match took too long: then it does not govern them */
    enum policy_target apply_to;
    int64_t priority;
    json_t *definition;
};

/* As it was given, before it was checked. `apply_to` "" = all. Pairs of names and values in an array, as
 * RabbitMQ 3 exports some objects, are read as an object. */
struct policy_given {
    struct slice name, pattern, apply_to;
    const json_t *definition;
    int64_t priority;
    bool of_operator;
};

/* With one reference. NULL and a reason, in RabbitMQ's words where it has some, when it is refused. */
struct policy *policy_new(const struct policy_given *given, char *reason, size_t reason_size);
struct policy *policy_hold(struct policy *policy);
/* Gives a reference back; NULL is allowed. */
void policy_drop(struct policy **policy);

bool policy_matches(const struct policy *policy, enum policy_subject subject, struct slice name);
/* Which of two comes first: the higher priority, then the name; as qsort wants it. */
int policy_compare(const struct policy *a, const struct policy *b);
/* "queues", "classic_queues", … */
const char *policy_target_name(enum policy_target target);
/* The first key of it that has no effect here, NULL when there is none. */
const char *policy_idle_key(const struct policy *policy);

/* What a policy and an operator policy, its ceiling, say together; each may be NULL. False when neither
 * says it. */
bool policy_number(const struct policy *user, const struct policy *ceiling, const char *key,
                   int64_t *number);
bool policy_text(const struct policy *user, const struct policy *ceiling, const char *key,
                 struct slice *text);
/* Of a policy alone, which may be NULL. `delays_ms` has room for RETRY_STEPS_MAX. */
bool policy_flag(const struct policy *user, const char *key, bool *flag);
bool policy_delays(const struct policy *user, const char *key, uint64_t *delays_ms, unsigned *count);
/* The whole of it as a JSON object. */
void policy_effective(const struct policy *user, const struct policy *ceiling, struct buf *out);

/* {"pattern":…,"apply-to":…,"definition":{…},"priority":…}: as it is kept in the store. */
void policy_print(const struct policy *policy, struct buf *out);

#endif
