/* trace.c - what happened in a simulated run. */
#include "tests/sim/trace.h"

#include <stdarg.h>
#include <string.h>

#include "base/slice.h"

void trace_init(struct trace *trace, bool verbose)
{
    memset(trace, 0, sizeof(*trace));
    trace->verbose = verbose;
}

void trace_line(struct trace *trace, const char *format, ...)
{
    char *line = trace->lines[trace->count % TRACE_LINES];
    va_list args;
    va_start(args, format);
    vsnprintf(line, TRACE_LINE_SIZE, format, args);
    va_end(args);
    trace->count++;
    trace->hash = slice_hash(slice_of_string(line), trace->hash);
    if (trace->verbose)
        fprintf(stderr, "%6llu %s\n", (unsigned long long)trace->count, line);
}

void trace_print(const struct trace *trace, FILE *out)
{
    uint64_t first = trace->count > TRACE_LINES ? trace->count - TRACE_LINES : 0;
    for (uint64_t i = first; i < trace->count; i++)
        fprintf(out, "%6llu %s\n", (unsigned long long)i + 1, trace->lines[i % TRACE_LINES]);
}
