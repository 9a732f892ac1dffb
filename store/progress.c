/* progress.c - says how far a long recovery has come.
 *
 * Owner: the recovery. A start that takes milliseconds says nothing. */
#include "store/progress.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/assert.h"

enum { FIRST_MS = 1000, EVERY_MS = 5000, STEPS = 64 /* between looks at the clock */ };

void progress_init(struct progress *progress, const struct store_options *options, const struct clock *clock)
{
    *progress = (struct progress){.options = options, .due_ms = UINT64_MAX};
    if (!clock || !options->note)
        return;
    progress->clock = *clock;
    progress->due_ms = clock_ms(clock) + FIRST_MS;
}

bool progress_due(struct progress *progress)
{
    if (progress->due_ms == UINT64_MAX || ++progress->steps < STEPS)
        return false;
    progress->steps = 0;
    return clock_ms(&progress->clock) >= progress->due_ms;
}

void progress_say(struct progress *progress, uint64_t done, uint64_t total, const char *what)
{
    char text[160];
    assert(progress->due_ms != UINT64_MAX && what);
    snprintf(text, sizeof text, "recovering: %" PRIu64 " of %" PRIu64 " %s", done, total, what);
    progress->options->note(progress->options->note_arg, STORE_NOTE_INFO, text);
    progress->due_ms = clock_ms(&progress->clock) + EVERY_MS;
}
