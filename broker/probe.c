/* probe.c - how much memory the process uses and may use, and how much room the disk has.
 *
 * Failure modes: what cannot be read is PROBE_UNKNOWN; the caller goes on with what it knew. */
#include "broker/probe.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/assert.h"

enum { PATH_SIZE = 4096, CGROUP_TEXT_SIZE = 8192 };

/* The file's beginning as a string; false when there is no such file. */
static bool read_text(const char *path, char *text, size_t size)
{
    FILE *file = fopen(path, "re");
    if (!file)
        return false;
    size_t got = fread(text, 1, size - 1, file);
    assert(got < size);
    text[got] = 0;
    fclose(file);
    return got > 0;
}

/* The second number of statm: resident pages. */
static uint64_t memory_used(void *arg)
{
    (void)arg;
    char text[256];
    uint64_t size, resident;
    if (!read_text("/proc/self/statm", text, sizeof(text)) ||
        sscanf(text, "%" SCNu64 " %" SCNu64, &size, &resident) != 2)
        return PROBE_UNKNOWN;
    return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* The number in `dir`/`name`; PROBE_UNKNOWN for "max" too. */
static uint64_t read_limit(const char *dir, const char *name)
{
    char path[PATH_SIZE + 64], text[64];
    uint64_t limit;
    int len = snprintf(path, sizeof(path), "%s/%s", dir, name);
    assert(len > 0 && (size_t)len < sizeof(path));
    if (!read_text(path, text, sizeof(text)) || sscanf(text, "%" SCNu64, &limit) != 1)
        return PROBE_UNKNOWN;
    return limit;
}

/* The least limit of the group at `path` and those it is in, up to the mount. A container sees its own
 * group at the mount, whatever path it is told. */
static uint64_t least_limit(const char *mount, const char *group, const char *name)
{
    char path[PATH_SIZE];
    size_t mount_len = strlen(mount);
    int len = snprintf(path, sizeof(path), "%s%s", mount, group);
    if (len < 0 || (size_t)len >= sizeof(path))
        return read_limit(mount, name);
    uint64_t least = PROBE_UNKNOWN;
    for (;;) {
        uint64_t limit = read_limit(path, name);
        least = limit < least ? limit : least;
        char *slash = strrchr(path, '/');
        if (!slash || (size_t)(slash - path) < mount_len)
            return least;
        *slash = 0;
    }
}

/* Lines are "0::/group" (version 2) or "5:memory:/group" (version 1, other controllers with commas
 * between). */
static uint64_t cgroup_limit(void)
{
    char text[CGROUP_TEXT_SIZE], *rest = NULL;
    uint64_t least = PROBE_UNKNOWN;
    if (!read_text("/proc/self/cgroup", text, sizeof(text)))
        return least;
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        char *controllers = strchr(line, ':'), *group = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!group)
            continue;
        *group++ = 0;
        uint64_t limit = PROBE_UNKNOWN;
        if (strcmp(controllers + 1, "") == 0)
            limit = least_limit("/sys/fs/cgroup", group, "memory.max");
        else if (strcmp(controllers + 1, "memory") == 0)
            limit = least_limit("/sys/fs/cgroup/memory", group, "memory.limit_in_bytes");
        least = limit < least ? limit : least;
    }
    return least;
}

static uint64_t memory_total(void *arg)
{
    (void)arg;
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    uint64_t machine = pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : PROBE_UNKNOWN;
    uint64_t group = cgroup_limit();
    return group < machine ? group : machine;
}

static uint64_t disk_free(void *arg)
{
    struct statvfs fs;
    if (statvfs(arg, &fs) != 0)
        return PROBE_UNKNOWN;
    return (uint64_t)fs.f_bavail * fs.f_frsize;
}

struct probe probe_system(const char *dir)
{
    assert(dir && *dir);
    return (struct probe){memory_used, memory_total, disk_free, (char *)(uintptr_t)dir};
}
