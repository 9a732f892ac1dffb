/* test_shred.c - a large file loses its name at once and its bytes piece by piece. */
#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include "store/shred.h"
#include "tests/sim/fakedisk.h"
#include "tests/unit/suite.h"

static struct fakedisk *disk;
static struct io io;
static struct shred shred;
static uint64_t largest_cut; /* that one call made */
static unsigned cuts, open_files;

static int count_open(void *arg, const char *path, int flags, unsigned mode)
{
    int fd = fakedisk_io(disk)->open(arg, path, flags, mode);
    open_files += fd >= 0;
    return fd;
}

static int count_close(void *arg, int fd)
{
    open_files--;
    return fakedisk_io(disk)->close(arg, fd);
}

static int count_truncate(void *arg, int fd, uint64_t size)
{
    uint64_t cut = (uint64_t)io.size(arg, fd) - size;
    largest_cut = cut > largest_cut ? cut : largest_cut;
    cuts++;
    return fakedisk_io(disk)->truncate(arg, fd, size);
}

static void setup(void)
{
    disk = fakedisk_new(3);
    io = *fakedisk_io(disk);
    io.open = count_open, io.close = count_close, io.truncate = count_truncate;
    largest_cut = cuts = open_files = 0;
    ck_assert_int_eq(io.mkdir(io.arg, "data", 0750), 0);
    shred_init(&shred, &io);
}

static void teardown(void)
{
    shred_finish(&shred);
    ck_assert_uint_eq(open_files, 0);
    fakedisk_free(&disk);
}

static void make_file(const char *path, uint64_t size)
{
    int fd = io.open(io.arg, path, O_RDWR | O_CREAT, 0640);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(fakedisk_io(disk)->truncate(io.arg, fd, size), 0);
    io.close(io.arg, fd);
}

static bool is_there(const char *path)
{
    return fakedisk_get(disk, path).at != NULL;
}

START_TEST(piece_by_piece)
{
    make_file("data/large", 5 * SHRED_PIECE + 1);
    shred_unlink(&shred, "data/large");
    ck_assert(!is_there("data/large"));
    ck_assert_uint_eq(cuts, 0); /* so far nobody has waited */
    for (unsigned step = 1; step <= 6; step++) {
        ck_assert(shred_step(&shred));
        ck_assert_uint_eq(cuts, step);
    }
    ck_assert_uint_eq(largest_cut, SHRED_PIECE);
    ck_assert_uint_eq(open_files, 0);
    ck_assert(!shred_step(&shred));
}
END_TEST

START_TEST(small_files_go_at_once)
{
    make_file("data/small", SHRED_PIECE);
    shred_unlink(&shred, "data/small");
    shred_unlink(&shred, "data/was never there");
    ck_assert(!is_there("data/small"));
    ck_assert_uint_eq(open_files, 0);
    ck_assert(!shred_step(&shred));
}
END_TEST

START_TEST(descriptors_are_bounded)
{
    char path[32];
    for (int i = 0; i < SHRED_FILES_MAX + 3; i++) {
        snprintf(path, sizeof path, "data/%d", i);
        make_file(path, SHRED_PIECE + 1);
        shred_unlink(&shred, path);
        ck_assert(!is_there(path));
    }
    ck_assert_uint_eq(open_files, SHRED_FILES_MAX);
    while (shred_step(&shred))
        ;
    ck_assert_uint_eq(cuts, 2 * SHRED_FILES_MAX);
}
END_TEST

static int fail_truncate(void *arg, int fd, uint64_t size)
{
    (void)arg, (void)fd, (void)size;
    return -5;
}

static int fail_unlink(void *arg, const char *path)
{
    (void)arg, (void)path;
    return -30;
}

START_TEST(failures)
{
    make_file("data/first", 4 * SHRED_PIECE);
    make_file("data/second", 4 * SHRED_PIECE);
    io.truncate = fail_truncate;
    shred_unlink(&shred, "data/first");
    ck_assert(shred_step(&shred)); /* closed: the system lets go of it */
    ck_assert(!shred_step(&shred));
    io.truncate = count_truncate, io.unlink = fail_unlink;
    shred_unlink(&shred, "data/second");
    ck_assert(!shred_step(&shred)); /* who has a name is not cut */
    ck_assert_uint_eq(cuts, 0);
    ck_assert_uint_eq(open_files, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("shred");
    TCase *tests = tcase_create("shred");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, piece_by_piece);
    tcase_add_test(tests, small_files_go_at_once);
    tcase_add_test(tests, descriptors_are_bounded);
    tcase_add_test(tests, failures);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
