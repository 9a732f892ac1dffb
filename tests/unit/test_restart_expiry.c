/* test_restart_expiry.c - what became due while the broker was down, or becomes so in its first turns: a
 * client that consumes from the first turn on gets nothing that is due, and each of it is counted and
 * dead-lettered once, whether it was in the journal alone or in pages that nobody has read since. */
#include "tests/unit/server_world.h"

#include "broker/vhost.h"
#include "protocol/wire.h"

/* All of them fit the pipe to a client: what is delivered is read in the same turn. */
enum { MESSAGES = 240, LONG_LIVED = 4 /* one of so many */, DAY_MS = 86400000, TURNS = 3000 };

/* Of the message of that number, milliseconds after it was published. */
static uint64_t lives_ms(unsigned number, uint64_t first_ms, uint64_t spread_ms)
{
    return number % LONG_LIVED == 0 ? DAY_MS : first_ms + number * 7919 % spread_ms;
}

struct restart {
    bool paged, ttl, letters;
    uint64_t first_ms, spread_ms, down_ms;
    uint64_t published_ms;
    uint8_t seen[MESSAGES + 1]; /* by the consumer of either queue */
    unsigned consumed, letters_taken;
};

static uint64_t due_ms(const struct restart *r, unsigned number)
{
    return r->published_ms + (r->ttl ? r->first_ms : lives_ms(number, r->first_ms, r->spread_ms));
}

static void declare_source(struct client *client, const struct restart *r)
{
    struct buf args = {0};
    struct method m = {.id = METHOD_queue_declare};
    m.queue_declare.queue = SLICE("tomb");
    m.queue_declare.durable = true;
    send(client, 1, &m);
    m.queue_declare.queue = SLICE("source");
    if (r->letters) {
        table_put_string(&args, "x-dead-letter-exchange", SLICE(""));
        table_put_string(&args, "x-dead-letter-routing-key", SLICE("tomb"));
    }
    if (r->ttl)
        table_put_int(&args, "x-message-ttl", (int64_t)r->first_ms);
    m.queue_declare.arguments = buf_slice(&args);
    send(client, 1, &m);
    buf_free(&args);
    ck_assert_str_eq(hear(client), "queue.declare_ok(0) queue.declare_ok(0)");
}

/* Persistent ones; each body is as long as its number. */
static void publish_all(struct client *client, const struct restart *r)
{
    static const uint8_t body[MESSAGES];
    for (unsigned i = 1; i <= MESSAGES; i++) {
        struct buf out = {0};
        uint8_t header[64];
        char expiration[24];
        struct writer w = writer_of(header, sizeof(header));
        struct method m = {.id = METHOD_basic_publish};
        m.basic_publish.routing_key = SLICE("source");
        add_method(&out, 1, &m);
        snprintf(expiration, sizeof(expiration), "%llu",
                 (unsigned long long)lives_ms(i, r->first_ms, r->spread_ms));
        write_u32(&w, METHOD_basic_publish >> 16 << 16);
        write_u64(&w, i);
        write_u16(&w, r->ttl ? 1 << 12 : 1 << 12 | 1 << 8);
        write_u8(&w, 2);
        if (!r->ttl)
            write_sstr(&w, slice_of_string(expiration));
        add_frame(&out, FRAME_HEADER, 1, slice_of(header, (size_t)(w.at - header)));
        add_frame(&out, FRAME_BODY, 1, slice_of(body, i));
        flush(client, &out);
    }
}

/* All that a client says up to its consumer, before the server's first turn. */
static void pounce(struct client *client, const char *queue_name)
{
    struct peer peer = {.host = "127.0.0.1", .peer_host = "127.0.0.1", .loopback = true};
    struct buf out = {0};
    struct method m = {.id = METHOD_connection_start_ok};
    *client = (struct client){.link = fakenet_connect(net)};
    client->conn = server_accept(&server, &fakenet_transport, client->link, &peer);
    fakenet_attach(client->link, &client->conn->stream);
    buf_append(&out, "AMQP\0\0\x09\x01", 8);
    m.connection_start_ok.mechanism = SLICE("PLAIN");
    m.connection_start_ok.response = SLICE("\0guest\0guest");
    m.connection_start_ok.locale = SLICE("en_US");
    add_method(&out, 0, &m);
    m = (struct method){.id = METHOD_connection_tune_ok, .connection_tune_ok = {2047, 131072, 0}};
    add_method(&out, 0, &m);
    m = (struct method){.id = METHOD_connection_open, .connection_open = {.virtual_host = SLICE("/")}};
    add_method(&out, 0, &m);
    add_method(&out, 1, &(struct method){.id = METHOD_channel_open});
    m = (struct method){.id = METHOD_basic_consume};
    m.basic_consume.queue = slice_of_string(queue_name);
    m.basic_consume.no_ack = true;
    add_method(&out, 1, &m);
    put(client, out.at, out.len);
    buf_free(&out);
}

/* Each message that has come: its number is the size of its body. */
static void take_messages(struct client *client, struct restart *r, bool letters)
{
    struct frame frame;
    struct fault f;
    size_t used_bytes;
    uint8_t *room = buf_reserve(&client->in, PIPE_BYTES);
    client->in.len += fakenet_client_read(client->link, room, PIPE_BYTES);
    while (client->in.len &&
           frame_cut(buf_slice(&client->in), 131072, &frame, &used_bytes, &f) == FRAME_COMPLETE) {
        if (frame.type == FRAME_HEADER) {
            unsigned number = (unsigned)load_u64(frame.payload.at + 4);
            ck_assert_msg(number > 0 && number <= MESSAGES && !r->seen[number], "message %u", number);
            ck_assert_msg(letters || due_ms(r, number) >= server.home.now_ms,
                          "message %u came %llu ms after its time", number,
                          (unsigned long long)(server.home.now_ms - due_ms(r, number)));
            ck_assert_msg(!letters || due_ms(r, number) < server.home.now_ms, "letter %u is early", number);
            r->seen[number] = 1;
            *(letters ? &r->letters_taken : &r->consumed) += 1;
        }
        buf_consume(&client->in, used_bytes);
    }
}

static void turn(struct client *client, struct restart *r, bool letters)
{
    now_ns += 1000000;
    fakenet_pump(net, &server.net);
    server_act(&server);
    store_sync_now(server.store);
    take_messages(client, r, letters);
}

static void lose_power_for(uint64_t ms)
{
    server_abandon(&server);
    fakedisk_crash(disk, FAKEDISK_LOSE_ALL);
    now_ns += ms * 1000000;
    open_server();
}

static struct restart restarted(int i)
{
    bool soon = i / 8;
    return (struct restart){.paged = i & 1, .ttl = i & 2, .letters = !(i & 4),
                            .first_ms = soon ? 5000 : 1000, .spread_ms = 60, .down_ms = soon ? 3990 : 20000};
}

START_TEST(nothing_due_is_delivered)
{
    struct restart r = restarted(_i);
    struct client client;
    if (r.paged) {
        server_close(&server);
        set("queue.resident_messages", "16");
        set("queue.page_size", "1024");
        open_server();
    }
    connect_client(&client, true, 0);
    declare_source(&client, &r);
    publish_all(&client, &r);
    run();
    r.published_ms = server.home.now_ms;
    ck_assert_uint_eq(queue_ready(queue("source")), MESSAGES);
    ck_assert_int_eq(queue("source")->order.backlog != NULL, r.paged);
    fakenet_client_close(&client.link);
    buf_free(&client.in);
    buf_free(&client.heard);
    if (_i >= 8)
        now_ns += 1000 * 1000000; /* what is due soon was published before the power went */
    lose_power_for(r.down_ms);
    pounce(&client, "source");
    for (int i = 0; i < TURNS; i++)
        turn(&client, &r, false);
    unsigned waited = r.consumed;
    ck_assert_uint_eq(queue_ready(queue("source")), 0);
    ck_assert_uint_eq(queue("source")->counters.expired, MESSAGES - waited);
    if (_i < 8)
        ck_assert_uint_eq(waited, r.ttl ? 0 : MESSAGES / LONG_LIVED);
    hang_up(&client);
    ck_assert_uint_eq(queue_ready(queue("tomb")), r.letters ? MESSAGES - waited : 0);
    pounce(&client, "tomb");
    for (int i = 0; i < TURNS; i++)
        turn(&client, &r, true);
    ck_assert_uint_eq(r.letters_taken, r.letters ? MESSAGES - waited : 0);
    hang_up(&client);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("restart_expiry");
    TCase *whole = tcase_create("server");
    tcase_add_checked_fixture(whole, start, stop);
    tcase_set_timeout(whole, 120);
    tcase_add_loop_test(whole, nothing_due_is_delivered, 0, 16);
    suite_add_tcase(suite, whole);
    return suite_run(suite);
}
