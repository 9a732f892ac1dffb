/* test_flow.c - reasons not to read a connection overlap, and what it can make the server hold is bounded. */
#include "tests/unit/server_world.h"

/* --- byte limits --- */

static void add_gets(struct buf *out, const char *name, int count, bool no_ack)
{
    struct method m = {.id = METHOD_basic_get};
    m.basic_get.queue = slice_of_string(name);
    m.basic_get.no_ack = no_ack;
    for (int i = 0; i < count; i++)
        add_method(out, 1, &m);
}

START_TEST(answers_that_nobody_reads)
{
    struct client publisher, client;
    struct buf out = {0};
    enum { COUNT = 400 };
    connect_client(&publisher, true, 0);
    connect_client(&client, true, 0);
    declare(&publisher, "q");
    for (int i = 0; i < COUNT; i += 20)
        publish(&publisher, "q", 20000, 20);
    ck_assert_uint_eq(queue_ready(queue("q")), COUNT);
    add_gets(&out, "q", COUNT, true);
    flush(&client, &out);
    ck_assert(client.conn->stream.paused);
    ck_assert_uint_eq(client.conn->flow.paused, FLOW_OUTPUT);
    ck_assert_uint_gt(client.conn->stream.output.pending, FLOW_REPLIES_MAX - 2 * PIPE_BYTES);
    ck_assert_uint_le(client.conn->stream.output.pending, FLOW_REPLIES_MAX + 20100);
    hear(&client); /* reads all: the rest is answered */
    ck_assert_uint_eq(client.deliveries, COUNT);
    ck_assert_uint_eq(client.conn->flow.paused, 0);
    hang_up(&publisher), hang_up(&client);
}
END_TEST

/* A client that is handed a lot may still publish without reading first: deliveries do not count as
 * answers. */
START_TEST(deliveries_are_no_answers)
{
    struct client client;
    connect_client(&client, true, 0);
    set("connection_unacked_max", "0");
    declare(&client, "q");
    ck_assert_str_eq(hear(&client), "queue.declare_ok(0)");
    consume(&client, "q");
    for (int i = 0; i < 100; i++)
        publish(&client, "q", BODY_MAX, 1);
    ck_assert_uint_ge(client.conn->stream.output.pending, STREAM_HIGH_WATER);
    ck_assert_uint_lt(client.conn->stream.output.pending, STREAM_HIGH_WATER + 2 * BODY_MAX);
    ck_assert_uint_eq(client.conn->flow.paused, 0);
    hear(&client);
    ck_assert_uint_eq(client.deliveries, 100);
    hang_up(&client);
}
END_TEST

START_TEST(messages_that_nobody_acks)
{
    struct client publisher, client;
    connect_client(&publisher, true, 0);
    connect_client(&client, true, 0);
    declare(&publisher, "q");
    consume(&client, "q");
    publish(&publisher, "q", 4000, 100);
    hear(&client);
    ck_assert_uint_eq(client.deliveries, 17); /* the first 16 are not 65536 bytes yet */
    ack(&client, 3);
    hear(&client);
    ck_assert_uint_eq(client.deliveries, 17); /* above three quarters */
    ack(&client, 5);
    hear(&client);
    ck_assert_uint_eq(client.deliveries, 17 + 5);
    struct method get = {.id = METHOD_basic_get};
    get.basic_get.queue = SLICE("q");
    send(&client, 1, &get);
    ck_assert_str_eq(hear(&client), "channel.close(406)");
    ck_assert_uint_eq(client.conn->flow.unacked, 0);
    ck_assert_uint_eq(queue_ready(queue("q")), 95);
    hang_up(&publisher), hang_up(&client);
}
END_TEST

START_TEST(fetched_and_not_acked)
{
    struct client client;
    struct buf out = {0};
    connect_client(&client, true, 0);
    declare(&client, "q");
    publish(&client, "q", 4000, 40);
    hear(&client);
    add_gets(&out, "q", 18, false);
    flush(&client, &out);
    ck_assert_str_eq(hear(&client), "channel.close(406)");
    ck_assert_uint_eq(client.deliveries, 17);
    ck_assert_uint_gt(client.conn->flow.unacked, 65536); /* they go back with close-ok */
    send(&client, 1, &(struct method){.id = METHOD_channel_close_ok});
    ck_assert_uint_eq(client.conn->flow.unacked, 0);
    ck_assert_uint_eq(queue_ready(queue("q")), 40);
    hang_up(&client);
}
END_TEST

START_TEST(messages_that_are_never_complete)
{
    struct client client;
    struct fault f;
    connect_client(&client, true, 0);
    fault_init(&f);
    /* As if other channels had begun so much. */
    ck_assert(flow_hold(&client.conn->flow, FLOW_HELD_MIN - 1000, &f));
    publish(&client, "nobody", 500, 3);
    ck_assert_str_eq(hear(&client), "");
    ck_assert_uint_eq(client.conn->flow.held, FLOW_HELD_MIN - 1000);
    send(&client, 1, &(struct method){.id = METHOD_tx_select});
    publish(&client, "nobody", 500, 1);
    ck_assert_uint_gt(client.conn->flow.held, FLOW_HELD_MIN - 500);
    send(&client, 1, &(struct method){.id = METHOD_tx_rollback});
    ck_assert_uint_eq(client.conn->flow.held, FLOW_HELD_MIN - 1000);
    publish(&client, "nobody", 500, 1);
    send(&client, 1, &(struct method){.id = METHOD_tx_commit});
    send(&client, 1, &(struct method){.id = METHOD_channel_close});
    send(&client, 1, &(struct method){.id = METHOD_channel_open});
    ck_assert_uint_eq(client.conn->flow.held, FLOW_HELD_MIN - 1000);
    ck_assert_str_eq(hear(&client), "tx.select_ok tx.rollback_ok tx.commit_ok "
                                    "channel.close_ok channel.open_ok");
    publish(&client, "nobody", 4000, 1); /* a small one in each channel does no harm */
    ck_assert_str_eq(hear(&client), "");
    publish(&client, "nobody", 5000, 1);
    ck_assert_str_eq(hear(&client), "connection.close(506)");
    ck_assert_uint_eq(client.conn->flow.held, FLOW_HELD_MIN - 1000);
    flow_release(&client.conn->flow, FLOW_HELD_MIN - 1000);
    set("max_message_size", "256MB"); /* two of the largest always fit */
    ck_assert(flow_hold(&client.conn->flow, 2 * FLOW_HELD_MIN, &f) && !flow_hold(&client.conn->flow, 1, &f));
    flow_release(&client.conn->flow, 2 * FLOW_HELD_MIN);
    hang_up(&client);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {answers_that_nobody_reads, deliveries_are_no_answers,
                                  messages_that_nobody_acks, fetched_and_not_acked,
                                  messages_that_are_never_complete};
    return run_suite("flow", tests, array_size(tests), NULL, 0);
}
