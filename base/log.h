/* log.h - the log, in RabbitMQ's line format:
 * 2026-08-13 17:46:15.123456+00:00 [info] <0.12.0> text
 * The middle number is the connection's id, 0 for the server itself. Newlines, control characters
 * and what is no UTF-8 are escaped in a text, so nobody can forge a line or talk to a terminal. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/clock.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_NOTICE, LOG_WARNING, LOG_ERROR, LOG_CRITICAL, LOG_NONE };

struct log {
    FILE *console; /* NULL = off */
    FILE *file;    /* NULL = off; owned */
    enum log_level console_level, file_level;
    struct clock clock;
};

/* Console at info, no file. */
void log_init(struct log *log, FILE *console, struct clock clock);
/* Appends to `path` from now on; 0 or -errno. */
int log_open_file(struct log *log, const char *path) __attribute__((warn_unused_result));
void log_close(struct log *log);

void log_line(struct log *log, enum log_level level, uint64_t id, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

static inline bool log_wants(const struct log *log, enum log_level level)
{
    return (log->console && level >= log->console_level) || (log->file && level >= log->file_level);
}

/* False when the name is no level. */
bool log_level_from_name(const char *name, enum log_level *level);

#endif
