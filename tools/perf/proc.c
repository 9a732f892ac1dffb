/* proc.c - reads /proc/PID/stat and /proc/PID/status. */
#include "tools/perf/proc.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/assert.h"

static bool read_file(uint64_t pid, const char *name, char *text, size_t size)
{
    char path[64];
    assert(size > 1);
    snprintf(path, sizeof(path), "/proc/%" PRIu64 "/%s", pid, name);
    FILE *file = fopen(path, "re");
    if (!file)
        return false;
    size_t n = fread(text, 1, size - 1, file);
    text[n] = 0;
    fclose(file);
    return n > 0;
}

/* The number of kilobytes in the line "Name:   123 kB", as bytes; 0 when there is none. */
static uint64_t status_bytes(const char *text, const char *name)
{
    uint64_t kilobytes = 0;
    const char *line = strstr(text, name);
    if (line && sscanf(line + strlen(name), ": %" SCNu64 " kB", &kilobytes) != 1)
        kilobytes = 0;
    return kilobytes * 1024;
}

bool proc_read(uint64_t pid, struct proc_usage *usage)
{
    char text[4096];
    uint64_t user = 0, system = 0;
    *usage = (struct proc_usage){0};
    if (!read_file(pid, "stat", text, sizeof(text)))
        return false;
    const char *rest = strrchr(text, ')'); /* the name may hold spaces */
    if (!rest || sscanf(rest, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %" SCNu64 " %" SCNu64, &user,
                        &system) != 2)
        return false;
    usage->cpu_seconds = (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
    if (!read_file(pid, "status", text, sizeof(text)))
        return false;
    usage->rss_bytes = status_bytes(text, "VmRSS");
    usage->rss_peak_bytes = status_bytes(text, "VmHWM");
    return true;
}

double proc_own_cpu(void)
{
    struct rusage usage;
    int error = getrusage(RUSAGE_SELF, &usage);
    assert(error == 0);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}
