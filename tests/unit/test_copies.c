/* test_copies.c - a message may mean very much work: copies, for as many queues, or bindings that are looked
 * at to find few. Whoever publishes it, a client or the server itself, has no more of a turn for that. */
#include "tests/unit/server_world.h"

enum { QUEUES = 64 };

static struct client client;

static void turn(void)
{
    fakenet_pump(net, &server.net);
    server_act(&server);
    store_sync_now(server.store);
}

/* Puts what fits into the client's pipe, without a turn. */
static void stuff(struct buf *out)
{
    ck_assert_uint_eq(fakenet_client_write(client.link, out->at, out->len), out->len);
    buf_free(out);
    *out = (struct buf){0};
}

static void declare_exchange(const char *name, const char *type, struct slice args)
{
    struct method m = {.id = METHOD_exchange_declare};
    m.exchange_declare.exchange = slice_of_string(name);
    m.exchange_declare.type = slice_of_string(type);
    m.exchange_declare.arguments = args;
    send(&client, 1, &m);
    ck_assert_str_eq(hear(&client), "exchange.declare_ok");
}

static void add_bind(struct buf *out, const char *queue, const char *exchange, const char *key)
{
    struct method m = {.id = METHOD_queue_bind};
    m.queue_bind.queue = slice_of_string(queue);
    m.queue_bind.exchange = slice_of_string(exchange);
    m.queue_bind.routing_key = slice_of_string(key);
    m.queue_bind.no_wait = true;
    add_method(out, 1, &m);
}

/* Queues t0, t1 ... that all get what comes to the exchange. */
static void bind_queues(const char *exchange)
{
    for (int i = 0; i < QUEUES; i++) {
        struct buf out = {0};
        char name[16];
        snprintf(name, sizeof(name), "t%d", i);
        declare(&client, name);
        hear(&client);
        add_bind(&out, name, exchange, "");
        flush(&client, &out);
    }
}

/* With those headers, unless there are none. */
static void add_publish_to(struct buf *out, const char *exchange, const char *key, struct slice headers)
{
    struct buf header = {0};
    struct props props = {.flags = headers.len ? PROP_headers : 0, .headers = headers};
    struct method m = {.id = METHOD_basic_publish};
    m.basic_publish.exchange = slice_of_string(exchange);
    m.basic_publish.routing_key = slice_of_string(key);
    add_method(out, 1, &m);
    buf_append(&header, (uint8_t[12]){0, 60}, 12);
    props_encode(&header, &props);
    add_frame(out, FRAME_HEADER, 1, buf_slice(&header));
    buf_free(&header);
}

/* Turns until the queue has `count`: in none of them it gets more than `most`. */
static void comes_slowly(const char *name, size_t count, size_t most)
{
    for (int turns = 0; queue_ready(queue(name)) < count; turns++) {
        size_t before = queue_ready(queue(name));
        turn();
        ck_assert_uint_le(queue_ready(queue(name)) - before, most);
        ck_assert_int_lt(turns, 1000);
    }
    run();
    ck_assert_uint_eq(queue_ready(queue(name)), count);
    hear(&client);
    hang_up(&client);
}

/* One queue, bound by very many keys: each message looks at all of them. */
START_TEST(bindings_that_are_looked_at)
{
    enum { BINDINGS = 4096, COUNT = 400, MOST = 64 };
    struct buf out = {0};
    char key[16];
    connect_client(&client, true, 0);
    declare(&client, "q");
    hear(&client);
    for (int i = 0; i < BINDINGS; i++) {
        snprintf(key, sizeof(key), "k%d", i);
        add_bind(&out, "q", "amq.fanout", key);
        if (i % 256 == 255)
            flush(&client, &out);
    }
    for (int i = 0; i < COUNT; i++) {
        snprintf(key, sizeof(key), "m%d", i);
        add_publish_to(&out, "amq.fanout", key, SLICE(""));
    }
    stuff(&out);
    comes_slowly("q", COUNT, MOST);
}
END_TEST

START_TEST(dead_letters)
{
    enum { COUNT = 1024 };
    struct buf args = {0};
    struct method m = {.id = METHOD_queue_declare};
    connect_client(&client, true, 0);
    declare_exchange("dead", "fanout", SLICE(""));
    bind_queues("dead");
    table_put_string(&args, "x-dead-letter-exchange", SLICE("dead"));
    m.queue_declare.queue = SLICE("q");
    m.queue_declare.arguments = buf_slice(&args);
    send(&client, 1, &m);
    buf_free(&args);
    hear(&client);
    set("connection_unacked_max", "0");
    consume(&client, "q");
    publish(&client, "q", 0, COUNT);
    hear(&client);
    m = (struct method){.id = METHOD_basic_nack};
    m.basic_nack.multiple = true;
    struct buf out = {0};
    add_method(&out, 1, &m);
    stuff(&out);
    comes_slowly("t0", COUNT, COUNT / QUEUES);
}
END_TEST

START_TEST(delayed_messages)
{
    enum { COUNT = 500, MOST = 8192 / QUEUES };
    struct buf args = {0}, headers = {0}, out = {0};
    connect_client(&client, true, 0);
    table_put_string(&args, "x-delayed-type", SLICE("fanout"));
    declare_exchange("later", "x-delayed-message", buf_slice(&args));
    buf_free(&args);
    bind_queues("later");
    table_put_int(&headers, "x-delay", 10000);
    for (int i = 0; i < COUNT; i++)
        add_publish_to(&out, "later", "", buf_slice(&headers));
    buf_free(&headers);
    flush(&client, &out);
    pass(9000);
    ck_assert_uint_eq(queue_ready(queue("t0")), 0);
    now_ns += 2000000000;
    comes_slowly("t0", COUNT, MOST);
}
END_TEST

START_TEST(history_of_an_exchange)
{
    enum { COUNT = 1000, BINDS = 30, MOST = EFFORT_MAX + COUNT };
    struct buf args = {0}, out = {0};
    struct method m = {.id = METHOD_queue_unbind};
    connect_client(&client, true, 0);
    table_put_int(&args, "x-recent-history-length", COUNT);
    declare_exchange("recent", "x-recent-history", buf_slice(&args));
    buf_free(&args);
    declare(&client, "q");
    hear(&client);
    for (int i = 0; i < COUNT; i++)
        add_publish_to(&out, "recent", "", SLICE(""));
    flush(&client, &out);
    m.queue_unbind.queue = SLICE("q");
    m.queue_unbind.exchange = SLICE("recent");
    for (int i = 0; i < BINDS; i++) {
        add_bind(&out, "q", "recent", "");
        add_method(&out, 1, &m);
    }
    stuff(&out);
    comes_slowly("q", BINDS * COUNT, MOST);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {bindings_that_are_looked_at, dead_letters, delayed_messages,
                                  history_of_an_exchange};
    return run_suite("copies", tests, array_size(tests), NULL, 0);
}
