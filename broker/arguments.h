/* arguments.h - the arguments of declarations: which are checked, which are compared (semantics 1.3,
 * 1.4). */
#ifndef BROKER_ARGUMENTS_H
#define BROKER_ARGUMENTS_H

#include <stdbool.h>

#include "base/slice.h"
#include "protocol/fault.h"

/* What a text is about: "queue 'q' in vhost '/'". */
struct resource {
    const char *kind;
    struct slice name, vhost;
};

/* printf's format and arguments of a resource. */
#define RESOURCE_FORMAT "%s '%.*s' in vhost '%.*s'"
#define RESOURCE_ARG(r) (r)->kind, SLICE_ARG((r)->name), SLICE_ARG((r)->vhost)

/* 406 "invalid arg 'x-message-ttl' for queue …" when a known argument has a wrong type or value. */
bool arguments_check_queue(struct slice args, const struct resource *what, struct fault *f);
/* Reads a consumer's arguments; 406 when one has a wrong type. */
bool arguments_check_consumer(struct slice args, const struct resource *what, int64_t *priority,
                              struct fault *f);
/* 406 "inequivalent arg …" when a known queue argument differs, by value. */
bool arguments_compare_queue(struct slice received, struct slice current,
                             const struct resource *what, struct fault *f);
/* The same for one argument, present or not. */
bool arguments_compare(const char *name, struct slice received, struct slice current,
                       const struct resource *what, struct fault *f);
/* 406 "inequivalent arg 'durable' … received 'true' but current is 'false'". */
bool arguments_compare_flag(const char *name, bool received, bool current,
                            const struct resource *what, struct fault *f);

/* The name of a known argument that this version keeps but does not act on yet, NULL when there is none. */
const char *arguments_without_effect(struct slice args);

#endif
