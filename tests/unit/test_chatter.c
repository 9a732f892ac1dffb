/* test_chatter.c - what the log says of strangers is bounded, of an address and of all; what is left out is
 * counted, and what is known of them is bounded, too. */
#include <unistd.h>

#include "broker/chatter.h"
#include "tests/unit/server_world.h"

static FILE *file;

static void start_with_log(void)
{
    start();
    file = tmpfile();
    ck_assert_ptr_nonnull(file);
    server.log.console = file;
}

static void stop_with_log(void)
{
    server.log.console = NULL;
    fclose(file);
    stop();
}

/* Lines that have come since the last time, and `what` in them. */
static unsigned lines(const char *what)
{
    static char line[4096];
    unsigned found = 0;
    fflush(file);
    rewind(file);
    while (fgets(line, sizeof(line), file))
        found += strstr(line, what) != NULL;
    ck_assert_int_eq(ftruncate(fileno(file), 0), 0);
    rewind(file);
    return found;
}

static void say(const char *address, int count)
{
    for (int i = 0; i < count; i++)
        chatter_line(&server, address, LOG_INFO, 1, "hello %d", i);
}

static const char *address_of(int number)
{
    static char text[32];
    snprintf(text, sizeof(text), "10.%d.%d.%d", number >> 16, number >> 8 & 255, number & 255);
    return text;
}

START_TEST(an_address_has_its_share)
{
    say("192.0.2.1", 1500);
    ck_assert_uint_eq(lines("hello"), 1000);
    say("192.0.2.2", 1);
    ck_assert_uint_eq(lines("hello"), 1); /* others are not meant */
    pass(5000);
    say("192.0.2.1", 20);
    ck_assert_uint_eq(lines("hello"), 10); /* two a second */
    pass(5000);
    ck_assert_uint_eq(lines("510 more lines about connections from 192.0.2.1 were left out"), 1);
    say("2001:db8::1", 600), say("2001:db8::2", 600); /* one network */
    ck_assert_uint_eq(lines("hello"), 1000);
}
END_TEST

START_TEST(all_addresses_have_theirs)
{
    for (int i = 0; i < 300; i++)
        say(address_of(i), 50);
    ck_assert_uint_eq(lines("hello"), 10000);
    pass(10000);
    ck_assert_uint_eq(lines("50 more lines about connections from 10."), 10); /* no more are named */
    say("192.0.2.1", 1000);
    ck_assert_uint_eq(lines("hello"), 200); /* twenty a second */
}
END_TEST

START_TEST(addresses_are_forgotten)
{
    for (int i = 0; i < 20000; i++) {
        say(address_of(i), 1);
        ck_assert_uint_le(server.chatter.by_address.size, 4096);
        if (i % 100 == 0)
            pass(1000);
    }
    ck_assert_uint_eq(server.chatter.by_address.size, 4096);
}
END_TEST

/* One that has said its share makes room for a newcomer, who does not stand for it. */
START_TEST(newcomers_have_their_own)
{
    say("192.0.2.1", 1000);
    for (int i = 0; i < 4095; i++)
        say(address_of(i), 1);
    ck_assert_uint_eq(server.chatter.by_address.size, 4096);
    lines("");
    say("192.0.2.2", 10);
    ck_assert_uint_eq(lines("hello"), 10);
    ck_assert_uint_eq(server.chatter.by_address.size, 4096);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("chatter");
    TCase *tcase = tcase_create("server");
    tcase_set_timeout(tcase, 60);
    tcase_add_checked_fixture(tcase, start_with_log, stop_with_log);
    tcase_add_test(tcase, an_address_has_its_share);
    tcase_add_test(tcase, all_addresses_have_theirs);
    tcase_add_test(tcase, addresses_are_forgotten);
    tcase_add_test(tcase, newcomers_have_their_own);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
