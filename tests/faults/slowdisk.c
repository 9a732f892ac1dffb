/* slowdisk.c - preloaded into the broker: a disk that is slow.
 *
 * SLOWDISK=SYNC_MS:MB_S:READ_MS in the environment. A sync takes SYNC_MS, and as long as what was written
 * since the last one needs at MB_S megabytes a second (0 = no time); a read takes READ_MS. */
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static double sync_ms, bytes_ms, read_ms; /* the second: in a millisecond, 0 = any number */
static atomic_uint_fast64_t unsynced;

static struct {
    ssize_t (*pwrite)(int, const void *, size_t, off64_t);
    ssize_t (*pread)(int, void *, size_t, off64_t);
    int (*fdatasync)(int);
} real;

__attribute__((constructor)) static void begin(void)
{
    const char *said = getenv("SLOWDISK");
    double megabytes = 0;
    *(void **)&real.pwrite = dlsym(RTLD_NEXT, "pwrite64");
    *(void **)&real.pread = dlsym(RTLD_NEXT, "pread64");
    *(void **)&real.fdatasync = dlsym(RTLD_NEXT, "fdatasync");
    if (said && sscanf(said, "%lf:%lf:%lf", &sync_ms, &megabytes, &read_ms) != 3) {
        fprintf(stderr, "slowdisk: SLOWDISK=SYNC_MS:MB_S:READ_MS is expected, not '%s'\n", said);
        exit(2);
    }
    bytes_ms = megabytes * 1000;
}

static void take(double ms)
{
    struct timespec left = {(time_t)(ms / 1000), (long)((uint64_t)(ms * 1e6) % 1000000000)};
    int saved = errno;
    while (ms > 0 && nanosleep(&left, &left) != 0 && errno == EINTR)
        ;
    errno = saved;
}

ssize_t pwrite64(int fd, const void *bytes, size_t size, off64_t offset)
{
    ssize_t put = real.pwrite(fd, bytes, size, offset);
    if (put > 0)
        atomic_fetch_add(&unsynced, (uint64_t)put);
    return put;
}

ssize_t pread64(int fd, void *bytes, size_t size, off64_t offset)
{
    take(read_ms);
    return real.pread(fd, bytes, size, offset);
}

ssize_t pwrite(int fd, const void *bytes, size_t size, off_t offset)
{
    return pwrite64(fd, bytes, size, offset);
}

ssize_t pread(int fd, void *bytes, size_t size, off_t offset)
{
    return pread64(fd, bytes, size, offset);
}

int fdatasync(int fd)
{
    double bytes = (double)atomic_exchange(&unsynced, 0);
    take(sync_ms + (bytes_ms > 0 ? bytes / bytes_ms : 0));
    return real.fdatasync(fd);
}
