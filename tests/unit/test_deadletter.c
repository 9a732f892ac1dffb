/* test_deadletter.c - what a transaction makes dead letters of is one batch with it: who reads tx.commit-ok
 * finds the letters after a power cut, and nothing of what they were made of. One letter a turn is published
 * otherwise, so that a letter that only follows would be late. */
#include "tests/unit/server_world.h"

#include "broker/vhost.h"

enum { MESSAGES = 50 };

static void declare_durable(struct client *client, const char *name, const char *argument, int64_t value)
{
    struct buf args = {0};
    struct method m = {.id = METHOD_queue_declare};
    m.queue_declare.queue = slice_of_string(name);
    m.queue_declare.durable = true;
    if (argument) {
        table_put_string(&args, "x-dead-letter-exchange", SLICE(""));
        table_put_string(&args, "x-dead-letter-routing-key", SLICE("tomb"));
        if (*argument)
            table_put_int(&args, argument, value);
        m.queue_declare.arguments = buf_slice(&args);
    }
    send(client, 1, &m);
    buf_free(&args);
    ck_assert_str_eq(hear(client), "queue.declare_ok(0)");
}

/* With delivery mode 2; each body is as long as its number. */
static void publish_persistent(struct client *client, const char *queue_name, int count)
{
    struct buf out = {0};
    for (int i = 1; i <= count; i++) {
        uint8_t header[15];
        struct writer w = writer_of(header, sizeof(header));
        struct method m = {.id = METHOD_basic_publish};
        m.basic_publish.routing_key = slice_of_string(queue_name);
        add_method(&out, 1, &m);
        write_u32(&w, METHOD_basic_publish >> 16 << 16);
        write_u64(&w, (uint64_t)i);
        write_u16(&w, 1 << 12);
        write_u8(&w, 2);
        add_frame(&out, FRAME_HEADER, 1, slice_of(header, sizeof(header)));
        static const uint8_t body[MESSAGES];
        add_frame(&out, FRAME_BODY, 1, slice_of(body, (size_t)i));
    }
    flush(client, &out);
}

/* Sends tx.commit and takes turn by turn until it is answered; not one more. */
static void commit(struct client *client)
{
    struct buf out = {0};
    add_method(&out, 1, &(struct method){.id = METHOD_tx_commit});
    put(client, out.at, out.len);
    buf_free(&out);
    client->heard.len = 0;
    for (int turns = 0; client->heard.len == 0; turns++) {
        ck_assert_int_lt(turns, 10);
        fakenet_pump(net, &server.net);
        server_act(&server);
        store_sync_now(server.store);
        uint8_t *room = buf_reserve(&client->in, PIPE_BYTES);
        client->in.len += fakenet_client_read(client->link, room, PIPE_BYTES);
        take_frames(client);
    }
    ck_assert(slice_is(buf_slice(&client->heard), "tx.commit_ok"));
}

static void lose_power_and_start(struct client *client)
{
    server_abandon(&server);
    fakedisk_crash(disk, FAKEDISK_LOSE_ALL);
    fakenet_client_close(&client->link);
    buf_free(&client->in);
    buf_free(&client->heard);
    open_server();
}

static void begin(struct client *client)
{
    server.home.outcomes.turn_max = 1;
    connect_client(client, true, 0);
    declare_durable(client, "tomb", NULL, 0);
}

START_TEST(rejected_in_a_transaction)
{
    struct client client;
    begin(&client);
    declare_durable(&client, "source", "", 0);
    publish_persistent(&client, "source", MESSAGES);
    consume(&client, "source");
    ck_assert_uint_eq(client.last_tag, MESSAGES);
    send(&client, 1, &(struct method){.id = METHOD_tx_select});
    struct method m = {.id = METHOD_basic_nack};
    m.basic_nack.delivery_tag = MESSAGES;
    m.basic_nack.multiple = true;
    send(&client, 1, &m);
    ck_assert_str_eq(hear(&client), "tx.select_ok");
    commit(&client);
    lose_power_and_start(&client);
    ck_assert_uint_eq(queue_ready(queue("source")), 0);
    ck_assert_uint_eq(queue_ready(queue("tomb")), MESSAGES);
}
END_TEST

START_TEST(pushed_out_by_a_transaction)
{
    struct client client;
    begin(&client);
    declare_durable(&client, "short", "x-max-length", 10);
    publish_persistent(&client, "short", 10);
    run();
    send(&client, 1, &(struct method){.id = METHOD_tx_select});
    publish_persistent(&client, "short", MESSAGES);
    ck_assert_str_eq(hear(&client), "tx.select_ok");
    commit(&client);
    lose_power_and_start(&client);
    ck_assert_uint_eq(queue_ready(queue("short")), 10);
    ck_assert_uint_eq(queue_ready(queue("tomb")), MESSAGES);
}
END_TEST

/* What others rejected before waits for its turn, and is not forgotten. */
START_TEST(others_wait)
{
    struct client client, other;
    begin(&client);
    connect_client(&other, true, 0);
    declare_durable(&client, "source", "", 0);
    publish_persistent(&client, "source", MESSAGES);
    consume(&other, "source");
    send(&client, 1, &(struct method){.id = METHOD_tx_select});
    publish_persistent(&client, "tomb", 1);
    ck_assert_str_eq(hear(&client), "tx.select_ok");
    struct buf out = {0};
    struct method m = {.id = METHOD_basic_nack};
    m.basic_nack.delivery_tag = MESSAGES;
    m.basic_nack.multiple = true;
    add_method(&out, 1, &m);
    put(&other, out.at, out.len);
    buf_free(&out);
    fakenet_pump(net, &server.net);
    commit(&client);
    ck_assert_uint_lt(queue_ready(queue("tomb")), MESSAGES);
    run();
    for (int i = 0; i < MESSAGES; i++)
        server_act(&server);
    ck_assert_uint_eq(queue_ready(queue("tomb")), MESSAGES + 1);
    hang_up(&client);
    hang_up(&other);
}
END_TEST

/* However many are due at once: what expires and what is published of it in a turn is bounded. */
START_TEST(a_turn_has_its_share)
{
    enum { COUNT = 20000, EXPIRE_TURN = 8192, LETTERS_TURN = 1024 };
    struct client client;
    size_t left = COUNT, letters = 0;
    server.home.paging.resident_max = 2 * COUNT;
    connect_client(&client, true, 0);
    declare_durable(&client, "tomb", NULL, 0);
    declare_durable(&client, "q", "x-message-ttl", 1000);
    for (int i = 0; i < COUNT; i += 1000)
        publish(&client, "q", 1, 1000);
    ck_assert_uint_eq(queue_ready(queue("q")), COUNT);
    now_ns += 2000000000;
    for (int turns = 0; letters < COUNT; turns++) {
        ck_assert_int_lt(turns, 100);
        server_act(&server);
        ck_assert_uint_le(left - queue_ready(queue("q")), 2 * EXPIRE_TURN); /* before and after delivering */
        ck_assert_uint_le(queue_ready(queue("tomb")) - letters, LETTERS_TURN);
        left = queue_ready(queue("q"));
        letters = queue_ready(queue("tomb"));
        store_sync_now(server.store);
    }
    ck_assert_uint_eq(left, 0);
    hang_up(&client);
}
END_TEST

/* --- at-least-once, without anybody to take them --- */

enum { EXPIRING = 60000, EXPIRED_MS = 2000 };

static void declare_lasting(struct client *client, const char *overflow, const char *argument, int64_t value)
{
    struct buf args = {0};
    struct method m = {.id = METHOD_queue_declare};
    table_put_string(&args, "x-dead-letter-exchange", SLICE("missing"));
    table_put_string(&args, "x-dead-letter-strategy", SLICE("at-least-once"));
    if (overflow)
        table_put_string(&args, "x-overflow", slice_of_string(overflow));
    table_put_int(&args, argument, value);
    m.queue_declare.queue = slice_of_string(overflow ? overflow : "any");
    m.queue_declare.arguments = buf_slice(&args);
    send(client, 1, &m);
    buf_free(&args);
    ck_assert_str_eq(hear(client), "queue.declare_ok(0)");
}

/* Else every message that is published would stay, however short the queue is. */
START_TEST(kept_only_where_publishers_are_refused)
{
    struct client client;
    connect_client(&client, true, 0);
    declare_lasting(&client, NULL, "x-max-length", 1);
    declare_lasting(&client, "drop-head", "x-max-length", 1);
    declare_lasting(&client, "reject-publish-dlx", "x-max-length", 1);
    declare_lasting(&client, "reject-publish", "x-max-length", 1);
    publish(&client, "any", 1, 10);
    publish(&client, "drop-head", 1, 10);
    publish(&client, "reject-publish-dlx", 1, 10);
    publish(&client, "reject-publish", 1, 10);
    ck_assert_uint_eq(server.home.outcomes.kept.size + server.home.outcomes.fresh.size, 0);
    ck_assert_uint_eq(queue_ready(queue("any")), 1);
    hang_up(&client);
}
END_TEST

/* What expired is kept in memory: not all of a queue, which may be as long as a disk is large. What is over
 * its time waits in the queue then, and is not delivered. */
START_TEST(kept_is_only_so_much)
{
    struct client client;
    int seconds = 0;
    connect_client(&client, true, 0);
    declare_lasting(&client, "reject-publish", "x-message-ttl", EXPIRED_MS);
    for (int i = 0; i < EXPIRING; i += 500)
        publish(&client, "reject-publish", 1, 500);
    pass(2 * EXPIRED_MS);
    const struct queue *q = queue("reject-publish");
    ck_assert_uint_gt(q->leaving.outcomes, 0);
    ck_assert_uint_lt(q->leaving.outcomes, EXPIRING / 2);
    ck_assert_uint_eq(q->leaving.outcomes + queue_ready(q), EXPIRING);
    consume(&client, "reject-publish");
    pass(EXPIRED_MS);
    ck_assert_str_eq(hear(&client), "");
    ck_assert_uint_eq(client.deliveries, 0);
    struct method m = {.id = METHOD_exchange_declare};
    m.exchange_declare.exchange = SLICE("missing");
    m.exchange_declare.type = SLICE("fanout");
    send(&client, 1, &m);
    declare(&client, "tomb");
    m = (struct method){.id = METHOD_queue_bind};
    m.queue_bind.queue = SLICE("tomb");
    m.queue_bind.exchange = SLICE("missing");
    send(&client, 1, &m);
    ck_assert_str_eq(hear(&client), "exchange.declare_ok queue.declare_ok(0) queue.bind_ok");
    for (; seconds < 100 && queue_ready(queue("tomb")) < EXPIRING; seconds++)
        pass(1000);
    ck_assert_uint_eq(queue_ready(queue("tomb")), EXPIRING);
    ck_assert_uint_eq(queue_ready(q) + q->leaving.outcomes + q->leaving.outcome_bytes, 0);
    hang_up(&client);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {rejected_in_a_transaction,
                                  pushed_out_by_a_transaction,
                                  others_wait,
                                  a_turn_has_its_share,
                                  kept_only_where_publishers_are_refused,
                                  kept_is_only_so_much};
    return run_suite("deadletter", tests, array_size(tests), NULL, 0);
}
