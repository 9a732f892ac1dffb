/* test_patience.c - consumers that do not settle in time. */
#include "tests/unit/server_world.h"

static struct client client;

static void begin(void)
{
    set("connection_unacked_max", "0");
    connect_client(&client, false, 0);
    declare(&client, "q");
    declare(&client, "other");
    ck_assert_str_eq(hear(&client), "queue.declare_ok(0) queue.declare_ok(0)");
}

static struct channel *channel(void)
{
    return connection_channel(client.conn, 1);
}

static void consume_for(const char *queue, const char *tag, int64_t timeout_ms)
{
    struct buf args = {0};
    table_put_int(&args, "x-consumer-timeout", timeout_ms);
    struct method m = {.id = METHOD_basic_consume};
    m.basic_consume.queue = slice_of_string(queue);
    m.basic_consume.consumer_tag = slice_of_string(tag);
    m.basic_consume.arguments = buf_slice(&args);
    send(&client, 1, &m);
    ck_assert_str_eq(hear(&client), "basic.consume_ok");
    buf_free(&args);
}

static void acknowledge(uint64_t tag)
{
    struct method m = {.id = METHOD_basic_ack};
    m.basic_ack.delivery_tag = tag;
    send(&client, 1, &m);
}

START_TEST(who_settles_in_time_stays)
{
    begin();
    consume_for("q", "quick", 2000);
    consume_for("other", "slow", 0);
    publish(&client, "other", 1, 5);
    ck_assert_str_eq(hear(&client), "");
    for (uint64_t i = 0; i < 20; i++) {
        publish(&client, "q", 1, 1);
        ck_assert_str_eq(hear(&client), "");
        ck_assert_uint_eq(client.last_tag, 6 + i);
        pass(1500);
        acknowledge(client.last_tag);
    }
    ck_assert_str_eq(hear(&client), "");
    publish(&client, "q", 1, 1);
    pass(2000);
    ck_assert_str_eq(hear(&client), ""); /* not before */
    pass(2000 / 4 + PATIENCE_GAP_MS);
    ck_assert_str_eq(hear(&client), "channel.close(406)");
    ck_assert_str_eq(client.text, "PRECONDITION_FAILED - delivery acknowledgement on channel 1 timed out. "
                                  "Timeout value used: 2000 ms. This timeout value can be configured, see "
                                  "consumers doc guide to learn more");
    hang_up(&client);
}
END_TEST

/* Else some thousands of consumers, and many messages that nobody settles, took all of the turns. */
START_TEST(looks_are_far_apart)
{
    begin();
    consume_for("other", "slow", 0);
    publish(&client, "other", 1, 1000);
    ck_assert_str_eq(hear(&client), "");
    uint64_t looked = 0;
    unsigned times = 0;
    for (int i = 0; i < 200; i++) {
        char tag[20];
        snprintf(tag, sizeof(tag), "c%d", i);
        consume_for("q", tag, 1 + i % 7);
        pass(10);
        if (channel()->patience.looked_ms == looked)
            continue;
        ck_assert(looked == 0 || channel()->patience.looked_ms >= looked + PATIENCE_GAP_MS);
        looked = channel()->patience.looked_ms;
        times++;
    }
    ck_assert_uint_gt(times, 2);
    ck_assert_str_eq(hear(&client), "");
    publish(&client, "q", 1, 1);
    pass(2 * PATIENCE_GAP_MS + 100);
    ck_assert_str_eq(hear(&client), "channel.close(406)");
    hang_up(&client);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {who_settles_in_time_stays, looks_are_far_apart};
    return run_suite("patience", tests, array_size(tests), NULL, 0);
}
