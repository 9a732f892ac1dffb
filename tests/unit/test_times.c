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

/* --- very many that came back --- */

enum { BACK = 50000, LIVE_MS = 60000, PART = 16384, GETS = 40 };

/* Every other one has an expiration. */
static void add_expiring(struct buf *out, int number)
{
    struct buf header = {0};
    struct props props = {.flags = number % 2 ? PROP_expiration : 0, .expiration = SLICE("60000")};
    struct method m = {.id = METHOD_basic_publish};
    m.basic_publish.routing_key = SLICE("source");
    add_method(out, 1, &m);
    buf_append(&header, (uint8_t[12]){0, 60}, 12);
    props_encode(&header, &props);
    add_frame(out, FRAME_HEADER, 1, buf_slice(&header));
    buf_free(&header);
}

static void bring_back(struct client *client)
{
    struct buf out = {0};
    struct method m = {.id = METHOD_basic_consume};
    for (int i = 0; i < BACK; i++) {
        add_expiring(&out, i);
        if (i % 500 == 499)
            flush(client, &out), out = (struct buf){0};
    }
    m.basic_consume.queue = SLICE("source");
    m.basic_consume.consumer_tag = SLICE("c");
    send(client, 1, &m);
    while (queue_ready(queue("source")) > 0)
        hear(client);
    m = (struct method){.id = METHOD_basic_cancel, .basic_cancel = {.consumer_tag = SLICE("c")}};
    send(client, 1, &m);
    m = (struct method){.id = METHOD_basic_nack, .basic_nack = {.multiple = true, .requeue = true}};
    send(client, 1, &m);
    run();
    hear(client);
    ck_assert_uint_eq(queue("source")->order.returned_size, BACK);
}

/* Half of what was requeued expires at one time: a turn looks at a part. Others are taken meanwhile, which
 * moves those that nobody has looked at yet; in the end nothing that is due is left. */
START_TEST(many_that_were_requeued)
{
    struct client client;
    struct buf out = {0}, args = {0};
    struct method m = {.id = METHOD_basic_get, .basic_get = {.queue = SLICE("source"), .no_ack = true}};
    set("connection_unacked_max", "0");
    connect_client(&client, true, 0);
    declare_with(&client, "source", &args);
    bring_back(&client);
    for (int i = 0; i < GETS; i++)
        add_method(&out, 1, &m);
    now_ns += (uint64_t)LIVE_MS * 1000000;
    for (int turns = 0; queue("source")->order.expiry.dues.count > 0; turns++) {
        size_t before = queue_ready(queue("source"));
        now_ns += 5000000;
        server_act(&server);
        ck_assert_uint_le(before - queue_ready(queue("source")), PART);
        ck_assert_uint_eq(fakenet_client_write(client.link, out.at, out.len), out.len);
        fakenet_pump(net, &server.net);
        ck_assert_int_lt(turns, 1000);
        hear(&client);
    }
    buf_free(&out);
    pass(1000);
    const struct order *order = &queue("source")->order;
    ck_assert_uint_gt(order->returned_size, 0);
    for (size_t i = 0; i < order->returned_size; i++)
        ck_assert(!order->returned[i].message->has_expiration);
    vhost_check(server_find_vhost(&server, SLICE("/")));
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
    tcase_add_test(whole, many_that_were_requeued);
    tcase_add_loop_test(whole, a_delay_is_as_long_as_it_says, 0, 2);
    suite_add_tcase(suite, whole);
    return suite_run(suite);
}
