/* test_carrier.c - streams whose bytes are carried by threads, over pairs of sockets: large reads to places
 * of the handler's, beside large writes, and all that can happen to a stream meanwhile. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/rand.h"
#include "net/carrier.h"
#include "net/net.h"
#include "net/stream.h"
#include "tests/unit/suite.h"

enum { RECORD = 10, UNIT = 100000, TOTAL = 3000000, STREAMS = 12 };

/* The owner of a stream, and its socket. Bytes go to `got`, whole records or up to the end of a unit of
 * UNIT bytes straight to there. */
struct owner {
    struct stream stream;
    int fd, peer; /* -1 = closed */
    bool wants_read, wants_write;
    uint8_t *got;
    size_t got_size, placed, said, calls;
    bool pause_inside, talks_on; /* when something was placed: says more, waits until another job is done */
    int closed, error;
};

static struct net net;
static int wakes[2];
static struct owner owners[STREAMS];

static uint8_t byte_at(size_t i)
{
    return (uint8_t)(i * 2654435761u >> 13);
}

/* ---- the transport ---- */

static ssize_t io_readv(void *io, const struct iovec *parts, int count)
{
    const struct owner *o = io;
    struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)parts, .msg_iovlen = (size_t)count};
    ssize_t got = recvmsg(o->fd, &message, 0);
    return got < 0 ? -errno : got;
}

static ssize_t io_writev(void *io, const struct iovec *parts, int count)
{
    const struct owner *o = io;
    struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)parts, .msg_iovlen = (size_t)count};
    ssize_t put = sendmsg(o->fd, &message, MSG_NOSIGNAL);
    return put < 0 ? -errno : put;
}

static void io_want(void *io, bool readable, bool writable)
{
    struct owner *o = io;
    o->wants_read = readable;
    o->wants_write = writable;
}

static void io_finish(void *io)
{
    shutdown(((struct owner *)io)->fd, SHUT_WR);
}

static void io_close(void *io)
{
    struct owner *o = io;
    close(o->fd);
    o->fd = -1;
}

static const struct transport transport = {
    .readv = io_readv, .writev = io_writev, .want = io_want, .finish = io_finish, .close = io_close};

/* ---- the handler ---- */

static struct owner *owner_of(struct stream *stream)
{
    return container_of(stream, struct owner, stream);
}

static size_t on_bytes(struct stream *stream, struct slice in)
{
    struct owner *o = owner_of(stream);
    o->calls++;
    size_t end = (o->got_size + in.len) / RECORD * RECORD;
    size_t used = end > o->got_size ? end - o->got_size : 0;
    ck_assert_uint_le(o->got_size + used, TOTAL);
    memcpy(o->got + o->got_size, in.at, used);
    o->got_size += used;
    if (o->pause_inside)
        stream_pause(stream);
    return used;
}

static uint8_t *place(struct stream *stream, size_t *size)
{
    struct owner *o = owner_of(stream);
    size_t left = UNIT - o->got_size % UNIT;
    if (left < STREAM_PLACE_MIN || o->got_size % UNIT == 0)
        return NULL;
    *size = left;
    return o->got + o->got_size;
}

static void talk_on(struct owner *o);

static void on_placed(struct stream *stream, size_t size)
{
    struct owner *o = owner_of(stream);
    ck_assert(!stream->reading && size > 0);
    o->got_size += size;
    o->placed += size;
    if (o->talks_on)
        talk_on(o);
}

static void on_closed(struct stream *stream, int error)
{
    struct owner *o = owner_of(stream);
    o->closed++;
    o->error = error;
}

static const struct stream_events events = {
    .bytes = on_bytes, .place = place, .placed = on_placed, .closed = on_closed};

/* ---- the world ---- */

static void wake(void *arg)
{
    (void)arg;
    ck_assert_int_eq(write(wakes[1], "!", 1), 1);
}

static void setup(void)
{
    ck_assert_int_eq(pipe2(wakes, O_NONBLOCK), 0);
    net_init(&net);
    net.carrier = carrier_new(2, wake, NULL);
    for (size_t i = 0; i < STREAMS; i++) {
        struct owner *o = &owners[i];
        int ends[2];
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
        int size = 1024 * 1024;
        setsockopt(ends[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
        *o = (struct owner){.fd = ends[0], .peer = ends[1], .got = mem_zalloc(TOTAL)};
        stream_init(&o->stream, &net, &transport, o, &events);
    }
}

static void teardown(void)
{
    for (size_t i = 0; i < STREAMS; i++) {
        stream_free(&owners[i].stream);
        if (owners[i].peer >= 0)
            close(owners[i].peer);
        mem_free(owners[i].got);
    }
    carrier_free(&net.carrier);
    net_free(&net);
    close(wakes[0]);
    close(wakes[1]);
}

/* The peer says what it can of `size` bytes. */
static void say(struct owner *o, size_t size)
{
    uint8_t bytes[8192];
    while (size > 0) {
        size_t part = size < sizeof(bytes) ? size : sizeof(bytes);
        for (size_t i = 0; i < part; i++)
            bytes[i] = byte_at(o->said + i);
        ssize_t put = send(o->peer, bytes, part, MSG_NOSIGNAL);
        if (put <= 0)
            return;
        o->said += (size_t)put;
        size -= (size_t)put;
    }
}

/* Until a job is done. */
static void wait_wake(void)
{
    struct pollfd p = {.fd = wakes[0], .events = POLLIN};
    char byte;
    ck_assert_int_eq(poll(&p, 1, 60000), 1);
    ck_assert_int_eq(read(wakes[0], &byte, 1), 1);
}

static void talk_on(struct owner *o)
{
    ck_assert_uint_le(o->placed, 4000); /* or it goes on and on */
    say(o, 2000);
    wait_wake();
}

static void check_got(const struct owner *o)
{
    for (size_t i = 0; i < o->got_size; i++)
        if (o->got[i] != byte_at(i))
            ck_abort_msg("byte %zu is wrong", i);
}

/* Has a thread read for the stream: 60,000 bytes or less of its unit are there, `more` come. */
static struct owner *start(size_t more)
{
    struct owner *o = &owners[0];
    say(o, 40000);
    net.has_placed = false;
    stream_readable(&o->stream);
    ck_assert(o->got_size == 40000 && !o->stream.reading && o->wants_read);
    say(o, more);
    net.has_placed = true; /* another stream was first */
    stream_readable(&o->stream);
    ck_assert(o->stream.reading != NULL);
    ck_assert(!o->wants_read);
    return o;
}

/* Ends the job, and whatever follows from it. */
static void settle(void)
{
    struct owner *o = &owners[0];
    for (int i = 0; i < 10000 && (o->stream.reading || o->stream.writing); i++) {
        wait_wake();
        carrier_collect(net.carrier);
    }
    net_run_deferred(&net);
    while (o->wants_read && o->fd >= 0 && o->got_size + o->stream.tail_size < o->said) {
        net.has_placed = false;
        stream_readable(&o->stream);
    }
}

/* ---- one stream ---- */

START_TEST(first_of_a_turn_is_read_here)
{
    struct owner *o = &owners[0];
    say(o, 40000);
    net.has_placed = false;
    stream_readable(&o->stream);
    say(o, 60003);
    stream_readable(&o->stream);
    ck_assert(net.has_placed && o->stream.reading == NULL);
    ck_assert_uint_eq(o->placed, 60000);
    ck_assert_uint_eq(o->got_size, 100000);
    ck_assert_uint_eq(o->stream.tail_size, 3);
    ck_assert_uint_eq(o->stream.received, 100003);
    check_got(o);
}
END_TEST

START_TEST(part_of_a_place)
{
    struct owner *o = start(777);
    settle();
    ck_assert_uint_eq(o->placed, 777);
    ck_assert_uint_eq(o->got_size, 40777);
    ck_assert_uint_eq(o->stream.received, 40777);
    ck_assert(o->wants_read);
    check_got(o);
}
END_TEST

START_TEST(place_and_what_follows)
{
    struct owner *o = start(60000 + 1234);
    settle();
    ck_assert_uint_eq(o->placed, 60000);
    ck_assert_uint_eq(o->got_size, 101230);
    ck_assert_uint_eq(o->stream.tail_size, 4);
    say(o, 6);
    settle();
    ck_assert_uint_eq(o->got_size, 101240);
    ck_assert_uint_eq(o->stream.received, 101240);
    check_got(o);
}
END_TEST

START_TEST(paused_meanwhile)
{
    struct owner *o = start(60000 + 1234);
    size_t calls = o->calls;
    stream_pause(&o->stream);
    wait_wake();
    carrier_collect(net.carrier);
    ck_assert_uint_eq(o->calls, calls); /* not offered, kept */
    ck_assert_uint_eq(o->got_size, 100000);
    ck_assert_uint_eq(o->stream.tail_size, 1234);
    ck_assert(!o->wants_read && o->stream.reading == NULL);
    stream_resume(&o->stream);
    ck_assert(o->wants_read);
    settle();
    ck_assert_uint_eq(o->got_size, 101230);
    check_got(o);
}
END_TEST

START_TEST(paused_and_resumed_meanwhile)
{
    struct owner *o = start(60000 + 1234);
    stream_pause(&o->stream);
    stream_resume(&o->stream);
    ck_assert(!o->wants_read);
    net_run_deferred(&net); /* there is nothing to offer yet */
    settle();
    ck_assert_uint_eq(o->got_size, 101230);
    check_got(o);
}
END_TEST

START_TEST(aborted_meanwhile)
{
    struct owner *o = start(60000 + 1234);
    stream_abort(&o->stream, -EPROTO);
    ck_assert_int_eq(o->closed, 1);
    ck_assert_int_eq(o->error, -EPROTO);
    ck_assert_int_eq(o->fd, -1);
    memset(o->got, 0, TOTAL); /* nobody writes there any more, or the sanitizer says so */
    carrier_collect(net.carrier);
    ck_assert_int_eq(o->closed, 1);
}
END_TEST

START_TEST(closed_meanwhile)
{
    struct owner *o = start(60000);
    stream_close(&o->stream);
    ck_assert(o->stream.reading == NULL && o->wants_read);
    memset(o->got, 0, TOTAL);
    carrier_collect(net.carrier);
    net_flush_all(&net);
    say(o, 5000); /* read and dropped */
    stream_readable(&o->stream);
    stream_readable(&o->stream);
    shutdown(o->peer, SHUT_WR);
    for (int i = 0; i < 20 && !o->closed; i++)
        stream_readable(&o->stream);
    ck_assert_int_eq(o->closed, 1);
    ck_assert_int_eq(o->error, 0);
}
END_TEST

START_TEST(recalled_meanwhile)
{
    struct owner *o = start(60000 + 1234);
    size_t calls = o->calls;
    stream_recall(&o->stream);
    ck_assert(o->stream.reading == NULL && o->wants_read);
    ck_assert_uint_eq(o->calls, calls); /* not in the midst of whatever recalls */
    ck_assert(!net_is_idle(&net) || o->stream.tail_size == 0);
    stream_recall(&o->stream);
    settle();
    ck_assert_uint_eq(o->got_size, 101230);
    ck_assert_uint_eq(o->stream.received, 101234);
    check_got(o);
}
END_TEST

START_TEST(recalled_while_paused)
{
    struct owner *o = start(60000 + 1234);
    stream_pause(&o->stream);
    stream_recall(&o->stream);
    ck_assert(!o->wants_read && net_is_idle(&net));
    net_run_deferred(&net);
    stream_resume(&o->stream);
    settle();
    ck_assert_uint_eq(o->got_size, 101230);
    check_got(o);
}
END_TEST

/* What was sent before the end is taken first. */
START_TEST(peer_ends_meanwhile)
{
    struct owner *o = start(0);
    say(o, 500);
    shutdown(o->peer, SHUT_WR);
    settle();
    for (int i = 0; i < 3 && !o->closed; i++)
        stream_readable(&o->stream);
    settle();
    ck_assert_int_eq(o->closed, 1);
    ck_assert_int_eq(o->error, 0);
    ck_assert_uint_eq(o->got_size, 40500);
    check_got(o);
}
END_TEST

START_TEST(end_found_by_the_thread)
{
    struct owner *o = &owners[0];
    say(o, 40000);
    stream_readable(&o->stream);
    close(o->peer);
    o->peer = -1;
    net.has_placed = true;
    stream_readable(&o->stream);
    ck_assert(o->stream.reading != NULL);
    stream_pause(&o->stream);
    wait_wake();
    carrier_collect(net.carrier);
    ck_assert_int_eq(o->closed, 1);
    ck_assert_int_eq(o->error, 0);
}
END_TEST

/* A peer that closes with something unread resets the connection. */
START_TEST(reset_found_by_the_thread)
{
    struct owner *o = &owners[0];
    say(o, 40000);
    stream_readable(&o->stream);
    ck_assert_int_eq(write(o->fd, "?", 1), 1);
    close(o->peer);
    o->peer = -1;
    net.has_placed = true;
    stream_readable(&o->stream);
    ck_assert(o->stream.reading != NULL);
    wait_wake();
    carrier_collect(net.carrier);
    ck_assert_int_eq(o->closed, 1);
    ck_assert_int_eq(o->error, -ECONNRESET);
}
END_TEST

START_TEST(both_ways_at_once)
{
    struct owner *o = start(60000);
    static const uint8_t zeros[STREAM_ELSEWHERE_MIN];
    stream_write(&o->stream, slice_of(zeros, sizeof(zeros)));
    net_flush_all(&net);
    ck_assert(o->stream.writing != NULL && o->stream.reading != NULL);
    stream_abort(&o->stream, 0); /* waits for both, in either order */
    ck_assert_int_eq(o->closed, 1);
}
END_TEST

/* ---- many ---- */

static uint64_t run_seed(void)
{
    const char *seed = getenv("SEED");
    uint64_t value = seed ? strtoull(seed, NULL, 0) : rand_u64(&(struct rand){0}) ^ (uint64_t)getpid();
    printf("SEED=%llu\n", (unsigned long long)value);
    fflush(stdout);
    return value;
}

static void stir(struct rand *rand, struct owner *o)
{
    if (o->stream.state != STREAM_OPEN)
        return;
    switch (rand_below(rand, 40)) {
    case 0:
        stream_pause(&o->stream);
        break;
    case 1:
        stream_recall(&o->stream);
        break;
    case 2:
        if (rand_below(rand, 40) == 0)
            stream_abort(&o->stream, -EPROTO);
        break;
    default:
        stream_resume(&o->stream);
    }
}

/* Everything that came is in order, whoever read it, and nothing is missing. */
START_TEST(many_streams)
{
    struct rand rand = rand_seeded(run_seed());
    size_t jobs = 0, left = 1;
    for (int round = 0; left > 0; round++) {
        left = 0;
        ck_assert_int_lt(round, 1000000);
        net.has_placed = rand_below(&rand, 4) == 0;
        net_run_deferred(&net);
        for (size_t i = 0; i < STREAMS; i++) {
            struct owner *o = &owners[i];
            size_t most = TOTAL / 4 - o->said;
            if (most > 0)
                say(o, 1 + (size_t)rand_below(&rand, most < 200000 ? most : 200000));
            stir(&rand, o);
            if (o->wants_read && o->fd >= 0)
                stream_readable(&o->stream);
            jobs += o->stream.reading != NULL;
            left += o->stream.state == STREAM_OPEN && o->got_size < TOTAL / 4;
        }
        carrier_collect(net.carrier);
        char bytes[64];
        while (read(wakes[0], bytes, sizeof(bytes)) > 0)
            ;
    }
    ck_assert_uint_gt(jobs, 0);
    for (size_t i = 0; i < STREAMS; i++) {
        check_got(&owners[i]);
        ck_assert(owners[i].closed == (owners[i].stream.state == STREAM_CLOSED));
    }
}
END_TEST

/* Two streams that always have more, and threads that are always done in time: the loop goes on with its
 * turn nevertheless. */
START_TEST(a_turn_ends)
{
    net.has_placed = true;
    for (size_t i = 0; i < 2; i++) {
        struct owner *o = &owners[i];
        say(o, 40000);
        net.has_placed = false;
        stream_readable(&o->stream);
        say(o, 2000);
        o->talks_on = true;
        net.has_placed = true;
        stream_readable(&o->stream);
        ck_assert(o->stream.reading != NULL);
    }
    wait_wake();
    carrier_collect(net.carrier);
    for (size_t i = 0; i < 2; i++) {
        ck_assert_uint_eq(owners[i].placed, 2000);
        ck_assert(owners[i].stream.reading != NULL);
        owners[i].talks_on = false;
    }
    carrier_collect(net.carrier);
    check_got(&owners[0]);
    check_got(&owners[1]);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        first_of_a_turn_is_read_here,
        part_of_a_place,
        place_and_what_follows,
        paused_meanwhile,
        paused_and_resumed_meanwhile,
        aborted_meanwhile,
        closed_meanwhile,
        recalled_meanwhile,
        recalled_while_paused,
        peer_ends_meanwhile,
        end_found_by_the_thread,
        reset_found_by_the_thread,
        both_ways_at_once,
        many_streams,
        a_turn_ends,
    };
    Suite *suite = suite_create("carrier");
    TCase *tcase = tcase_create("carrier");
    tcase_add_checked_fixture(tcase, setup, teardown);
    for (size_t i = 0; i < array_size(tests); i++)
        tcase_add_test(tcase, tests[i]);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
