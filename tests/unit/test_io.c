/* test_io.c - the operating system's files behind the store's table of calls, on a system that interrupts
 * every call once and does only a part of every read and write: the calls are defined here, before libc's. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "store/io.h"
#include "store/page_disk.h"
#include "store/reader.h"
#include "tests/unit/suite.h"

static bool unruly; /* the calls below misbehave */
static unsigned interrupted, shortened, syncs;
static bool again; /* the call was interrupted just now */

static bool interrupt(void)
{
    again = unruly && !again;
    if (again)
        interrupted++, errno = EINTR;
    return again;
}

static size_t part(size_t size)
{
    if (!unruly || size < 2)
        return size;
    shortened++;
    return size / 2;
}

/* By the names that the linker knows: the C library's headers may have inline functions of theirs. */
ssize_t unruly_pread(int fd, void *bytes, size_t size, off_t offset) __asm__("pread64");
ssize_t unruly_pwrite(int fd, const void *bytes, size_t size, off_t offset) __asm__("pwrite64");

ssize_t unruly_pread(int fd, void *bytes, size_t size, off_t offset)
{
    return interrupt() ? -1 : (ssize_t)syscall(SYS_pread64, fd, bytes, part(size), offset);
}

ssize_t unruly_pwrite(int fd, const void *bytes, size_t size, off_t offset)
{
    return interrupt() ? -1 : (ssize_t)syscall(SYS_pwrite64, fd, bytes, part(size), offset);
}

int open(const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    int mode = flags & O_CREAT ? va_arg(args, int) : 0;
    va_end(args);
    return interrupt() ? -1 : (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

int ftruncate(int fd, off_t size)
{
    return interrupt() ? -1 : (int)syscall(SYS_ftruncate, fd, size);
}

int flock(int fd, int operation)
{
    return interrupt() ? -1 : (int)syscall(SYS_flock, fd, operation);
}

int fdatasync(int fd)
{
    syncs++;
    return interrupt() ? -1 : (int)syscall(SYS_fdatasync, fd);
}

static char dir[64], path[96];
static const struct io *io;

static void setup(void)
{
    snprintf(dir, sizeof dir, "/tmp/leveret-test-io-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/file", dir);
    io = io_system();
    unruly = again = false;
    interrupted = shortened = syncs = 0;
}

static void teardown(void)
{
    unruly = false;
    (void)!unlink(path);
    (void)!rmdir(dir);
}

START_TEST(interrupted_calls_are_repeated)
{
    uint8_t bytes[1000], got[1000];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 7);
    unruly = true;
    int fd = io->open(NULL, path, O_RDWR | O_CREAT, 0640);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(io->lock(NULL, fd), 0);
    ck_assert_int_eq(io->truncate(NULL, fd, 5), 0);
    ck_assert_int_eq(io_write(io, fd, bytes, sizeof bytes, 0), 0);
    ck_assert_int_eq(io->size(NULL, fd), sizeof bytes);
    ck_assert_int_eq(io->close(NULL, fd), 0);
    ck_assert_int_eq(page_disk_read(io, path, got, sizeof got, 0), 0);
    ck_assert_mem_eq(bytes, got, sizeof bytes);
    ck_assert_uint_gt(interrupted, 20);
    ck_assert_uint_gt(shortened, 15);
}
END_TEST

START_TEST(the_reader_completes_short_reads)
{
    uint8_t bytes[9000];
    const uint8_t *got = NULL;
    struct reader reader;
    memset(bytes, 'x', sizeof bytes);
    int fd = io->open(NULL, path, O_RDWR | O_CREAT, 0640);
    ck_assert_int_eq(io_write(io, fd, bytes, sizeof bytes, 0), 0);
    io->close(NULL, fd);
    unruly = true;
    reader_init(&reader, io);
    ck_assert_int_eq(reader_open(&reader, path, O_RDONLY), 0);
    ck_assert_int_eq(reader_bytes(&reader, 100, 8900, &got), 0);
    ck_assert_mem_eq(got, bytes, 8900);
    reader_free(&reader);
}
END_TEST

/* What an interrupted sync has done, nobody knows. */
START_TEST(a_sync_is_never_repeated)
{
    int fd = io->open(NULL, path, O_RDWR | O_CREAT, 0640);
    unruly = true;
    ck_assert_int_eq(io->fdatasync(NULL, fd), -EINTR);
    ck_assert_uint_eq(syncs, 1);
    unruly = false;
    io->close(NULL, fd);
}
END_TEST

START_TEST(a_file_that_ends_early)
{
    uint8_t bytes[100] = {0};
    int fd = io->open(NULL, path, O_RDWR | O_CREAT, 0640);
    ck_assert_int_eq(io_write(io, fd, bytes, sizeof bytes, 0), 0);
    io->close(NULL, fd);
    ck_assert_int_eq(page_disk_read(io, path, bytes, 100, 1), -EIO);
    ck_assert_int_eq(page_disk_read(io, path, bytes, 100, 0), 0);
    ck_assert_int_eq(page_disk_read(io, dir, bytes, 100, 0), -EISDIR);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("io");
    TCase *tests = tcase_create("all");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, interrupted_calls_are_repeated);
    tcase_add_test(tests, the_reader_completes_short_reads);
    tcase_add_test(tests, a_sync_is_never_repeated);
    tcase_add_test(tests, a_file_that_ends_early);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
