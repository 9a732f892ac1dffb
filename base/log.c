/* log.c - the log. */
#include "base/log.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "base/buf.h"

static const char *const level_names[] = {"debug",   "info",  "notice",  "warning",
                                          "error", "critical", "none"};

void log_init(struct log *log, FILE *console, struct clock clock)
{
    *log = (struct log){.console = console, .console_level = LOG_INFO, .clock = clock};
}

int log_open_file(struct log *log, const char *path)
{
    FILE *file = fopen(path, "ae");
    if (!file)
        return -errno;
    setvbuf(file, NULL, _IOLBF, 0);
    log->file = file;
    log->file_level = LOG_INFO;
    return 0;
}

void log_close(struct log *log)
{
    if (log->file)
        fclose(log->file);
    log->file = NULL;
}

bool log_level_from_name(const char *name, enum log_level *level)
{
    for (int i = LOG_DEBUG; i <= LOG_NONE; i++)
        if (strcmp(name, level_names[i]) == 0) {
            *level = (enum log_level)i;
            return true;
        }
    return false;
}

static void append_time(struct buf *line, uint64_t wall_us)
{
    time_t seconds = (time_t)(wall_us / 1000000);
    struct tm tm;
    gmtime_r(&seconds, &tm);
    char text[32];
    strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S", &tm);
    buf_printf(line, "%s.%06u+00:00", text, (unsigned)(wall_us % 1000000));
}

/* One line, whatever a client put into a name. */
static void append_escaped(struct buf *line, const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c >= 0x20 && c != 0x7F)
            buf_append(line, &c, 1);
        else
            buf_printf(line, "\\x%02x", c);
    }
}

void log_line(struct log *log, enum log_level level, uint64_t id, const char *format, ...)
{
    if (!log_wants(log, level))
        return;
    struct buf text = {0}, line = {0};
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    vsnprintf((char *)buf_reserve(&text, (size_t)len + 1), (size_t)len + 1, format, again);
    va_end(again);
    append_time(&line, log->clock.wall_us(log->clock.arg));
    buf_printf(&line, " [%s] <0.%llu.0> ", level_names[level], (unsigned long long)id);
    append_escaped(&line, (char *)text.at, (size_t)len);
    buf_append(&line, "\n", 1);
    if (log->console && level >= log->console_level) {
        fwrite(line.at, 1, line.len, log->console);
        fflush(log->console);
    }
    if (log->file && level >= log->file_level)
        fwrite(line.at, 1, line.len, log->file);
    buf_free(&text);
    buf_free(&line);
}
