/* test_times.c - times that a client cannot tell apart from a busy machine: here time stands still, or passes
 * as the test says. */
#include "tests/unit/server_world.h"

#include "broker/vhost.h"
#include "protocol/wire.h"

static void declare_with(struct client *client, const char *name, const struct buf *args)
{
    struct method m = {.id = METHOD_queue_declare};
    m.queue_declare.queue = slice_of_string(name);
    m.queue_declare.durable = true;
    m.queue_declare.arguments = buf_slice(args);
    send(client, 1, &m);
    ck_assert_str_eq(hear(client), "queue.declare_ok(0)");
}

static void declare_source(struct client *client, int64_t ttl_ms, const char *exchange)
{
    struct buf args = {0};
    connect_client(client, true, 0);
    declare_with(client, "tomb", &args);
    table_put_string(&args, "x-dead-letter-exchange", slice_of_string(exchange));
    table_put_string(&args, "x-dead-letter-routing-key", SLICE("tomb"));
    if (ttl_ms >= 0)
        table_put_int(&args, "x-message-ttl", ttl_ms);
    declare_with(client, "source", &args);
    buf_free(&args);
}

static void get(struct client *client)
{
    struct method m = {.id = METHOD_basic_get};
    m.basic_get.queue = SLICE("source");
    send(client, 1, &m);
    hear(client);
}

static void settle(struct client *client, bool requeue)
{
    struct method m = {.id = METHOD_basic_reject, .basic_reject = {client->last_tag, requeue}};
    send(client, 1, &m);
    run();
}

START_TEST(no_time_at_all)
{
    struct client client;
    declare_source(&client, 0, "");
    publish(&client, "source", 1, 3);
    ck_assert_uint_eq(queue_ready(queue("source")), 0); /* not a millisecond later */
    ck_assert_uint_eq(queue_ready(queue("tomb")), 3);
    hang_up(&client);
}
END_TEST

START_TEST(a_requeue_does_not_begin_it_anew)
{
    struct client client;
    declare_source(&client, 1000, "");
    publish(&client, "source", 1, 1);
    pass(600);
    get(&client);
    ck_assert_uint_eq(client.deliveries, 1);
    settle(&client, true);
    ck_assert_uint_eq(queue_ready(queue("source")), 1);
    pass(390);
    ck_assert_uint_eq(queue_ready(queue("source")), 1);
    pass(20);
    ck_assert_uint_eq(queue_ready(queue("source")), 0);
    ck_assert_uint_eq(queue_ready(queue("tomb")), 1);
    hang_up(&client);
}
END_TEST

/* Nothing of it is kept for an exchange that is made later. */
START_TEST(a_missing_dead_letter_exchange)
{
    struct client client;
    struct method m = {.id = METHOD_exchange_declare};
    struct method bind = {.id = METHOD_queue_bind};
    declare_source(&client, -1, "made-later");
    publish(&client, "source", 1, 1);
    get(&client);
    settle(&client, false);
    m.exchange_declare.exchange = bind.queue_bind.exchange = SLICE("made-later");
    m.exchange_declare.type = SLICE("fanout");
    bind.queue_bind.queue = SLICE("tomb");
    send(&client, 1, &m);
    send(&client, 1, &bind);
    ck_assert_str_eq(hear(&client), "exchange.declare_ok queue.bind_ok");
    pass(5000);
    ck_assert_uint_eq(queue_ready(queue("tomb")), 0);
    ck_assert_uint_eq(queue("source")->leaving.outcomes, 0);
    hang_up(&client);
}
END_TEST

static void declare_later(struct client *client)
{
    struct buf args = {0};
    struct method m = {.id = METHOD_exchange_declare}, bind = {.id = METHOD_queue_bind};
    connect_client(client, true, 0);
    declare_with(client, "source", &args);
    table_put_string(&args, "x-delayed-type", SLICE("fanout"));
    m.exchange_declare.exchange = bind.queue_bind.exchange = SLICE("later");
    m.exchange_declare.type = SLICE("x-delayed-message");
    m.exchange_declare.durable = true;
    m.exchange_declare.arguments = buf_slice(&args);
    bind.queue_bind.queue = SLICE("source");
    send(client, 1, &m);
    send(client, 1, &bind);
    ck_assert_str_eq(hear(client), "exchange.declare_ok queue.bind_ok");
    buf_free(&args);
}

/* A persistent message with one header. */
static void publish_later(struct client *client, const char *name, int64_t value)
{
    struct buf out = {0}, headers = {0};
    uint8_t head[128];
    struct writer w = writer_of(head, sizeof(head));
    struct method m = {.id = METHOD_basic_publish};
    m.basic_publish.exchange = SLICE("later");
    table_put_int(&headers, name, value);
    add_method(&out, 1, &m);
    write_u32(&w, METHOD_basic_publish >> 16 << 16);
    write_u64(&w, 1);
    write_u16(&w, 1 << 13 | 1 << 12);
    write_table(&w, buf_slice(&headers));
    write_u8(&w, 2);
    add_frame(&out, FRAME_HEADER, 1, slice_of(head, (size_t)(w.at - head)));
    add_frame(&out, FRAME_BODY, 1, SLICE("x"));
    flush(client, &out);
    buf_free(&headers);
}

/* By x-delay and by x-deliver-at; in the second round the power goes while they wait. */
START_TEST(a_delay_is_as_long_as_it_says)
{
    struct client client;
    declare_later(&client);
    publish_later(&client, "x-delay", 4000);
    publish_later(&client, "x-deliver-at", (int64_t)(server.home.now_ms + 6000));
    run();
    if (_i == 1) {
        fakenet_client_close(&client.link);
        buf_free(&client.in);
        buf_free(&client.heard);
        server_abandon(&server);
        fakedisk_crash(disk, FAKEDISK_LOSE_ALL);
        open_server();
    }
    for (uint64_t ms = 0; ms < 7000; ms += 50) {
        ck_assert_uint_eq(queue_ready(queue("source")), (ms >= 4000) + (ms >= 6000));
        pass(50);
    }
    if (_i == 0)
        hang_up(&client);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("times");
    TCase *whole = tcase_create("server");
    tcase_add_checked_fixture(whole, start, stop);
    tcase_add_test(whole, no_time_at_all);
    tcase_add_test(whole, a_requeue_does_not_begin_it_anew);
    tcase_add_test(whole, a_missing_dead_letter_exchange);
    tcase_add_loop_test(whole, a_delay_is_as_long_as_it_says, 0, 2);
    suite_add_tcase(suite, whole);
    return suite_run(suite);
}
