/* config_world.h - for tests of the configuration: one that is new for each test, a file for it, and what it
 * was told of mistakes. */
#ifndef TESTS_UNIT_CONFIG_WORLD_H
#define TESTS_UNIT_CONFIG_WORLD_H

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "broker/config.h"
#include "tests/unit/suite.h"

static struct config config;
static char error[2048], dir[] = "/tmp/leveret-config-XXXXXX", path[64];

static inline void start(void)
{
    config_defaults(&config);
    error[0] = 0;
    strcpy(dir + strlen(dir) - 6, "XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/x.conf", dir);
}

static inline void stop(void)
{
    unlink(path);
    rmdir(dir);
}

static inline bool set(const char *key, const char *value)
{
    return config_set(&config, key, value, "--set", error, sizeof(error));
}

static inline void write_bytes(const char *text, size_t size)
{
    FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(text, 1, size, file), size);
    fclose(file);
}

static inline bool read_bytes(const char *text, size_t size)
{
    write_bytes(text, size);
    return config_read(&config, path, error, sizeof(error));
}

static inline bool read_text(const char *text)
{
    return read_bytes(text, strlen(text));
}

static inline void must(const char *key, const char *value)
{
    ck_assert_msg(set(key, value), "%s", error);
}

#define refuses(key, value, sentence)                                                              \
    do {                                                                                           \
        ck_assert_msg(!set(key, value), "%s", value);                                              \
        ck_assert_str_eq(error, "--set: " sentence);                                               \
    } while (0)

/* Runs `tests`, each with a new configuration; the status of the process. */
static inline int run_suite(const char *name, const TTest *const *tests, size_t count)
{
    Suite *suite = suite_create(name);
    TCase *tcase = tcase_create(name);
    tcase_add_checked_fixture(tcase, start, stop);
    for (size_t i = 0; i < count; i++)
        tcase_add_test(tcase, tests[i]);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}

#endif
