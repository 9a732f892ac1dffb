/* dest.h - what a binding leads to: a queue or another exchange.
 * Embedded in both; the owner finds itself with container_of. */
#ifndef EXCHANGE_DEST_H
#define EXCHANGE_DEST_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/slice.h"

struct exchange;
struct policy;

enum dest_kind { DEST_QUEUE, DEST_EXCHANGE };

struct dest {
    enum dest_kind kind;
    struct list bindings;   /* back-list: every binding that leads here (binding.by_dest) */
    uint64_t stamp;         /* of the last routing that reached it: one copy however many paths */
    struct slice name;      /* borrowed from the owner */
    struct policy *policies[2]; /* the broker's: the policy and the operator policy that govern it, or NULL */
};

/* One binding. Identity: (source, destination, key, arguments) (semantics 1.3, queue.bind).
 * Owned by its source exchange; linked in its destination's back-list (invariant I6). */
struct binding {
    struct list by_dest;
    struct list by_source;  /* all of the source's bindings */
    struct exchange *source;
    struct dest *dest;
    struct slice key;       /* key and args lie behind the struct, in the same block */
    struct slice args;      /* table fields */
    bool durable;           /* both ends durable: kept in the store */
    bool implicit;          /* the default exchange's binding of every queue: not shown, not counted */
    struct list in_index;   /* for the exchange type: its list of equals */
    void *index_node;       /* for the exchange type: where it hangs */
};

static inline void dest_init(struct dest *dest, enum dest_kind kind, struct slice name)
{
    *dest = (struct dest){.kind = kind, .name = name};
    list_init(&dest->bindings);
}

#endif
