/* test_trace.c - the firehose: what it says of a message, and that it says nothing while it is off; and that
 * direct replies and events do not take more memory than they may. */
#include "broker/outbox.h"
#include "broker/trace.h"
#include "protocol/props.h"
#include "tests/unit/server_world.h"

static struct vhost *vhost(void)
{
    return server_find_vhost(&server, SLICE("/"));
}

static void bind_all(const char *name, const char *exchange)
{
    struct fault f;
    struct exchange *x = vhost_find_exchange(vhost(), slice_of_string(exchange));
    ck_assert(vhost_bind(vhost(), x, &queue(name)->dest, SLICE("#"), (struct slice){0}, true, &f));
}

/* Takes the next message of the queue; its headers stay valid until the message is let go. */
static struct message *take(const char *name, struct props *props)
{
    struct entry entry;
    struct fault f;
    ck_assert_msg(queue_get(queue(name), true, &entry), "'%s' is empty", name);
    struct message *m = message_ref(entry.message);
    queue_settle(queue(name), &entry, false);
    ck_assert(props_decode(message_props(m), props, &f));
    return m;
}

static void let_go(struct message *m)
{
    message_unref(&server.messages, &m);
}

static void check_text(const struct props *props, const char *name, const char *text)
{
    struct field field;
    struct slice value;
    ck_assert_msg(table_find(props->headers, name, &field) && field_string(&field, &value), "no %s", name);
    ck_assert_msg(slice_is(value, text), "%s is '%.*s'", name, SLICE_ARG(value));
}

static void check_list(const struct props *props, const char *name, const char *only)
{
    struct field field, item;
    struct slice value;
    ck_assert(table_find(props->headers, name, &field) && field.type == 'A');
    struct slice rest = field.bytes;
    ck_assert_uint_eq(rest.len > 0, only != NULL);
    if (only)
        ck_assert(array_next(&rest, &item) && field_string(&item, &value) && slice_is(value, only));
    ck_assert_uint_eq(rest.len, 0);
}

START_TEST(published_and_delivered)
{
    struct client client;
    struct props props;
    struct field field;
    int64_t redelivered;
    connect_client(&client, true, 0);
    declare(&client, "q");
    declare(&client, "traces");
    hear(&client);
    bind_all("traces", TRACE_EXCHANGE);
    publish(&client, "q", 10, 1);
    ck_assert_uint_eq(queue_ready(queue("traces")), 0); /* off */
    trace_set(vhost(), true);
    publish(&client, "q", 20, 1);
    publish(&client, "nowhere", 30, 1);
    consume(&client, "q");
    ck_assert_uint_eq(queue_ready(queue("traces")), 4);

    struct message *m = take("traces", &props);
    ck_assert(slice_is(message_exchange(m), TRACE_EXCHANGE) && slice_is(message_key(m), "publish."));
    ck_assert_uint_eq(m->body_size, 20);
    check_text(&props, "exchange_name", "");
    check_text(&props, "vhost", "/");
    check_text(&props, "user", "guest");
    check_list(&props, "routing_keys", "q");
    check_list(&props, "routed_queues", "q");
    ck_assert(table_find(props.headers, "properties", &field) && field.type == 'F');
    let_go(m);
    m = take("traces", &props);
    check_list(&props, "routing_keys", "nowhere");
    check_list(&props, "routed_queues", NULL);
    let_go(m);
    for (size_t size = 10; size <= 20; size += 10) {
        m = take("traces", &props);
        ck_assert(slice_is(message_key(m), "deliver.q"));
        ck_assert_uint_eq(m->body_size, size);
        ck_assert(table_find(props.headers, "redelivered", &field) && field_integer(&field, &redelivered));
        ck_assert_int_eq(redelivered, 0);
        let_go(m);
    }
    trace_set(vhost(), false);
    publish(&client, "q", 20, 1);
    ck_assert_uint_eq(queue_ready(queue("traces")), 0);
    hang_up(&client);
}
END_TEST

/* A trace of a trace would never end. */
START_TEST(traces_are_not_traced)
{
    struct client client;
    connect_client(&client, true, 0);
    declare(&client, "traces");
    hear(&client);
    bind_all("traces", TRACE_EXCHANGE);
    trace_set(vhost(), true);
    publish(&client, "nowhere", 1, 5);
    ck_assert_uint_eq(queue_ready(queue("traces")), 5);
    hang_up(&client);
}
END_TEST

/* Beyond 64 MB in one turn they are dropped, not kept. */
START_TEST(an_outbox_is_bounded)
{
    struct client client;
    connect_client(&client, true, 0);
    declare(&client, "traces");
    hear(&client);
    bind_all("traces", TRACE_EXCHANGE);
    for (int i = 0; i < 80; i++)
        outbox_put(vhost(), message_new(&server.messages, SLICE(TRACE_EXCHANGE), SLICE("k"), SLICE("\0\0"),
                                        1024 * 1024));
    ck_assert_uint_le(vhost()->outbox.bytes, 64 * 1024 * 1024);
    ck_assert_uint_eq(vhost()->outbox.dropped, 80 - vhost()->outbox.messages.size);
    size_t kept = vhost()->outbox.messages.size;
    ck_assert_uint_ge(kept, 63);
    outbox_flush(&server);
    ck_assert_uint_eq(queue_ready(queue("traces")), kept);
    hang_up(&client);
}
END_TEST

/* A requester that does not read: replies beyond 8 MB of output are dropped, and others are served. */
START_TEST(replies_that_nobody_reads)
{
    struct client asker, answerer;
    char address[64];
    connect_client(&asker, true, 0);
    connect_client(&answerer, true, 0);
    struct method m = {.id = METHOD_basic_consume};
    m.basic_consume.queue = SLICE("amq.rabbitmq.reply-to");
    m.basic_consume.no_ack = true;
    send(&asker, 1, &m);
    ck_assert_str_eq(hear(&asker), "basic.consume_ok");
    ck_assert_uint_eq(vhost()->replies.size, 1);
    map_each(&vhost()->replies, i)
        snprintf(address, sizeof(address), "%.*s", SLICE_ARG(vhost()->replies.slots[i].key));
    for (int i = 0; i < 400; i++)
        publish(&answerer, address, BODY_MAX, 1);
    ck_assert_uint_ge(asker.conn->stream.output.pending, 8 * 1024 * 1024);
    ck_assert_uint_lt(asker.conn->stream.output.pending, 8 * 1024 * 1024 + 2 * BODY_MAX);
    hear(&asker);
    ck_assert_uint_ge(asker.deliveries, 255);
    ck_assert_uint_lt(asker.deliveries, 400);
    uint64_t before = asker.deliveries;
    publish(&answerer, address, 10, 1);
    hear(&asker);
    ck_assert_uint_eq(asker.deliveries, before + 1);
    hang_up(&asker);
    ck_assert_uint_eq(vhost()->replies.size, 0);
    hang_up(&answerer);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {published_and_delivered, traces_are_not_traced, an_outbox_is_bounded,
                                  replies_that_nobody_reads};
    return run_suite("trace", tests, array_size(tests), NULL, 0);
}
