/* test_heartbeat.c - heartbeats, with a clock that the test moves (semantics 1.1; K18). */
#include "tests/unit/server_world.h"

static struct client client;

static bool is_open(void)
{
    return client.conn->state == CONNECTION_OPEN;
}

START_TEST(zero_is_off)
{
    connect_client(&client, true, 0);
    pass(10 * 60 * 1000);
    ck_assert_str_eq(hear(&client), "");
    ck_assert_uint_eq(client.heartbeats, 0);
    ck_assert(is_open());
    hang_up(&client);
}
END_TEST

/* The server offers 60 s; the client's 10 s count. A heartbeat follows half of that without any other frame,
 * so there is one in each interval, and no more than two. */
START_TEST(the_clients_interval_counts)
{
    struct buf frame = {0};
    connect_client(&client, true, 10);
    add_frame(&frame, FRAME_HEARTBEAT, 0, (struct slice){0});
    pass(4900);
    hear(&client);
    ck_assert_uint_eq(client.heartbeats, 0);
    for (unsigned second = 5; second < 105; second += 5) {
        put(&client, frame.at, frame.len);
        pass(5000);
        hear(&client);
        ck_assert_uint_ge(client.heartbeats, (second + 4) / 10);
    }
    ck_assert_uint_le(client.heartbeats, 20);
    ck_assert(is_open());
    buf_free(&frame);
    hang_up(&client);
}
END_TEST

/* Two intervals are missed, three are not awaited. */
START_TEST(the_silent_are_left)
{
    connect_client(&client, true, 10);
    pass(19900);
    ck_assert(is_open());
    struct connection *conn = client.conn;
    size_t open = 0;
    pass(10200);
    list_each(node, &server.connections)
        open += container_of(node, struct connection, link) == conn;
    ck_assert_uint_eq(open, 0);
    ck_assert_uint_eq(server.counters.connections_closed, 1);
    hang_up(&client);
}
END_TEST

/* Any octet is a sign of life, also one that is no frame yet. */
START_TEST(every_octet_counts)
{
    struct buf frame = {0};
    connect_client(&client, true, 10);
    add_frame(&frame, FRAME_HEARTBEAT, 0, (struct slice){0});
    for (size_t i = 0; i < 3 * frame.len; i++) {
        put(&client, frame.at + i % frame.len, 1);
        pass(9000);
        hear(&client);
        ck_assert(is_open());
    }
    buf_free(&frame);
    hang_up(&client);
}
END_TEST

/* Who is sent to hears no heartbeats. */
START_TEST(traffic_is_as_good)
{
    connect_client(&client, true, 10);
    declare(&client, "q");
    ck_assert_str_eq(hear(&client), "queue.declare_ok(0)");
    for (int i = 0; i < 30; i++) {
        declare(&client, "q");
        ck_assert_str_eq(hear(&client), "queue.declare_ok(0)");
        pass(3000);
    }
    hear(&client);
    ck_assert_uint_eq(client.heartbeats, 0);
    ck_assert(is_open());
    hang_up(&client);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {zero_is_off, the_clients_interval_counts, the_silent_are_left,
                                  every_octet_counts, traffic_is_as_good};
    return run_suite("heartbeat", tests, array_size(tests), NULL, 0);
}
