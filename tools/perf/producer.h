/* producer.h - a connection that publishes, as fast as it can or at a rate, with or without confirms or
 * transactions. */
#ifndef PERF_PRODUCER_H
#define PERF_PRODUCER_H

#include "tools/perf/template.h"
#include "tools/perf/worker.h"

struct producer {
    struct link link;
    const struct options *options;
    const struct templates *templates;
    uint64_t id, run;
    uint64_t template, template_step; /* the next template, and the distance to the one after */
    uint64_t *next;                   /* next sequence of each stream */
    uint64_t sent;                    /* messages put into the out-buffer; = publish sequence number */
    uint64_t offset_ns;               /* of this producer's schedule to the others' */
    uint64_t *pending;                /* with confirms: ns of message n at n & pending_mask; 0 = confirmed */
    uint64_t pending_mask;
    uint64_t confirmed_to, unconfirmed; /* all messages before confirmed_to are confirmed */
    uint64_t in_tx;                     /* messages of the open transaction */
    bool committing, syncing, synced, finished;
};

struct producer_place {
    uint64_t id, count; /* this one of so many */
    uint64_t run;       /* tag of the run, 0-255 */
};

/* The connection must be open with a channel; selects confirms or transactions there. Borrows all it gets. */
bool producer_init(struct producer *p, const struct topology *topology, const struct templates *templates,
                   struct producer_place place);
void producer_free(struct producer *p);

#endif
