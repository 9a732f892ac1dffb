/* test_stream.c - streams over the network in memory: tails, partial writes, references, flow
 * control, closing, and one random run (SEED) of all of it together. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/mem.h"
#include "tests/sim/fakenet.h"
#include "tests/unit/suite.h"

enum { RECORD = 10 };

/* What a broker's connection would be: the owner of a stream. */
struct owner {
    struct stream stream;
    struct buf got;             /* what `bytes` consumed */
    size_t unit;                /* it consumes whole units only; 0 = nothing at all */
    size_t calls, offered_last; /* of `bytes` */
    size_t units_max;           /* in one call; 0 = no limit; more makes it pause */
    bool resume_inside, abort_inside, close_inside, write_when_drained;
    int drained, closed, error;
};

static struct net net;
static struct fakenet *fake;
static struct fakenet_link *client;
static struct owner owner;

static size_t on_bytes(struct stream *stream, struct slice in)
{
    struct owner *o = container_of(stream, struct owner, stream);
    o->calls++;
    o->offered_last = in.len;
    size_t units = o->unit ? in.len / o->unit : 0;
    if (o->units_max && units > o->units_max) {
        units = o->units_max;
        stream_pause(stream);
    }
    buf_append(&o->got, in.at, units * o->unit);
    if (o->resume_inside)
        stream_resume(stream);
    if (o->abort_inside)
        stream_abort(stream, -EPROTO);
    if (o->close_inside)
        stream_close(stream);
    /* Still readable after any of these, whatever memory it is. */
    ck_assert_uint_lt(in.at[in.len - 1], 256);
    return units * o->unit;
}

static void on_drained(struct stream *stream)
{
    static const uint8_t zeros[STREAM_HIGH_WATER];
    struct owner *o = container_of(stream, struct owner, stream);
    o->drained++;
    if (o->write_when_drained)
        stream_write(stream, slice_of(zeros, sizeof(zeros)));
}

static void on_closed(struct stream *stream, int error)
{
    struct owner *o = container_of(stream, struct owner, stream);
    o->closed++;
    o->error = error;
    ck_assert_int_eq(stream->state, STREAM_CLOSED);
}

static const struct stream_events events = {.bytes = on_bytes, .drained = on_drained, .closed = on_closed};

static void open_with(struct rand *rand, size_t pipe_size)
{
    net_init(&net);
    fake = fakenet_new(rand, pipe_size);
    client = fakenet_connect(fake);
    owner = (struct owner){.unit = RECORD};
    stream_init(&owner.stream, &net, &fakenet_transport, client, &events);
    fakenet_attach(client, &owner.stream);
}

static void close_all(void)
{
    if (client)
        fakenet_client_close(&client);
    stream_free(&owner.stream);
    buf_free(&owner.got);
    fakenet_free(&fake);
    net_free(&net);
}

/* One turn as the broker has it. */
static bool turn(void)
{
    bool busy = fakenet_pump(fake, &net);
    net_flush_all(&net);
    return busy;
}

static void settle(void)
{
    for (int i = 0; turn(); i++)
        ck_assert_int_lt(i, 100000);
}

static void fill(uint8_t *bytes, size_t size, size_t from)
{
    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)((from + i) * 2654435761u >> 13);
}

static size_t say(size_t from, size_t size)
{
    uint8_t *bytes = mem_alloc(size);
    fill(bytes, size, from);
    size_t sent = fakenet_client_write(client, bytes, size);
    mem_free(bytes);
    return sent;
}

static void check_bytes(const struct buf *got, size_t size)
{
    ck_assert_uint_eq(got->len, size);
    uint8_t *expected = mem_alloc(size);
    fill(expected, size, 0);
    ck_assert(size == 0 || memcmp(got->at, expected, size) == 0);
    mem_free(expected);
}

/* Lets the client read all there is, in reads of `size`. */
static void hear(struct buf *heard, size_t size)
{
    for (;;) {
        size_t got = fakenet_client_read(client, buf_reserve(heard, size), size);
        heard->len += got;
        if (got == 0)
            return;
    }
}

/* ---- input ---- */

/* What was kept while reading was paused is offered before the end that came meanwhile. */
START_TEST(test_end_does_not_overtake_the_tail)
{
    open_with(NULL, 4096);
    owner.units_max = 1;
    say(0, 2 * RECORD);
    turn();
    ck_assert_uint_eq(owner.got.len, RECORD);
    fakenet_client_finish(client);
    owner.units_max = 0;
    stream_resume(&owner.stream);
    stream_readable(&owner.stream); /* in the same turn as the resume */
    ck_assert_int_eq(owner.closed, 0);
    settle();
    check_bytes(&owner.got, 2 * RECORD);
    ck_assert_int_eq(owner.closed, 1);
    close_all();
}
END_TEST

START_TEST(test_tail_is_offered_again_with_more_behind)
{
    open_with(NULL, 4096);
    say(0, 7);
    turn();
    ck_assert_uint_eq(owner.got.len, 0);
    ck_assert_uint_eq(owner.stream.tail_size, 7);
    say(7, 8);
    turn();
    ck_assert_uint_eq(owner.offered_last, 15);
    ck_assert_uint_eq(owner.stream.tail_size, 5);
    turn();
    ck_assert_uint_eq(owner.calls, 2); /* nothing new: not offered */
    say(15, 5);
    turn();
    check_bytes(&owner.got, 20);
    ck_assert_ptr_null(owner.stream.tail); /* idle: owns nothing */
    ck_assert_uint_eq(owner.stream.received, 20);
    close_all();
}
END_TEST

START_TEST(test_every_cut)
{
    for (size_t cut = 1; cut < 3 * RECORD; cut++) {
        open_with(NULL, 4096);
        for (size_t at = 0; at < 12 * RECORD; at += cut) {
            say(at, at + cut < 12 * RECORD ? cut : 12 * RECORD - at);
            turn();
        }
        check_bytes(&owner.got, 12 * RECORD);
        close_all();
    }
}
END_TEST

START_TEST(test_unit_larger_than_the_read_buffer)
{
    open_with(NULL, 64 * 1024);
    size_t size = owner.unit = 3 * (size_t)NET_READ_SIZE + 17;
    for (size_t at = 0; at < size;) {
        at += say(at, size - at);
        turn();
    }
    check_bytes(&owner.got, size);
    ck_assert_ptr_null(owner.stream.tail);
    close_all();
}
END_TEST

START_TEST(test_one_read_a_turn)
{
    open_with(NULL, 4 * (size_t)NET_READ_SIZE);
    owner.unit = 1;
    say(0, 2 * (size_t)NET_READ_SIZE + 1);
    for (size_t i = 1; i <= 3; i++) {
        turn();
        ck_assert_uint_eq(owner.calls, i);
        ck_assert_uint_le(owner.offered_last, NET_READ_SIZE);
    }
    check_bytes(&owner.got, 2 * (size_t)NET_READ_SIZE + 1);
    close_all();
}
END_TEST

START_TEST(test_pause_and_resume)
{
    open_with(NULL, 4096);
    owner.units_max = 2;
    say(0, 55);
    turn();
    ck_assert_uint_eq(owner.got.len, 20);
    say(55, 5);
    ck_assert(!turn()); /* paused: neither read nor offered */
    stream_readable(&owner.stream); /* an event that was under way already */
    ck_assert_uint_eq(owner.calls, 1);
    stream_resume(&owner.stream);
    ck_assert(!net_is_idle(&net)); /* or the loop would sleep */
    ck_assert_uint_eq(owner.calls, 1);
    turn(); /* the tail: two units, paused again */
    ck_assert_uint_eq(owner.got.len, 40);
    stream_resume(&owner.stream);
    stream_pause(&owner.stream); /* changed its mind before the turn */
    ck_assert(net_is_idle(&net));
    ck_assert(!turn());
    stream_resume(&owner.stream);
    turn(); /* one unit of the tail; then what came meanwhile completes the last */
    ck_assert_uint_eq(owner.calls, 4);
    check_bytes(&owner.got, 60);
    ck_assert_ptr_null(owner.stream.tail);
    close_all();
}
END_TEST

START_TEST(test_resume_inside_the_handler)
{
    open_with(NULL, 4096);
    owner.units_max = 1;
    owner.resume_inside = true;
    say(0, 50);
    settle();
    check_bytes(&owner.got, 50);
    close_all();
}
END_TEST

START_TEST(test_end_inside_the_handler)
{
    for (int again = 0; again < 4; again++) {
        open_with(NULL, 4096);
        owner.units_max = again & 1; /* 1: the tail is offered when it ends */
        if (again & 1) {
            say(0, 30);
            turn();
            stream_resume(&owner.stream);
        }
        owner.units_max = 0;
        owner.abort_inside = again < 2;
        owner.close_inside = again >= 2;
        say(0, 25);
        size_t calls = owner.calls;
        turn();
        turn();
        ck_assert_uint_eq(owner.calls, calls + 1);
        ck_assert_ptr_null(owner.stream.tail);
        ck_assert_int_eq(owner.closed, again < 2);
        ck_assert_int_eq(owner.error, again < 2 ? -EPROTO : 0);
        close_all();
    }
}
END_TEST

/* ---- output ---- */

struct ref {
    uint8_t *bytes;
    int released;
};

static void on_release(void *arg, void *ref_owner)
{
    struct ref *ref = arg;
    ck_assert_ptr_eq(ref_owner, &net);
    ck_assert_int_eq(ref->released++, 0);
    mem_free(ref->bytes); /* so that the sanitizer sees a late use */
    ref->bytes = NULL;
}

static void write_ref(struct ref *ref, size_t from, size_t size)
{
    *ref = (struct ref){.bytes = mem_alloc(size)};
    fill(ref->bytes, size, from);
    stream_write_ref(&owner.stream, slice_of(ref->bytes, size), on_release, ref, &net);
}

/* Writes `size` bytes in one of the three ways. */
static void write_somehow(int how, struct ref *ref, size_t from, size_t size)
{
    if (how == 0) {
        write_ref(ref, from, size);
        return;
    }
    uint8_t *bytes = mem_alloc(size);
    fill(bytes, size, from);
    if (how == 1)
        stream_write(&owner.stream, slice_of(bytes, size));
    else {
        uint8_t *at = stream_reserve(&owner.stream, size + 13); /* more than it uses */
        memcpy(at, bytes, size);
        stream_commit(&owner.stream, size);
    }
    mem_free(bytes);
}

START_TEST(test_partial_writes)
{
    static const size_t sizes[] = {1, 3, 200, 1500, 70000, 16, 16, 300, 65536, 8};
    struct ref refs[60] = {0};
    struct buf heard = {0};
    open_with(NULL, 1009);
    size_t written = 0;
    for (size_t i = 0; i < array_size(refs); i++) {
        size_t size = sizes[i % array_size(sizes)];
        write_somehow((int)(i % 3), &refs[i], written, size);
        written += size;
        ck_assert_uint_eq(owner.stream.output.pending + owner.stream.sent, written);
        if (i % 7 == 0) {
            turn();
            hear(&heard, 333);
        }
    }
    for (size_t last = 1; last != heard.len;) {
        last = heard.len;
        turn();
        hear(&heard, 1000);
    }
    check_bytes(&heard, written);
    for (size_t i = 0; i < array_size(refs); i += 3)
        ck_assert_int_eq(refs[i].released, 1);
    ck_assert(list_empty(&owner.stream.output.parts)); /* idle: holds no chunk */
    ck_assert_uint_eq(owner.stream.output.room_size, 0);
    ck_assert_uint_eq(owner.stream.sent, written);
    buf_free(&heard);
    close_all();
}
END_TEST

START_TEST(test_ref_is_held_until_it_is_written)
{
    struct buf heard = {0};
    struct ref refs[3];
    open_with(NULL, 100);
    write_ref(&refs[0], 0, 100);
    write_ref(&refs[1], 100, 100);
    write_ref(&refs[2], 200, 100);
    ck_assert_int_eq(refs[0].released, 0);
    turn();
    ck_assert_int_eq(refs[0].released, 1);
    ck_assert_int_eq(refs[1].released, 0);
    fakenet_client_read(client, buf_reserve(&heard, 99), 99);
    turn(); /* room for 99 of the second */
    ck_assert_int_eq(refs[1].released, 0);
    stream_abort(&owner.stream, 0);
    ck_assert_int_eq(refs[1].released, 1);
    ck_assert_int_eq(refs[2].released, 1);
    write_ref(&refs[0], 0, 1); /* closed: dropped at once */
    ck_assert_int_eq(refs[0].released, 1);
    write_ref(&refs[0], 0, 0);
    ck_assert_int_eq(refs[0].released, 1);
    buf_free(&heard);
    close_all();
}
END_TEST

START_TEST(test_many_refs_share_a_chunk)
{
    static struct ref refs[200];
    struct buf heard = {0};
    open_with(NULL, 1 << 20);
    size_t written = 0;
    for (size_t i = 0; i < array_size(refs); i++) {
        write_somehow(1, NULL, written, 30);
        write_ref(&refs[i], written + 30, 1000);
        written += 1030;
    }
    ck_assert_uint_eq(net.free_chunk_count, 0);
    turn();
    hear(&heard, 65536);
    check_bytes(&heard, written);
    ck_assert_uint_eq(net.free_chunk_count, 1); /* one was enough for all */
    buf_free(&heard);
    close_all();
}
END_TEST

START_TEST(test_spare_chunks_are_bounded_and_reused)
{
    open_with(NULL, 32 << 20);
    static uint8_t big[NET_CHUNK_SIZE * 3];
    for (size_t i = 0; i < NET_SPARE_CHUNKS + 20; i++)
        stream_commit(&owner.stream, (stream_reserve(&owner.stream, 60000), 60000));
    stream_write(&owner.stream, slice_of(big, sizeof(big))); /* a chunk of its own size */
    turn();
    turn(); /* a flush stops at STREAM_FLUSH_MAX */
    ck_assert_uint_eq(owner.stream.output.pending, 0);
    ck_assert_uint_eq(net.free_chunk_count, NET_SPARE_CHUNKS);
    uint8_t *at = stream_reserve(&owner.stream, 1);
    ck_assert_uint_eq(net.free_chunk_count, NET_SPARE_CHUNKS - 1);
    turn(); /* the chunk goes back unused */
    ck_assert_uint_eq(net.free_chunk_count, NET_SPARE_CHUNKS);
    ck_assert_ptr_eq(stream_reserve(&owner.stream, 1), at); /* the last given: hot */
    close_all();
}
END_TEST

START_TEST(test_a_flush_has_its_share)
{
    static uint8_t chunk[60000];
    open_with(NULL, 64 << 20);
    size_t count = 4 * (size_t)STREAM_FLUSH_MAX / sizeof(chunk);
    for (size_t i = 0; i < count; i++)
        stream_write(&owner.stream, slice_of(chunk, sizeof(chunk)));
    net_flush_all(&net);
    ck_assert_uint_ge(owner.stream.sent, STREAM_FLUSH_MAX);
    ck_assert_uint_lt(owner.stream.sent, 2 * (size_t)STREAM_FLUSH_MAX);
    settle(); /* the rest comes as it is writable */
    ck_assert_uint_eq(owner.stream.sent, count * sizeof(chunk));
    close_all();
}
END_TEST

START_TEST(test_drained)
{
    struct buf heard = {0};
    open_with(NULL, 100000);
    static uint8_t bytes[STREAM_HIGH_WATER];
    stream_write(&owner.stream, slice_of(bytes, sizeof(bytes) - 1));
    ck_assert(!stream_is_high(&owner.stream));
    stream_write(&owner.stream, slice_of(bytes, 1));
    ck_assert(stream_is_high(&owner.stream));
    turn();
    while (owner.stream.output.pending >= STREAM_LOW_WATER) {
        ck_assert_int_eq(owner.drained, 0);
        hear(&heard, 50000);
        turn();
    }
    ck_assert_int_eq(owner.drained, 1);
    hear(&heard, 50000);
    settle();
    ck_assert_int_eq(owner.drained, 1); /* once */
    buf_free(&heard);
    close_all();
}
END_TEST

START_TEST(test_flush_all_ends_though_drained_writes_more)
{
    open_with(NULL, 64 << 20);
    owner.write_when_drained = true;
    static uint8_t bytes[STREAM_HIGH_WATER];
    stream_write(&owner.stream, slice_of(bytes, sizeof(bytes)));
    net_flush_all(&net); /* high within the turn, written at once */
    ck_assert_int_eq(owner.drained, 1);
    ck_assert(!net_is_idle(&net));
    net_flush_all(&net);
    ck_assert_int_eq(owner.drained, 2);
    close_all();
}
END_TEST

/* ---- ending ---- */

START_TEST(test_close_flushes_and_waits_for_the_peer)
{
    struct buf heard = {0};
    struct ref ref;
    open_with(NULL, 1000);
    write_somehow(1, NULL, 0, 3000);
    write_ref(&ref, 3000, 5000);
    stream_close(&owner.stream);
    stream_close(&owner.stream);
    stream_write(&owner.stream, SLICE("too late"));
    memset(stream_reserve(&owner.stream, 100000), 1, 100000);
    stream_commit(&owner.stream, 100000);
    ck_assert_uint_eq(owner.stream.output.pending, 8000);
    for (int i = 0; !fakenet_client_at_end(client); i++) {
        ck_assert_int_lt(i, 100);
        say(0, 50); /* dropped, but read: else closing would reset the link */
        turn();
        hear(&heard, 700);
    }
    check_bytes(&heard, 8000);
    ck_assert_int_eq(ref.released, 1);
    ck_assert_uint_eq(owner.calls, 0);
    settle();
    ck_assert_int_eq(owner.closed, 0); /* until the peer has heard all and closes */
    fakenet_client_finish(client);
    settle();
    ck_assert_int_eq(owner.closed, 1);
    ck_assert_int_eq(owner.error, 0);
    ck_assert(!fakenet_client_was_reset(client));
    buf_free(&heard);
    close_all();
}
END_TEST

START_TEST(test_close_with_the_peers_end_already_there)
{
    struct buf heard = {0};
    open_with(NULL, 1000);
    write_somehow(1, NULL, 0, 3000);
    turn();
    stream_close(&owner.stream);
    fakenet_client_finish(client);
    settle(); /* the end is read; the output still has to go */
    ck_assert_int_eq(owner.closed, 0);
    for (int i = 0; owner.closed == 0; i++) {
        ck_assert_int_lt(i, 100);
        hear(&heard, 1000);
        turn();
    }
    hear(&heard, 1000);
    check_bytes(&heard, 3000);
    ck_assert_int_eq(owner.error, 0);
    buf_free(&heard);
    close_all();
}
END_TEST

START_TEST(test_close_while_paused)
{
    open_with(NULL, 1000);
    stream_pause(&owner.stream);
    say(0, 500);
    stream_close(&owner.stream);
    stream_resume(&owner.stream);
    settle();
    ck_assert(fakenet_client_at_end(client));
    fakenet_client_close(&client);
    settle();
    ck_assert_int_eq(owner.closed, 1);
    ck_assert_uint_eq(owner.calls, 0);
    close_all();
}
END_TEST

START_TEST(test_peer_ends)
{
    open_with(NULL, 1000);
    say(0, 20);
    fakenet_client_finish(client);
    turn(); /* the bytes first */
    ck_assert_uint_eq(owner.got.len, 20);
    ck_assert_int_eq(owner.closed, 0);
    turn();
    ck_assert_int_eq(owner.closed, 1);
    ck_assert_int_eq(owner.error, 0);
    stream_abort(&owner.stream, -EPROTO); /* too late to be an event */
    stream_close(&owner.stream);
    stream_pause(&owner.stream);
    stream_resume(&owner.stream);
    ck_assert_int_eq(owner.closed, 1);
    close_all();
}
END_TEST

START_TEST(test_peer_resets)
{
    struct ref ref;
    open_with(NULL, 1000);
    write_ref(&ref, 0, 2000);
    turn();
    fakenet_client_reset(client);
    turn();
    ck_assert_int_eq(owner.closed, 1);
    ck_assert_int_eq(owner.error, -ECONNRESET);
    ck_assert_int_eq(owner.stream.error, -ECONNRESET);
    ck_assert_int_eq(ref.released, 1);
    close_all();
}
END_TEST

START_TEST(test_write_fails)
{
    open_with(NULL, 1000);
    stream_pause(&owner.stream); /* so that only writing can find out */
    fakenet_client_close(&client);
    stream_write(&owner.stream, SLICE("hello"));
    net_flush_all(&net);
    ck_assert_int_eq(owner.closed, 1);
    ck_assert_int_eq(owner.error, -EPIPE);
    close_all();
}
END_TEST

/* ---- all together ---- */

static uint64_t run_seed(void)
{
    const char *seed = getenv("SEED");
    uint64_t value = seed ? strtoull(seed, NULL, 0) : rand_u64(&(struct rand){0});
    printf("SEED=%llu\n", (unsigned long long)value);
    fflush(stdout);
    return value;
}

/* Random sizes both ways, with pauses; at the end the server closes in an orderly way. */
static void run_random(struct rand *rand)
{
    enum { STEPS = 150 };
    struct ref *refs = mem_zalloc(STEPS * sizeof(*refs));
    struct buf heard = {0};
    size_t said = 0, written = 0;
    open_with(rand, 1 + (size_t)rand_below(rand, 5000));
    owner.unit = 1 + (size_t)rand_below(rand, 40);
    for (size_t i = 0; i < STEPS; i++) {
        owner.units_max = (size_t)rand_below(rand, 4) * (size_t)rand_below(rand, 10);
        said += say(said, 1 + (size_t)rand_below(rand, 500));
        size_t size = 1 + (size_t)rand_below(rand, 1000);
        write_somehow((int)rand_below(rand, 3), &refs[i], written, size);
        written += size;
        if (rand_below(rand, 3) == 0)
            stream_resume(&owner.stream);
        if (rand_below(rand, 2) == 0)
            hear(&heard, 1 + (size_t)rand_below(rand, 2000));
        turn();
    }
    owner.units_max = 0;
    stream_resume(&owner.stream);
    settle();
    check_bytes(&owner.got, said - said % owner.unit);
    stream_close(&owner.stream);
    for (int i = 0; !fakenet_client_at_end(client); i++) {
        ck_assert_int_lt(i, 1000000);
        turn();
        hear(&heard, 1000);
    }
    fakenet_client_close(&client);
    settle();
    ck_assert_int_eq(owner.closed, 1);
    check_bytes(&heard, written);
    for (size_t i = 0; i < STEPS; i++)
        ck_assert_ptr_null(refs[i].bytes);
    buf_free(&heard);
    mem_free(refs);
    close_all();
}

START_TEST(test_random_runs)
{
    struct rand rand = rand_seeded(run_seed());
    for (int i = 0; i < 40; i++)
        run_random(&rand);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        test_end_does_not_overtake_the_tail,
        test_tail_is_offered_again_with_more_behind,
        test_every_cut,
        test_unit_larger_than_the_read_buffer,
        test_one_read_a_turn,
        test_pause_and_resume,
        test_resume_inside_the_handler,
        test_end_inside_the_handler,
        test_partial_writes,
        test_ref_is_held_until_it_is_written,
        test_many_refs_share_a_chunk,
        test_spare_chunks_are_bounded_and_reused,
        test_a_flush_has_its_share,
        test_drained,
        test_flush_all_ends_though_drained_writes_more,
        test_close_flushes_and_waits_for_the_peer,
        test_close_with_the_peers_end_already_there,
        test_close_while_paused,
        test_peer_ends,
        test_peer_resets,
        test_write_fails,
        test_random_runs,
    };
    Suite *suite = suite_create("stream");
    TCase *tcase = tcase_create("stream");
    for (size_t i = 0; i < array_size(tests); i++)
        tcase_add_test(tcase, tests[i]);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
