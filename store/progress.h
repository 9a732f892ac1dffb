/* progress.h - says how far a long recovery has come: what, how many, of how many. */
#ifndef STORE_PROGRESS_H
#define STORE_PROGRESS_H

#include "base/clock.h"
#include "store/store.h"

struct progress {
    const struct store_options *options; /* whose note is called */
    struct clock clock;
    uint64_t due_ms; /* when the next line is; UINT64_MAX = never */
    unsigned steps;  /* since the clock was looked at */
};

/* `clock` NULL = nothing is ever said. The first line comes a second from now. */
void progress_init(struct progress *progress, const struct store_options *options, const struct clock *clock);
/* To be called at every step: true when it is time for a line, which progress_say makes. */
bool progress_due(struct progress *progress);
/* "recovering: DONE of TOTAL WHAT". */
void progress_say(struct progress *progress, uint64_t done, uint64_t total, const char *what);

#endif
