/* test_loop.c - the event loop: waiting, being woken, signals, and not sleeping on work. */
#include <check.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#include "base/mem.h"
#include "net/loop.h"
#include "tests/sim/fakenet.h"
#include "tests/unit/suite.h"

static struct net net;
static struct loop *loop;
static int signals[65];

static void on_signal(void *arg, int signal)
{
    ck_assert_ptr_eq(arg, signals);
    signals[signal]++;
}

static void setup(void)
{
    net_init(&net);
    loop = loop_new(&net, on_signal, signals);
}

static void teardown(void)
{
    loop_free(&loop);
    ck_assert_ptr_null(loop);
    net_free(&net);
}

START_TEST(test_timeouts_end)
{
    for (int i = 0; i < 50; i++)
        loop_poll(loop, 0);
    for (int i = 0; i < 50; i++)
        loop_poll(loop, 1);
    loop_poll(loop, 5);
}
END_TEST

static void *wake(void *arg)
{
    loop_wake(arg);
    return NULL;
}

START_TEST(test_wake_from_a_thread)
{
    for (int i = 0; i < 200; i++) {
        pthread_t thread;
        ck_assert_int_eq(pthread_create(&thread, NULL, wake, loop), 0);
        loop_poll(loop, -1); /* for ever, if the wake-up were lost */
        ck_assert_int_eq(pthread_join(thread, NULL), 0);
    }
}
END_TEST

START_TEST(test_wake_before_the_poll)
{
    loop_wake(loop);
    loop_wake(loop);
    loop_poll(loop, -1);
}
END_TEST

START_TEST(test_signals)
{
    static const int wanted[] = {SIGTERM, SIGINT, SIGHUP};
    for (size_t i = 0; i < array_size(wanted); i++) {
        raise(wanted[i]);
        ck_assert_int_eq(signals[wanted[i]], 0); /* only inside loop_poll */
        for (int turn = 0; signals[wanted[i]] == 0; turn++) {
            ck_assert_int_lt(turn, 10);
            loop_poll(loop, 1000);
        }
        ck_assert_int_eq(signals[wanted[i]], 1);
    }
    raise(SIGPIPE); /* ignored: a peer that is gone does not end the broker */
}
END_TEST

static size_t on_bytes(struct stream *stream, struct slice in)
{
    stream_pause(stream);
    return in.len / 2;
}

static void on_closed(struct stream *stream, int error)
{
    (void)stream, (void)error;
}

START_TEST(test_does_not_sleep_on_work)
{
    static const struct stream_events events = {.bytes = on_bytes, .closed = on_closed};
    struct fakenet *fake = fakenet_new(NULL, 100);
    struct fakenet_link *client = fakenet_connect(fake);
    struct stream stream;
    stream_init(&stream, &net, &fakenet_transport, client, &events);
    fakenet_attach(client, &stream);
    fakenet_client_write(client, "12345678", 8);
    fakenet_pump(fake, &net);
    ck_assert_uint_eq(stream.tail_size, 4);
    stream_resume(&stream);
    loop_poll(loop, -1); /* offers the tail */
    ck_assert_uint_eq(stream.tail_size, 2);
    ck_assert(stream.paused);
    stream_write(&stream, SLICE("dirty"));
    loop_poll(loop, -1); /* returns, so that it can be flushed */
    ck_assert_uint_eq(stream.output.pending, 5);
    net_flush_all(&net);
    ck_assert_uint_eq(stream.output.pending, 0);
    fakenet_client_close(&client);
    stream_free(&stream);
    fakenet_free(&fake);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("loop");
    TCase *tcase = tcase_create("loop");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, test_timeouts_end);
    tcase_add_test(tcase, test_wake_from_a_thread);
    tcase_add_test(tcase, test_wake_before_the_poll);
    tcase_add_test(tcase, test_signals);
    tcase_add_test(tcase, test_does_not_sleep_on_work);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
