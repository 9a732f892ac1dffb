/* test_delay_list.c - list_delayed while what it lists is dealt from bucket to bucket, comes due, and more is
 * published: what waits all the time is in the list once, nothing is twice. In memory and on disk, with the
 * list taking its steps faster or more slowly than time passes; and read too slowly. */
#include "tests/unit/server_world.h"

#include "broker/commands.h"
#include "broker/vhost.h"
#include "protocol/wire.h"

enum { MESSAGES = 3000, LATER = 600, LAST_MS = 40000, CROWD_MS = 1500, SPEEDS = 7, TURNS_MAX = 20000 };

static uint64_t due_ms[MESSAGES + LATER];
static unsigned char listed[MESSAGES + LATER];
static const char *padding = ""; /* of keys */

static void publish_delayed(struct client *client, unsigned number, uint64_t delay_ms)
{
    struct buf out = {0}, headers = {0};
    uint8_t head[128];
    char key[256];
    struct writer w = writer_of(head, sizeof(head));
    struct method m = {.id = METHOD_basic_publish};
    snprintf(key, sizeof(key), "k%u%s", number, padding);
    m.basic_publish.exchange = SLICE("later");
    m.basic_publish.routing_key = slice_of_string(key);
    table_put_int(&headers, "x-delay", (int64_t)delay_ms);
    add_method(&out, 1, &m);
    write_u32(&w, METHOD_basic_publish >> 16 << 16);
    write_u64(&w, 1);
    write_u16(&w, 1 << 13 | 1 << 12);
    write_table(&w, buf_slice(&headers));
    write_u8(&w, 2);
    add_frame(&out, FRAME_HEADER, 1, slice_of(head, (size_t)(w.at - head)));
    add_frame(&out, FRAME_BODY, 1, SLICE("x"));
    put(client, out.at, out.len);
    due_ms[number] = server.home.now_ms + delay_ms;
    buf_free(&out);
    buf_free(&headers);
}

static void turn(uint64_t us)
{
    now_ns += us * 1000;
    fakenet_pump(net, &server.net);
    server_act(&server);
    store_sync_now(server.store);
}

/* `crowded`: all are due at the same time, soon. */
static void begin(struct client *client, int seed, bool paged, bool crowded)
{
    struct buf args = {0};
    struct method m = {.id = METHOD_exchange_declare};
    if (paged) {
        server_close(&server);
        set("queue.resident_messages", "32");
        set("queue.page_size", "2048");
        open_server();
    }
    connect_client(client, true, 0);
    table_put_string(&args, "x-delayed-type", SLICE("direct"));
    m.exchange_declare.exchange = SLICE("later");
    m.exchange_declare.type = SLICE("x-delayed-message");
    m.exchange_declare.durable = true;
    m.exchange_declare.arguments = buf_slice(&args);
    send(client, 1, &m);
    buf_free(&args);
    ck_assert_str_eq(hear(client), "exchange.declare_ok");
    struct rand rand = rand_seeded((uint64_t)seed + 5);
    for (unsigned i = 0; i < MESSAGES; i++) {
        publish_delayed(client, i, crowded ? CROWD_MS : 1 + rand_below(&rand, LAST_MS));
        turn(crowded ? 1 : 50);
    }
    for (uint64_t ms = 0; crowded && ms < CROWD_MS - 150; ms++)
        turn(1000);
    run();
}

/* Notes what is in the rows. */
static void read_rows(struct request *r)
{
    static const char word[] = "\"routing_key\":\"k";
    buf_append(&r->out, "", 1);
    for (const char *at = (const char *)r->out.at; (at = strstr(at, word)) != NULL; at += sizeof(word) - 1) {
        unsigned long number = strtoul(at + sizeof(word) - 1, NULL, 10);
        ck_assert_uint_lt(number, array_size(listed));
        listed[number]++;
        ck_assert_msg(listed[number] == 1, "message %lu is in the list twice", number);
    }
    r->out.len = 0;
}

START_TEST(each_is_listed_once)
{
    static const uint64_t speeds_us[SPEEDS] = {0, 200, 1000, 5000, 20000, 20000, 60000};
    static const unsigned waits[SPEEDS] = {1, 1, 3, 10, 3, 30, 30}; /* turns from one step to the next */
    struct client client;
    uint64_t us = speeds_us[_i % SPEEDS];
    unsigned later = MESSAGES, count = 0, turns = 0;
    memset(listed, 0, sizeof(listed));
    begin(&client, _i, _i / SPEEDS % 2, _i / SPEEDS > 1);
    uint64_t began_ms = server.home.now_ms;
    struct request *r = request_new(&server, SLICE("{\"verb\": \"list_delayed\"}"));
    for (; !r->done; turns++) {
        ck_assert_uint_lt(turns, TURNS_MAX);
        if (turns % waits[_i % SPEEDS] == 0)
            request_step(r);
        if (later < MESSAGES + LATER) {
            publish_delayed(&client, later, 1 + later * 7919 % LAST_MS);
            later++;
        }
        turn(us);
        read_rows(r);
    }
    ck_assert_int_eq(r->error, REQUEST_FINE);
    request_free(&r);
    ck_assert(later > MESSAGES);
    for (unsigned i = 0; i < MESSAGES; i++) {
        ck_assert_msg(listed[i] == 1 || due_ms[i] <= server.home.now_ms, "message %u is not listed", i);
        ck_assert(!listed[i] || due_ms[i] >= began_ms);
        count += listed[i];
    }
    ck_assert(count > 0);
    hang_up(&client);
}
END_TEST

/* What is dealt meanwhile goes into the list at once; but not without end when nobody reads it. */
START_TEST(read_too_slowly)
{
    enum { MANY = 30000, ROWS_MAX = 9000000 };
    static char pad[240];
    struct client client;
    memset(pad, 'p', sizeof(pad) - 1);
    begin(&client, 1, false, false);
    padding = pad;
    for (unsigned i = 0; i < MANY; i++) {
        publish_delayed(&client, 0, LAST_MS / 2 + i % (LAST_MS / 2));
        if (i % 50 == 0)
            turn(50);
    }
    struct request *r = request_new(&server, SLICE("{\"verb\": \"list_delayed\"}"));
    request_step(r);
    for (int i = 0; i < LAST_MS; i += 20) {
        turn(20000);
        ck_assert_uint_lt(r->out.len, ROWS_MAX);
    }
    ck_assert_uint_gt(r->out.len, ROWS_MAX / 2);
    for (int i = 0; i < 10 && !r->done; i++)
        request_step(r);
    ck_assert(r->done && r->error == REQUEST_REFUSED);
    request_free(&r);
    r = request_new(&server, SLICE("{\"verb\": \"list_delayed\"}")); /* the next one is not kept waiting */
    for (int i = 0; i < 1000 && !r->done; i++, turn(0))
        request_step(r), r->out.len = 0;
    ck_assert(r->done && r->error == REQUEST_FINE);
    request_free(&r);
    padding = "";
    hang_up(&client);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("delay_list");
    TCase *whole = tcase_create("server");
    tcase_add_checked_fixture(whole, start, stop);
    tcase_set_timeout(whole, 120);
    tcase_add_loop_test(whole, each_is_listed_once, 0, 4 * SPEEDS);
    tcase_add_test(whole, read_too_slowly);
    suite_add_tcase(suite, whole);
    return suite_run(suite);
}
