/* powerloss.c - preloaded into the broker: a disk that loses power, fails and fills up, and a clock
 * that jumps.
 *
 * It stands between the program and the C library for the files below FAULTS_DIR. Settings of the
 * environment:
 *   FAULTS_DIR      the data directory
 *   FAULTS_SIDE     a directory beside it, for what may be lost and what may come back; it outlives the
 *                   process, for what that has not synced is as unsafe when it was killed
 *   FAULTS_SEED     what is lost, and which writes are short
 *   FAULTS_PLUG     a named pipe: the power goes when something is written to it
 *   FAULTS_LOSE_AT  the power goes at the change of that number (writes, syncs, names)
 *   FAULTS_FAIL     KIND:ERRNO:N[:on] - the Nth write, sync or name fails so, and all later ones
 *   FAULTS_FULL     while there is a file of that name, nothing can grow and nothing can be made: ENOSPC
 *   FAULTS_LIE      a negative control, a disk that does not do what it says: `all`: no sync of a file makes
 *                   anything durable; `left`: only what this process wrote, not what a killed one had left
 *   FAULTS_SHORT    if set, writes may be short or interrupted
 *   FAULTS_FREE     a file with the bytes that the file system says are free
 *   FAULTS_CLOCK    a file with the seconds that the wall clock is off
 * A sync that failed is final: a further sync of the same file, or a write to it, ends the process with
 * status 99. When the process ends by itself after a failed sync, what was not synced is lost as well. */
#include <assert.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "tests/faults/undo.h"

enum { FDS_MAX = 65536, PATH_BYTES = 512 };

enum kind { WRITE, SYNC, NAME, KINDS };

struct failure {
    enum kind kind;
    int error;
    uint64_t at; /* 0 = none */
    bool stays;
};

static struct {
    bool on;
    char dir[PATH_BYTES];
    const char *full, *free, *clock, *plug;
    bool short_writes, lies_all, lies_left;
    uint64_t lose_at;
    struct failure failure;
} settings;

/* The inside of this library calls the undo's plain calls, which come here again: they are passed
 * through. */
static __thread bool inside;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t changes, counts[KINDS];
static bool sync_failed;
static struct {
    struct undo_file *file;
    char *dir; /* of a directory */
    bool failed;
} fds[FDS_MAX];

static struct {
    int (*open)(const char *, int, ...);
    int (*close)(int);
    ssize_t (*pwrite)(int, const void *, size_t, off_t);
    int (*fdatasync)(int);
    int (*fsync)(int);
    int (*ftruncate)(int, off_t);
    int (*unlink)(const char *);
    int (*rename)(const char *, const char *);
    int (*statvfs)(const char *, struct statvfs *);
    int (*clock_gettime)(clockid_t, struct timespec *);
    void (*exit)(int) __attribute__((noreturn));
} real;

/* The end. */

/* With the lock held. */
static _Noreturn void lose_power(const char *why)
{
    inside = true;
    struct undo_loss lost = undo_lose();
    dprintf(2, "powerloss: %s after %llu changes, %zu sectors and names lost, %zu of them left before\n",
            why, (unsigned long long)changes, lost.all, lost.inherited);
    kill(getpid(), SIGKILL);
    for (;;)
        pause();
}

static _Noreturn void misused(const char *what)
{
    dprintf(2, "powerloss: %s after a failed sync\n", what);
    real.exit(99);
}

static void *watch_plug(void *arg)
{
    char byte;
    (void)arg;
    inside = true;
    int fd = real.open(settings.plug, O_RDONLY);
    while (fd >= 0 && read(fd, &byte, 1) < 0 && errno == EINTR)
        continue;
    pthread_mutex_lock(&lock);
    lose_power("the plug was pulled");
}

/* Settings. */

static int errno_of(const char *name)
{
    if (strncmp(name, "ENOSPC", 6) == 0)
        return ENOSPC;
    return strncmp(name, "EDQUOT", 6) == 0 ? EDQUOT : EIO;
}

static void read_failure(const char *text)
{
    char kind[16], error[16], rest[16] = "";
    unsigned long long at;
    int found = text ? sscanf(text, "%15[^:]:%15[^:]:%llu:%15s", kind, error, &at, rest) : 0;
    if (found < 3)
        return;
    settings.failure = (struct failure){.kind = strcmp(kind, "write") == 0  ? WRITE
                                                : strcmp(kind, "sync") == 0 ? SYNC
                                                                            : NAME,
                                        .error = errno_of(error),
                                        .at = at,
                                        .stays = strcmp(rest, "on") == 0};
}

__attribute__((constructor)) static void begin(void)
{
    const char *dir = getenv("FAULTS_DIR"), *side = getenv("FAULTS_SIDE"),
               *seed = getenv("FAULTS_SEED");
    const char *lose_at = getenv("FAULTS_LOSE_AT");
    *(void **)&real.open = dlsym(RTLD_NEXT, "open");
    *(void **)&real.close = dlsym(RTLD_NEXT, "close");
    *(void **)&real.pwrite = dlsym(RTLD_NEXT, "pwrite64");
    *(void **)&real.fdatasync = dlsym(RTLD_NEXT, "fdatasync");
    *(void **)&real.fsync = dlsym(RTLD_NEXT, "fsync");
    *(void **)&real.ftruncate = dlsym(RTLD_NEXT, "ftruncate64");
    *(void **)&real.unlink = dlsym(RTLD_NEXT, "unlink");
    *(void **)&real.rename = dlsym(RTLD_NEXT, "rename");
    *(void **)&real.clock_gettime = dlsym(RTLD_NEXT, "clock_gettime");
    *(void **)&real.statvfs = dlsym(RTLD_NEXT, "statvfs64");
    *(void **)&real.exit = dlsym(RTLD_NEXT, "_exit");
    settings.clock = getenv("FAULTS_CLOCK");
    settings.free = getenv("FAULTS_FREE");
    if (!dir || !side)
        return;
    snprintf(settings.dir, sizeof settings.dir, "%s", dir);
    settings.full = getenv("FAULTS_FULL");
    settings.plug = getenv("FAULTS_PLUG");
    settings.short_writes = getenv("FAULTS_SHORT") != NULL;
    settings.lose_at = lose_at ? strtoull(lose_at, NULL, 10) : 0;
    const char *lie = getenv("FAULTS_LIE");
    settings.lies_all = lie && strcmp(lie, "all") == 0;
    settings.lies_left = lie && strcmp(lie, "left") == 0;
    read_failure(getenv("FAULTS_FAIL"));
    inside = true;
    undo_init(side, seed ? strtoull(seed, NULL, 10) : 1);
    inside = false;
    settings.on = true;
    if (settings.plug) {
        pthread_t thread;
        sigset_t all, before;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        int failed = pthread_create(&thread, NULL, watch_plug, NULL);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        assert(!failed);
    }
}

static bool is_ours(const char *path)
{
    size_t len = strlen(settings.dir);
    return settings.on && !inside && strncmp(path, settings.dir, len) == 0 &&
           (path[len] == '/' || path[len] == 0);
}

static void enter(void)
{
    pthread_mutex_lock(&lock);
    inside = true;
}

static void leave(void)
{
    int error = errno;
    inside = false;
    pthread_mutex_unlock(&lock);
    errno = error;
}

static bool is_full(void)
{
    return settings.full && access(settings.full, F_OK) == 0;
}

/* Counts a change; true when it is to fail, with errno set. Pulls the plug when it is time, for a
 * write after it was done. */
static bool change_fails(enum kind kind)
{
    const struct failure *failure = &settings.failure;
    uint64_t number = ++counts[kind];
    changes++;
    if (kind != WRITE && settings.lose_at && changes >= settings.lose_at)
        lose_power("the power went");
    if (!failure->at || failure->kind != kind || number < failure->at ||
        (number > failure->at && !failure->stays))
        return false;
    errno = failure->error;
    return true;
}

static struct undo_file *file_of(int fd)
{
    return settings.on && !inside && fd >= 0 && fd < FDS_MAX ? fds[fd].file : NULL;
}

/* Calls on paths. */

static int open_ours(const char *path, int flags, mode_t mode)
{
    bool made = (flags & O_CREAT) && access(path, F_OK) != 0;
    if (made && is_full()) {
        errno = ENOSPC;
        return -1;
    }
    if (made && change_fails(NAME))
        return -1;
    int fd = real.open(path, flags, mode);
    if (fd < 0 || fd >= FDS_MAX)
        return fd;
    fds[fd].failed = false;
    if (flags & O_DIRECTORY) {
        fds[fd].dir = strdup(path);
        return fd;
    }
    fds[fd].file = undo_file(fd, path);
    if (made)
        undo_created(path);
    return fd;
}

int open(const char *path, int flags, ...)
{
    mode_t mode = 0;
    if (flags & (O_CREAT | O_TMPFILE)) {
        va_list args;
        va_start(args, flags);
        mode = (mode_t)va_arg(args, unsigned);
        va_end(args);
    }
    if (!is_ours(path))
        return real.open(path, flags, mode);
    enter();
    int fd = open_ours(path, flags, mode);
    leave();
    return fd;
}

int close(int fd)
{
    if (settings.on && !inside && fd >= 0 && fd < FDS_MAX && (fds[fd].file || fds[fd].dir)) {
        enter();
        free(fds[fd].dir);
        fds[fd].dir = NULL;
        fds[fd].file = NULL;
        leave();
    }
    return real.close(fd);
}

int unlink(const char *path)
{
    if (!is_ours(path))
        return real.unlink(path);
    enter();
    int failed = change_fails(NAME) ? -1 : undo_unlink(path);
    leave();
    return failed;
}

int rename(const char *from, const char *to)
{
    if (!is_ours(from))
        return real.rename(from, to);
    enter();
    int failed = change_fails(NAME) ? -1 : undo_rename(from, to);
    leave();
    return failed;
}

/* Calls on descriptors. */

static ssize_t write_ours(int fd, const void *bytes, size_t size, off_t offset)
{
    struct undo_file *file = fds[fd].file;
    struct stat status;
    if (fds[fd].failed)
        misused("a write");
    if (is_full() && fstat(fd, &status) == 0 && offset + (off_t)size > status.st_size) {
        /* What still fits in the file is written, as a file system would. */
        size = offset < status.st_size ? (size_t)(status.st_size - offset) : 0;
        errno = ENOSPC;
        if (size == 0)
            return -1;
    }
    if (settings.short_writes && size > 1 && undo_dice(4) == 0)
        size = 1 + undo_dice(size - 1);
    else if (settings.short_writes && undo_dice(16) == 0) {
        errno = EINTR;
        return -1;
    }
    if (change_fails(WRITE))
        return -1;
    undo_before_write(file, fd, (uint64_t)offset, size);
    ssize_t done = real.pwrite(fd, bytes, size, offset);
    if (settings.lose_at && changes >= settings.lose_at)
        lose_power("the power went");
    return done;
}

ssize_t pwrite(int fd, const void *bytes, size_t size, off_t offset)
{
    if (!file_of(fd))
        return real.pwrite(fd, bytes, size, offset);
    enter();
    ssize_t done = write_ours(fd, bytes, size, offset);
    leave();
    return done;
}

int ftruncate(int fd, off_t size)
{
    struct undo_file *file = file_of(fd);
    if (!file)
        return real.ftruncate(fd, size);
    enter();
    if (fds[fd].failed)
        misused("a truncation");
    int failed = change_fails(WRITE) ? -1 : 0;
    if (!failed) {
        undo_before_truncate(file, fd, (uint64_t)size);
        failed = real.ftruncate(fd, size);
    }
    leave();
    return failed;
}

/* A sync takes its time, during which the power may go; nothing real is synced. */
static int sync_ours(int fd)
{
    if (fds[fd].failed)
        misused("a sync");
    if (change_fails(SYNC)) {
        fds[fd].failed = sync_failed = true;
        return -1;
    }
    struct timespec wait = {0, (long)undo_dice(2000000)};
    leave();
    nanosleep(&wait, NULL);
    enter();
    if (fds[fd].dir)
        undo_synced_dir(fds[fd].dir);
    else if (settings.lies_left)
        undo_synced_own(fds[fd].file, fd);
    else if (!settings.lies_all)
        undo_synced(fds[fd].file, fd);
    return 0;
}

static bool is_ours_to_sync(int fd)
{
    return settings.on && !inside && fd >= 0 && fd < FDS_MAX && (fds[fd].file || fds[fd].dir);
}

int fdatasync(int fd)
{
    if (!is_ours_to_sync(fd))
        return real.fdatasync(fd);
    enter();
    int failed = sync_ours(fd);
    leave();
    return failed;
}

int fsync(int fd)
{
    if (!is_ours_to_sync(fd))
        return real.fsync(fd);
    enter();
    int failed = sync_ours(fd);
    leave();
    return failed;
}

_Noreturn void _exit(int status)
{
    if (sync_failed) {
        enter();
        undo_lose();
    }
    real.exit(status);
}

/* The clock, and free space. */

/* The number in a file; 0 when there is none. */
static int64_t number_in(const char *path)
{
    char text[32] = "";
    int fd = real.open(path, O_RDONLY);
    ssize_t got = fd >= 0 ? read(fd, text, sizeof text - 1) : 0;
    if (fd >= 0)
        real.close(fd);
    return got > 0 ? (int64_t)strtoll(text, NULL, 10) : 0;
}

int statvfs(const char *path, struct statvfs *status)
{
    int failed = real.statvfs(path, status);
    if (!failed && settings.free)
        status->f_bavail = (fsblkcnt_t)number_in(settings.free) / status->f_frsize;
    return failed;
}

int clock_gettime(clockid_t clock, struct timespec *time)
{
    int failed = real.clock_gettime(clock, time);
    if (failed || clock != CLOCK_REALTIME || !settings.clock)
        return failed;
    time->tv_sec += (time_t)number_in(settings.clock);
    return 0;
}

/* The names that the C library has besides, for files larger than 2 GB. */
int open64(const char *path, int flags, ...) __attribute__((alias("open")));
ssize_t pwrite64(int fd, const void *bytes, size_t size, off_t offset)
    __attribute__((alias("pwrite")));
int ftruncate64(int fd, off_t size) __attribute__((alias("ftruncate")));
int statvfs64(const char *path, struct statvfs64 *status)
{
    return statvfs(path, (struct statvfs *)status); /* one layout */
}
