/* trace.h - what happened in a simulated run: a hash of all of it and the last lines of it. */
#ifndef TESTS_SIM_TRACE_H
#define TESTS_SIM_TRACE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum { TRACE_LINES = 40, TRACE_LINE_SIZE = 200 };

struct trace {
    uint64_t hash, count;
    bool verbose; /* every line to standard error at once */
    char lines[TRACE_LINES][TRACE_LINE_SIZE];
};

void trace_init(struct trace *trace, bool verbose);
void trace_line(struct trace *trace, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The last TRACE_LINES lines, oldest first. */
void trace_print(const struct trace *trace, FILE *out);

#endif
