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

/* Control characters: ASCII's, and those from U+0080 on, one of which begins commands of terminals, too. */
static bool is_control(const uint8_t *at, size_t size)
{
    return size == 1 ? at[0] < 0x20 || at[0] == 0x7F : at[0] == 0xC2 && at[1] < 0xA0;
}

/* One line of plain UTF-8, whatever a client put into a name. */
static void append_escaped(struct buf *line, struct slice text)
{
    while (text.len > 0) {
        size_t size = slice_utf8_character(text);
        bool plain = size > 0 && !is_control(text.at, size);
        size = size > 0 ? size : 1;
        if (plain)
            buf_append(line, text.at, size);
        for (size_t i = 0; i < size && !plain; i++)
            buf_printf(line, "\\x%02x", text.at[i]);
        text = slice_of(text.at + size, text.len - size);
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
    append_escaped(&line, slice_of(text.at, (size_t)len));
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
