/* test_log.c - the log: its line format, levels, files, and lines nobody can forge. */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "tests/unit/suite.h"

static struct log log_;
static char *text;
static size_t text_size;

static uint64_t fixed_wall_us(void *arg)
{
    (void)arg;
    return 1786643175123456; /* 2026-08-13 17:46:15 */
}

static uint64_t fixed_monotonic_ns(void *arg)
{
    (void)arg;
    return 0;
}

static void open_log(void)
{
    FILE *console = open_memstream(&text, &text_size);
    log_init(&log_, console, (struct clock){fixed_monotonic_ns, fixed_wall_us, NULL});
}

static void close_log(void)
{
    fclose(log_.console);
    log_.console = NULL;
    log_close(&log_);
    free(text);
}

START_TEST(test_line)
{
    open_log();
    log_line(&log_, LOG_INFO, 12, "accepting %s (%d)", "AMQP connection", 7);
    ck_assert_str_eq(text, "2026-08-13 17:46:15.123456+00:00 [info] <0.12.0> "
                           "accepting AMQP connection (7)\n");
    close_log();
}
END_TEST

START_TEST(test_escaping)
{
    open_log();
    log_line(&log_, LOG_ERROR, 0, "%s", "a\nb\r\x1b[31m\x7f \xc3\xbc\t");
    ck_assert_str_eq(text, "2026-08-13 17:46:15.123456+00:00 [error] <0.0.0> "
                           "a\\x0ab\\x0d\\x1b[31m\\x7f \xc3\xbc\\x09\n");
    close_log();
    /* U+009B is what ESC [ is; bytes that are no character; the last ones of two and of three octets. */
    open_log();
    log_line(&log_, LOG_ERROR, 0, "%s", "\xc2\x9b" "31m\xc2\xa0\xe2\x82\xac \xff\x9b\xc3");
    ck_assert_str_eq(text, "2026-08-13 17:46:15.123456+00:00 [error] <0.0.0> "
                           "\\xc2\\x9b31m\xc2\xa0\xe2\x82\xac \\xff\\x9b\\xc3\n");
    close_log();
}
END_TEST

/* Controls beyond ASCII, with which a terminal can be driven too, what turns the direction of writing around,
 * and bytes that are no characters. */
START_TEST(test_escaping_beyond_ascii)
{
    static const char head[] = "2026-08-13 17:46:15.123456+00:00 [error] <0.0.0> ";
    static const struct {
        const char *said, *written;
    } lines[] = {
        {"\xc2\x9b" "31m \xc2\xa0", "\\xc2\\x9b" "31m \xc2\xa0"},
        {"\xc2\x80\xc2\x9f", "\\xc2\\x80\\xc2\\x9f"},
        {"a\xe2\x80\xa8" "b\xe2\x80\xa9\xe2\x80\xa7", "a\\xe2\\x80\\xa8" "b\\xe2\\x80\\xa9\xe2\x80\xa7"},
        {"\xe2\x80\xaa\xe2\x80\xae\xe2\x80\xaf", "\\xe2\\x80\\xaa\\xe2\\x80\\xae\xe2\x80\xaf"},
        {"\xe2\x81\xa6\xe2\x81\xa9\xe2\x81\xaa", "\\xe2\\x81\\xa6\\xe2\\x81\\xa9\xe2\x81\xaa"},
        {"\x9b" "31m\xff\xc3", "\\x9b" "31m\\xff\\xc3"},
        {"\xec\x97\xb4\xf0\x9f\x90\x87\xed\xa0\x80", "\xec\x97\xb4\xf0\x9f\x90\x87\\xed\\xa0\\x80"},
    };
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        char expected[200];
        open_log();
        log_line(&log_, LOG_ERROR, 0, "%s", lines[i].said);
        snprintf(expected, sizeof(expected), "%s%s\n", head, lines[i].written);
        ck_assert_str_eq(text, expected);
        close_log();
    }
}
END_TEST

START_TEST(test_levels)
{
    open_log();
    log_line(&log_, LOG_DEBUG, 0, "not said");
    ck_assert_uint_eq(text_size, 0);
    ck_assert(!log_wants(&log_, LOG_DEBUG) && log_wants(&log_, LOG_INFO));
    log_.console_level = LOG_NONE;
    log_line(&log_, LOG_CRITICAL, 0, "not said");
    ck_assert_uint_eq(text_size, 0);
    log_.console_level = LOG_DEBUG;
    log_line(&log_, LOG_DEBUG, 0, "said");
    ck_assert_ptr_nonnull(strstr(text, " [debug] <0.0.0> said\n"));
    close_log();
}
END_TEST

START_TEST(test_level_names)
{
    static const char *const names[] = {"debug", "info",     "notice", "warning",
                                        "error", "critical", "none"};
    enum log_level level;
    for (int i = LOG_DEBUG; i <= LOG_NONE; i++) {
        ck_assert(log_level_from_name(names[i], &level));
        ck_assert_int_eq((int)level, i);
    }
    ck_assert(!log_level_from_name("Info", &level));
    ck_assert(!log_level_from_name("", &level));
}
END_TEST

START_TEST(test_file_is_appended_to)
{
    char path[] = "/tmp/leveret-test-log-XXXXXX";
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, "old\n", 4), 4);
    open_log();
    ck_assert_int_eq(log_open_file(&log_, path), 0);
    log_line(&log_, LOG_WARNING, 3, "new");
    char read_back[200] = {0};
    ssize_t got = pread(fd, read_back, sizeof(read_back) - 1, 0); /* there at once */
    ck_assert_int_gt(got, 0);
    ck_assert_str_eq(read_back, "old\n2026-08-13 17:46:15.123456+00:00 [warning] <0.3.0> new\n");
    close_log();
    close(fd);
    unlink(path);
    ck_assert_int_lt(log_open_file(&log_, "/no/such/folder/file"), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("log");
    TCase *tcase = tcase_create("log");
    tcase_add_test(tcase, test_line);
    tcase_add_test(tcase, test_escaping);
    tcase_add_test(tcase, test_escaping_beyond_ascii);
    tcase_add_test(tcase, test_levels);
    tcase_add_test(tcase, test_level_names);
    tcase_add_test(tcase, test_file_is_appended_to);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
