/* test_patience.c - who settles too late, and what it costs to look for it. */
#include "tests/unit/cost.h"
#include "tests/unit/suite.h"

enum { UNACKED = 1000, CONSUMERS_FEW = 10, CONSUMERS_MANY = 160, TIMEOUT_MS = 8000 };

static void fetch(int count)
{
    struct buf out = {0};
    struct method m = {.id = METHOD_basic_get};
    m.basic_get.queue = SLICE("full");
    for (int i = 0; i < count; i++)
        add_method(&out, 1, &m);
    flush(&client, &out);
}

static void consume_for(const char *name, const char *tag, int64_t timeout_ms)
{
    struct buf args = {0}, out = {0};
    struct method m = {.id = METHOD_basic_consume};
    table_put_int(&args, "x-consumer-timeout", timeout_ms);
    m.basic_consume.queue = slice_of_string(name);
    m.basic_consume.consumer_tag = slice_of_string(tag);
    m.basic_consume.no_wait = true;
    m.basic_consume.arguments = buf_slice(&args);
    add_method(&out, 1, &m);
    buf_free(&args);
    flush(&client, &out);
}

/* Queues "full", of which the client has fetched `fetched`, and "empty". */
static void begin(int fetched)
{
    set("connection_unacked_max", "1000000");
    connect_client(&client, true, 0);
    declare(&client, "full"), declare(&client, "empty");
    publish(&client, "full", 0, fetched);
    fetch(fetched);
    hear(&client);
    ck_assert_uint_eq(client.deliveries, (unsigned)fetched);
}

/* --- who is overdue --- */

START_TEST(one_that_settles_nothing)
{
    begin(0);
    consume_for("full", "t", TIMEOUT_MS);
    publish(&client, "full", 0, 1);
    pass(TIMEOUT_MS);
    ck_assert_str_eq(hear(&client), "");
    pass(TIMEOUT_MS / 2);
    ck_assert_str_eq(hear(&client), "channel.close(406)");
    hang_up(&client);
}
END_TEST

/* A short time is seen to be over late, but it is seen. */
START_TEST(one_with_no_time_at_all)
{
    begin(0);
    consume_for("full", "t", 1);
    publish(&client, "full", 0, 1);
    pass(3000);
    ck_assert_str_eq(hear(&client), "channel.close(406)");
    hang_up(&client);
}
END_TEST

/* What another consumer, or basic.get, has had for long is none of its business. */
START_TEST(others_have_more_time)
{
    begin(10);
    consume_for("full", "patient", 100 * TIMEOUT_MS);
    consume_for("empty", "hasty", TIMEOUT_MS);
    publish(&client, "full", 0, 10);
    pass(3 * TIMEOUT_MS);
    publish(&client, "empty", 0, 1);
    ck_assert_str_eq(hear(&client), "");
    struct method m = {.id = METHOD_basic_ack};
    m.basic_ack.delivery_tag = client.last_tag;
    send(&client, 1, &m);
    pass(3 * TIMEOUT_MS);
    ck_assert_str_eq(hear(&client), "");
    publish(&client, "empty", 0, 1);
    pass(2 * TIMEOUT_MS);
    ck_assert_str_eq(hear(&client), "channel.close(406)");
    hang_up(&client);
}
END_TEST

/* Nobody waits for a consumer that was cancelled. */
START_TEST(one_that_is_gone)
{
    begin(0);
    consume_for("full", "gone", TIMEOUT_MS);
    consume_for("empty", "stays", TIMEOUT_MS);
    publish(&client, "full", 0, 10);
    struct method m = {.id = METHOD_basic_cancel};
    m.basic_cancel.consumer_tag = SLICE("gone");
    send(&client, 1, &m);
    pass(3 * TIMEOUT_MS);
    ck_assert_str_eq(hear(&client), "basic.cancel_ok");
    hang_up(&client);
}
END_TEST

/* --- what it costs --- */

static void act(void *arg)
{
    (void)arg;
    server_act(&server);
}

/* A look at all consumers of the channel, while much is unacked that is none of theirs. */
static uint64_t steps_of_a_look(int consumers)
{
    begin(UNACKED);
    for (int i = 0; i < consumers; i++)
        consume_for("empty", name_of("t", i), TIMEOUT_MS);
    pass(3 * TIMEOUT_MS);
    now_ns += (uint64_t)TIMEOUT_MS / 2 * 1000000;
    uint64_t steps = steps_of(act, NULL);
    ck_assert_str_eq(hear(&client), "");
    hang_up(&client);
    return steps;
}

START_TEST(a_look_goes_through_what_is_unacked_once)
{
    uint64_t few = steps_of_a_look(CONSUMERS_FEW);
    stop();
    start();
    uint64_t many = steps_of_a_look(CONSUMERS_MANY);
    fprintf(stderr, "a look for late consumers: %llu instructions with %d, %llu with %d\n",
            (unsigned long long)few, CONSUMERS_FEW, (unsigned long long)many, CONSUMERS_MANY);
    ck_assert_uint_lt(many - few, (CONSUMERS_MANY - CONSUMERS_FEW) * UNACKED / 4); /* not a walk for each */
}
END_TEST

/* However short its time is, a consumer is not looked at all the time. */
START_TEST(looks_are_few)
{
    begin(0);
    consume_for("empty", "t", 1);
    const struct channel *ch = connection_channel(client.conn, 1);
    uint64_t looks_before = ch->patience_timer.node.key;
    int count = 0;
    for (int i = 0; i < 1000; i++) {
        now_ns += 1000000;
        server_act(&server);
        count += ch->patience_timer.node.key != looks_before;
        looks_before = ch->patience_timer.node.key;
    }
    ck_assert_int_gt(count, 0);
    ck_assert_int_lt(count, 30);
    hang_up(&client);
}
END_TEST

/* However many come, one after the other. */
START_TEST(looks_are_far_apart)
{
    uint64_t looked_ms = 0;
    unsigned times = 0;
    begin(UNACKED);
    const struct channel *ch = connection_channel(client.conn, 1);
    for (int i = 0; i < 200; i++) {
        consume_for("empty", name_of("t", i), 1 + i % 7);
        pass(10);
        if (ch->patience.looked_ms == looked_ms)
            continue;
        ck_assert(looked_ms == 0 || ch->patience.looked_ms >= looked_ms + PATIENCE_GAP_MS);
        looked_ms = ch->patience.looked_ms;
        times++;
    }
    ck_assert_uint_gt(times, 2);
    ck_assert_str_eq(hear(&client), "");
    publish(&client, "empty", 0, 1);
    pass(2 * PATIENCE_GAP_MS + 100);
    ck_assert_str_eq(hear(&client), "channel.close(406)");
    hang_up(&client);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {one_that_settles_nothing, one_with_no_time_at_all, others_have_more_time,
                                  one_that_is_gone, a_look_goes_through_what_is_unacked_once, looks_are_few,
                                  looks_are_far_apart};
    return run_suite("patience", tests, array_size(tests), NULL, 0);
}
