/* runs_merge.h - many runs of notes become one, and notes that nobody needs any more go. */
#ifndef QUEUE_RUNS_MERGE_H
#define QUEUE_RUNS_MERGE_H

#include "queue/runs.h"

struct runs_merge {
    struct list sources; /* run.waiting */
    struct run *target;
    struct notes read;   /* of parts that were read */
    struct notes ready;  /* the earliest of these: no source has an earlier one */
    unsigned reading;    /* parts under way */
    bool all;            /* all runs that were there take part */
};

/* Once a turn, and when a part of a source has come: begins when there are too many runs or notes, and goes
 * on. What is due before that time does not go to disk again. */
void runs_merge_step(struct queue_home *home, uint64_t before_ms);
/* A note of a source that is needed. */
void runs_merge_add(struct runs *runs, const struct note *note);
void runs_merge_free(struct runs *runs);

#endif
