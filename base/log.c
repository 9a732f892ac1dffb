/* log.c - the log. */
#include "base/log.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "base/buf.h"
#include "base/slice.h"

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

/* Bytes of the character at the front, 0 when it is not to be seen as it is: a control (terminals take those
 * of U+0080 to U+009F for their own), an end of a line, what turns the direction of writing, no UTF-8. */
static size_t plain_length(struct slice rest)
{
    const uint8_t *at = rest.at;
    if (at[0] < 0x80)
        return at[0] >= 0x20 && at[0] != 0x7F;
    size_t len = at[0] < 0xE0 ? 2 : at[0] < 0xF0 ? 3 : 4;
    if (len > rest.len || !slice_is_utf8(slice_of(at, len)))
        return 0;
    if (at[0] == 0xC2 && at[1] < 0xA0)
        return 0;
    bool turns = at[0] == 0xE2 && ((at[1] == 0x80 && at[2] >= 0xA8 && at[2] <= 0xAE) ||
                                   (at[1] == 0x81 && at[2] >= 0xA6 && at[2] <= 0xA9));
    return turns ? 0 : len;
}

/* One line that looks like what it is, whatever a client put into a name. */
static void append_escaped(struct buf *line, const char *text, size_t len)
{
    for (struct slice rest = slice_of(text, len); rest.len;) {
        size_t plain = plain_length(rest), step = plain ? plain : 1;
        if (plain)
            buf_append(line, rest.at, plain);
        else
            buf_printf(line, "\\x%02x", rest.at[0]);
        rest = slice_of(rest.at + step, rest.len - step);
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
