/* test_alarm.c - memory and disk alarms: their limits, and who is blocked when one goes off. */
#include "broker/value.h"
#include "queue/paging.h"
#include "tests/unit/server_world.h"

/* --- limits --- */

START_TEST(amounts)
{
    uint64_t n = 0;
    ck_assert(value_amount("17", &n) && n == 17);
    ck_assert(value_amount("5KB", &n) && n == 5000);
    ck_assert(value_amount("5kib", &n) && n == 5120);
    ck_assert(value_amount("50MB", &n) && n == 50 * MB);
    ck_assert(value_amount("2MiB", &n) && n == 2097152);
    ck_assert(value_amount("1gb", &n) && n == 1000000000);
    ck_assert(value_amount("1GiB", &n) && n == 1073741824);
    ck_assert(value_amount("18446744073709551615", &n) && n == UINT64_MAX);
    ck_assert(value_amount("18446744TB", &n) && !value_amount("18446745TB", &n));
    const char *const bad[] = {"", "MB", "1M", "1 MB", "-1", "1.5GB", "1MBs", "18446744073709551616"};
    for (size_t i = 0; i < array_size(bad); i++)
        ck_assert_msg(!value_amount(bad[i], &n), "%s", bad[i]);
    ck_assert_uint_eq(n, 18446744 * UINT64_C(1000000000000));
}
END_TEST

START_TEST(fractions)
{
    uint64_t n = 0;
    ck_assert(value_fraction("0.6", &n) && n == 600000);
    ck_assert(value_fraction("1", &n) && n == 1000000);
    ck_assert(value_fraction("0", &n) && n == 0);
    ck_assert(value_fraction("12.000001", &n) && n == 12000001);
    ck_assert(value_fraction("0.123456", &n) && n == 123456);
    const char *const bad[] = {"", ".5", "1.", "0.1234567", "-0.5", "0,5", "1e-1", "0.5x", "18446744073709"};
    for (size_t i = 0; i < array_size(bad); i++)
        ck_assert_msg(!value_fraction(bad[i], &n), "%s", bad[i]);
    ck_assert_uint_eq(n, 123456);
}
END_TEST

START_TEST(absolute_before_relative)
{
    const uint64_t total = 1000 * MB;
    config_defaults(&config);
    ck_assert_uint_eq(alarm_memory_limit(&config.alarms, total), 600 * MB);
    ck_assert_uint_eq(alarm_memory_limit(&config.alarms, PROBE_UNKNOWN), UINT64_MAX);
    ck_assert_uint_eq(alarm_disk_limit(&config.alarms, total), 50 * MB);
    set("vm_memory_high_watermark.relative", "0.25");
    ck_assert_uint_eq(alarm_memory_limit(&config.alarms, total), 250 * MB);
    set("vm_memory_high_watermark.absolute", "300MB");
    ck_assert_uint_eq(alarm_memory_limit(&config.alarms, total), 300 * MB);
    set("vm_memory_high_watermark.relative", "0.5");
    ck_assert_uint_eq(alarm_memory_limit(&config.alarms, total), 300 * MB);
    set("vm_memory_high_watermark.absolute", "none");
    ck_assert_uint_eq(alarm_memory_limit(&config.alarms, total), 500 * MB);
    set("vm_memory_high_watermark.absolute", "0");
    ck_assert_uint_eq(alarm_memory_limit(&config.alarms, total), 0);
    set("disk_free_limit.relative", "1.5"); /* the absolute one is only the default */
    ck_assert_uint_eq(alarm_disk_limit(&config.alarms, total), 1500 * MB);
    set("disk_free_limit.absolute", "2GB");
    ck_assert_uint_eq(alarm_disk_limit(&config.alarms, total), 2000 * MB);
    set("disk_free_limit.relative", "2");
    ck_assert_uint_eq(alarm_disk_limit(&config.alarms, total), 2000 * MB);
    config_defaults(&config);
    set("disk_free_limit.absolute", "none");
    ck_assert_uint_eq(alarm_disk_limit(&config.alarms, total), 0);
    set("vm_memory_high_watermark.relative", "1"); /* no overflow */
    ck_assert_uint_eq(alarm_memory_limit(&config.alarms, UINT64_C(1) << 60), UINT64_C(1) << 60);
}
END_TEST

START_TEST(the_system_answers)
{
    struct probe probe = probe_system("/");
    uint64_t total = probe.memory_total(probe.arg), before = probe.memory_used(probe.arg);
    ck_assert_uint_gt(before, 0);
    ck_assert_uint_lt(before, total);
    ck_assert_uint_ne(total, PROBE_UNKNOWN);
    ck_assert_uint_ne(probe.disk_free(probe.arg), PROBE_UNKNOWN);
    char *block = mem_alloc(64 * MB);
    memset(block, 1, 64 * MB);
    ck_assert_uint_gt(probe.memory_used(probe.arg), before + 32 * MB);
    mem_free(block);
    struct probe nowhere = probe_system("/no/such/folder");
    ck_assert_uint_eq(nowhere.disk_free(nowhere.arg), PROBE_UNKNOWN);
}
END_TEST

/* --- alarms --- */

START_TEST(publisher_is_blocked_where_it_is)
{
    struct client client;
    connect_client(&client, true, 0);
    declare(&client, "q");
    used = 601 * MB;
    pass(1000);
    ck_assert_uint_eq(server.alarms.on, ALARM_MEMORY);
    declare(&client, "q"); /* it has not published: it goes on */
    ck_assert_str_eq(hear(&client), "queue.declare_ok(0) queue.declare_ok(0)");
    publish(&client, "q", 10, 3);
    ck_assert_str_eq(hear(&client), "connection.blocked(low on memory)");
    ck_assert_uint_eq(queue_ready(queue("q")), 1); /* the frame in hand, and no further */
    pass(5000);
    ck_assert_str_eq(hear(&client), "");
    ck_assert_uint_eq(queue_ready(queue("q")), 1);
    used = 600 * MB; /* not above the limit is enough */
    pass(250);
    ck_assert_str_eq(hear(&client), "connection.unblocked");
    ck_assert_uint_eq(queue_ready(queue("q")), 3);
    publish(&client, "q", 10, 1);
    ck_assert_str_eq(hear(&client), "");
    hang_up(&client);
}
END_TEST

START_TEST(all_who_have_published_are_blocked)
{
    struct client publisher, consumer, old_client;
    connect_client(&publisher, true, 0);
    connect_client(&consumer, true, 0);
    connect_client(&old_client, false, 0); /* does not know connection.blocked */
    declare(&publisher, "q");
    consume(&consumer, "q");
    publish(&publisher, "q", 10, 5);
    publish(&old_client, "q", 10, 1);
    hear(&publisher), hear(&consumer);
    ck_assert_uint_eq(consumer.deliveries, 6);
    free_bytes = 49 * MB;
    pass(1000);
    ck_assert_str_eq(hear(&publisher), "connection.blocked(low on disk)");
    ck_assert_str_eq(hear(&consumer), "");
    ck_assert_str_eq(hear(&old_client), "");
    publish(&publisher, "q", 10, 1);
    publish(&old_client, "q", 10, 1);
    hear(&consumer);
    ck_assert_uint_eq(consumer.deliveries, 6);
    ack(&consumer, consumer.last_tag); /* consumers go on */
    ck_assert_uint_eq(queue("q")->unacked, 0);
    free_bytes = 50 * MB;
    pass(250);
    ck_assert_str_eq(hear(&publisher), "connection.unblocked");
    ck_assert_str_eq(hear(&old_client), "");
    ck_assert_str_eq(hear(&consumer), "");
    ck_assert_uint_eq(consumer.deliveries, 8);
    hang_up(&publisher), hang_up(&consumer), hang_up(&old_client);
}
END_TEST

START_TEST(two_alarms)
{
    struct client first, second;
    connect_client(&first, true, 0);
    connect_client(&second, true, 0);
    declare(&first, "q");
    hear(&first);
    publish(&first, "q", 1, 1);
    used = 700 * MB;
    pass(1000);
    ck_assert_str_eq(hear(&first), "connection.blocked(low on memory)");
    free_bytes = 0;
    pass(250);
    ck_assert_uint_eq(server.alarms.on, ALARM_MEMORY | ALARM_DISK);
    ck_assert_str_eq(hear(&first), ""); /* once is enough */
    publish(&second, "q", 1, 1);
    ck_assert_str_eq(hear(&second), "connection.blocked(low on memory & disk)");
    used = 0;
    pass(250);
    ck_assert_uint_eq(server.alarms.on, ALARM_DISK);
    ck_assert_str_eq(hear(&first), "");
    free_bytes = 1000 * MB;
    pass(250);
    ck_assert_str_eq(hear(&first), "connection.unblocked");
    ck_assert_str_eq(hear(&second), "connection.unblocked");
    publish(&second, "q", 1, 1);
    used = 700 * MB;
    pass(1000);
    ck_assert_str_eq(hear(&second), "connection.blocked(low on memory)");
    ck_assert_str_eq(hear(&first), ""); /* has not published since */
    hang_up(&first), hang_up(&second);
}
END_TEST

START_TEST(heartbeats_go_on)
{
    struct client client;
    connect_client(&client, true, 2);
    declare(&client, "q");
    hear(&client);
    used = 700 * MB;
    pass(1000);
    publish(&client, "q", 1, 1);
    ck_assert_str_eq(hear(&client), "connection.blocked(low on memory)");
    unsigned before = client.heartbeats;
    pass(60000);
    ck_assert_str_eq(hear(&client), "");
    ck_assert_uint_ge(client.heartbeats, before + 29);
    used = 0;
    pass(1000);
    ck_assert_str_eq(hear(&client), "connection.unblocked");
    ck_assert(!fakenet_client_at_end(client.link));
    pass(7000); /* now silence counts again */
    ck_assert_str_eq(hear(&client), "");
    ck_assert(fakenet_client_at_end(client.link));
    hang_up(&client);
}
END_TEST

START_TEST(reasons_overlap)
{
    struct client client;
    connect_client(&client, true, 0);
    struct connection *conn = client.conn;
    flow_pause(conn, FLOW_PACE);
    flow_pause(conn, FLOW_JOURNAL);
    flow_pause(conn, FLOW_ALARM);
    flow_pause(conn, FLOW_ALARM);
    ck_assert(conn->stream.paused);
    flow_resume(conn, FLOW_ALARM);
    flow_resume(conn, FLOW_PACE);
    declare(&client, "q");
    ck_assert_str_eq(hear(&client), "");
    flow_resume(conn, FLOW_OUTPUT); /* not one of them */
    ck_assert(conn->stream.paused);
    flow_resume(conn, FLOW_JOURNAL);
    ck_assert(!conn->stream.paused);
    ck_assert_str_eq(hear(&client), "queue.declare_ok(0)");
    hang_up(&client);
}
END_TEST

START_TEST(blocked_connections_end)
{
    struct client vanishes, stays;
    connect_client(&vanishes, true, 0);
    connect_client(&stays, true, 0);
    declare(&stays, "q");
    used = 700 * MB;
    pass(1000);
    publish(&vanishes, "q", 1, 2);
    publish(&stays, "q", 1, 2);
    hear(&stays);
    hang_up(&vanishes);
    ck_assert_uint_eq(queue_ready(queue("q")), 2);
    used = 0;
    pass(1000); /* now its end is seen, if not before */
    ck_assert_uint_ge(queue_ready(queue("q")), 3);
    ck_assert_uint_eq(server.counters.connections_closed, 1);
    used = 700 * MB;
    pass(1000);
    publish(&stays, "q", 1, 2);
    ck_assert_str_eq(hear(&stays), "connection.unblocked connection.blocked(low on memory)");
    server_stop(&server);
    ck_assert_str_eq(hear(&stays), "connection.close(320)");
    send(&stays, 0, &(struct method){.id = METHOD_connection_close_ok});
    hang_up(&stays); /* well before the server's patience is over */
    ck_assert_uint_eq(server.counters.connections_closed, 2);
}
END_TEST

START_TEST(what_is_unknown_changes_nothing)
{
    used = PROBE_UNKNOWN, free_bytes = PROBE_UNKNOWN;
    pass(1000);
    ck_assert_uint_eq(server.alarms.on, 0);
    used = 700 * MB, free_bytes = 0;
    pass(1000);
    ck_assert_uint_eq(server.alarms.on, ALARM_MEMORY | ALARM_DISK);
    used = PROBE_UNKNOWN, free_bytes = PROBE_UNKNOWN;
    pass(1000);
    ck_assert_uint_eq(server.alarms.on, ALARM_MEMORY | ALARM_DISK);
    used = 0, free_bytes = 1000 * MB;
    pass(1000);
    ck_assert_uint_eq(server.alarms.on, 0);
}
END_TEST

/* The timer may be a second away: messages that fill memory do not wait for it. */
START_TEST(growth_is_seen_at_once)
{
    struct client client;
    /* Else they would go to disk. */
    paging_configure(&server.home.paging, 1 << 24, 1 << 24, UINT64_MAX);
    connect_client(&client, true, 0);
    declare(&client, "q");
    hear(&client);
    uint64_t before = looks;
    used = 700 * MB;
    for (int i = 0; i < 2000 && !server.alarms.on; i++)
        publish(&client, "q", BODY_MAX, 1);
    ck_assert_uint_eq(server.alarms.on, ALARM_MEMORY);
    ck_assert_uint_le(looks, before + 2);
    ck_assert_uint_ge(server.messages.large_bytes, 600 / 16 * MB);
    ck_assert_uint_lt(server.messages.large_bytes, 600 / 16 * MB + 2 * MB);
    ck_assert_str_eq(hear(&client), "connection.blocked(low on memory)");
    hang_up(&client);
}
END_TEST

/* Whatever resident_memory says: then messages have half of the watermark, and their own again after it. */
START_TEST(messages_go_to_disk_while_memory_is_short)
{
    struct client client;
    set("resident_memory", "900000000");
    server.home.paging.memory_max = config.resident_memory;
    connect_client(&client, true, 0);
    used = 700 * MB;
    pass(3000);
    ck_assert_uint_eq(server.alarms.on, ALARM_MEMORY);
    ck_assert_uint_eq(server.home.paging.memory_max, 300 * MB);
    used = 100 * MB;
    pass(3000);
    ck_assert_uint_eq(server.alarms.on, 0);
    ck_assert_uint_eq(server.home.paging.memory_max, 900 * MB);
    hang_up(&client);
}
END_TEST

static void publish_to(struct client *client, const char *exchange, size_t body_size)
{
    static const uint8_t body[BODY_MAX];
    uint8_t header[14];
    struct buf out = {0};
    struct writer w = writer_of(header, sizeof(header));
    struct method m = {.id = METHOD_basic_publish};
    m.basic_publish.exchange = slice_of_string(exchange);
    add_method(&out, 1, &m);
    write_u32(&w, METHOD_basic_publish >> 16 << 16);
    write_u64(&w, body_size);
    write_u16(&w, 0);
    add_frame(&out, FRAME_HEADER, 1, slice_of(header, sizeof(header)));
    add_frame(&out, FRAME_BODY, 1, slice_of(body, body_size));
    flush(client, &out);
}

static void bind_to_history(struct client *client, int count)
{
    struct buf out = {0};
    for (int i = 0; i < count; i++) {
        char key[32];
        snprintf(key, sizeof(key), "k%d", i);
        struct method m = {.id = METHOD_queue_bind};
        m.queue_bind.queue = SLICE("q");
        m.queue_bind.exchange = SLICE("h");
        m.queue_bind.routing_key = slice_of_string(key);
        m.queue_bind.no_wait = count > 1;
        add_method(&out, 1, &m);
    }
    flush(client, &out);
}

/* A binding is a few bytes, and gets all that the exchange remembers: who only binds fills no memory. */
START_TEST(history_is_kept_while_memory_is_short)
{
    struct client publisher, binder;
    paging_configure(&server.home.paging, 1 << 24, 1 << 24, UINT64_MAX);
    connect_client(&publisher, true, 0);
    connect_client(&binder, true, 0);
    struct method m = {.id = METHOD_exchange_declare};
    m.exchange_declare.exchange = SLICE("h");
    m.exchange_declare.type = SLICE("x-recent-history");
    send(&publisher, 1, &m);
    for (int i = 0; i < 8; i++)
        publish_to(&publisher, "h", BODY_MAX);
    declare(&binder, "q");
    hear(&binder);
    used = 700 * MB;
    bind_to_history(&binder, 2000);
    for (int i = 0; i < 100; i++)
        run(); /* a turn takes no more of them than the replay lets it */
    ck_assert_str_eq(hear(&binder), "channel.close(406)");
    ck_assert_uint_eq(server.alarms.on, ALARM_MEMORY);
    ck_assert_uint_lt(server.messages.large_bytes, 600 / 16 * MB + 2 * MB);
    used = 0;
    pass(1000);
    hang_up(&binder);
    connect_client(&binder, true, 0);
    bind_to_history(&binder, 1);
    ck_assert_str_eq(hear(&binder), "queue.bind_ok");
    hang_up(&binder);
    hang_up(&publisher);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {publisher_is_blocked_where_it_is,
                                  all_who_have_published_are_blocked, two_alarms, heartbeats_go_on,
                                  reasons_overlap, blocked_connections_end,
                                  what_is_unknown_changes_nothing, growth_is_seen_at_once,
                                  messages_go_to_disk_while_memory_is_short,
                                  history_is_kept_while_memory_is_short};
    const TTest *const pure[] = {amounts, fractions, absolute_before_relative, the_system_answers};
    return run_suite("alarm", tests, array_size(tests), pure, array_size(pure));
}
