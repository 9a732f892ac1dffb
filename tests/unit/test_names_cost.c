/* test_names_cost.c - what a table of a client with many names costs: each more of them as much as the ones
 * before. Counted in instructions of the server, so that no other load on the machine changes it. */
#include "protocol/props.h"
#include "tests/unit/server_world.h"
#include "tests/unit/steps.h"

enum { LITTLE = 6, MUCH = 48, SLACK_PER_NAME = 30 };

struct sent {
    struct client client;
    struct buf frames;
};

/* As many different names. */
static void put_names(struct buf *table, int names, bool downwards)
{
    for (int i = 0; i < names; i++) {
        char name[16];
        snprintf(name, sizeof(name), "n%03d", downwards ? names - 1 - i : i);
        table_put_bool(table, name, true);
    }
}

static void say_hello(struct client *who)
{
    struct peer peer = {.host = "127.0.0.1", .peer_host = "127.0.0.1", .loopback = true};
    *who = (struct client){.link = fakenet_connect(net)};
    who->conn = server_accept(&server, &fakenet_transport, who->link, &peer);
    fakenet_attach(who->link, &who->conn->stream);
    put(who, "AMQP\0\0\x09\x01", 8);
    ck_assert_str_eq(hear(who), "connection.start");
}

static void add_start_ok(struct sent *sent, const char *mechanism, struct slice properties,
                         struct slice response)
{
    struct method m = {.id = METHOD_connection_start_ok};
    m.connection_start_ok.client_properties = properties;
    m.connection_start_ok.mechanism = slice_of_string(mechanism);
    m.connection_start_ok.response = response;
    m.connection_start_ok.locale = SLICE("en_US");
    say_hello(&sent->client);
    add_method(&sent->frames, 0, &m);
}

/* --- what is sent, with a table of so many names --- */

static void start_with_properties(struct sent *sent, struct slice table)
{
    add_start_ok(sent, "PLAIN", table, SLICE("\0guest\0wrong"));
}

static void start_with_amqplain(struct sent *sent, struct slice table)
{
    struct buf response = {0};
    buf_append_slice(&response, table);
    table_put_string(&response, "LOGIN", SLICE("guest"));
    table_put_string(&response, "PASSWORD", SLICE("wrong"));
    add_start_ok(sent, "AMQPLAIN", SLICE(""), buf_slice(&response));
    buf_free(&response);
}

static void add_declare(struct buf *out)
{
    struct method m = {.id = METHOD_queue_declare};
    m.queue_declare.queue = SLICE("q");
    add_method(out, 1, &m);
}

static void add_bind_with(struct buf *out, struct slice table)
{
    struct method m = {.id = METHOD_queue_bind};
    m.queue_bind.queue = SLICE("q");
    m.queue_bind.exchange = SLICE("amq.headers");
    m.queue_bind.arguments = table;
    add_method(out, 1, &m);
}

/* The same binding, its arguments in another order. */
static void bind_again(struct sent *sent, struct slice table)
{
    struct buf first = {0}, turned = {0};
    struct slice rest = table, name;
    struct field field;
    int names = 0;
    while (table_next(&rest, &name, &field))
        names++;
    put_names(&turned, names, true);
    connect_client(&sent->client, false, 0);
    add_declare(&first);
    add_bind_with(&first, buf_slice(&turned));
    flush(&sent->client, &first);
    ck_assert_str_eq(hear(&sent->client), "queue.declare_ok(0) queue.bind_ok");
    add_bind_with(&sent->frames, table);
    buf_free(&turned);
}

/* A message whose headers a binding asks for, all of them. */
static void publish_headers(struct sent *sent, struct slice table)
{
    struct props props = {.flags = PROP_headers, .headers = table};
    struct method m = {.id = METHOD_basic_publish};
    struct buf first = {0}, header = {0};
    uint8_t head[12];
    struct writer w = writer_of(head, sizeof(head));
    connect_client(&sent->client, false, 0);
    add_declare(&first);
    add_bind_with(&first, table);
    flush(&sent->client, &first);
    ck_assert_str_eq(hear(&sent->client), "queue.declare_ok(0) queue.bind_ok");
    m.basic_publish.exchange = SLICE("amq.headers");
    add_method(&sent->frames, 1, &m);
    write_u32(&w, METHOD_basic_publish >> 16 << 16);
    write_u64(&w, 0);
    buf_append(&header, head, sizeof(head));
    props_encode(&header, &props);
    add_frame(&sent->frames, FRAME_HEADER, 1, buf_slice(&header));
    buf_free(&header);
}

static const struct {
    const char *what;
    void (*prepare)(struct sent *sent, struct slice table);
    const char *answer;
} cases[] = {
    {"client properties", start_with_properties, ""},
    {"an AMQPLAIN response", start_with_amqplain, ""},
    {"arguments of a binding, once more", bind_again, "queue.bind_ok"},
    {"headers of a message", publish_headers, ""},
};

/* --- counting --- */

static void send_it(void *arg)
{
    struct sent *sent = arg;
    put(&sent->client, sent->frames.at, sent->frames.len);
    fakenet_pump(net, &server.net);
}

/* A server of its own for each number of names, in which all is as in the others. */
static uint64_t cost_of(int which, int names)
{
    struct buf table = {0};
    struct sent sent = {0};
    start();
    put_names(&table, names, false);
    cases[which].prepare(&sent, buf_slice(&table));
    uint64_t steps = steps_of(send_it, &sent);
    send_it(&sent);
    ck_assert_str_eq(hear(&sent.client), cases[which].answer);
    hang_up(&sent.client);
    buf_free(&sent.frames);
    buf_free(&table);
    stop();
    return steps;
}

START_TEST(each_name_costs_the_same)
{
    uint64_t steps[2][2];
    for (int i = 0; i < 2; i++)
        for (int twice = 0; twice < 2; twice++)
            steps[i][twice] = cost_of(_i, (i ? MUCH : LITTLE) << twice);
    if (steps[0][0] == 0)
        return; /* nobody may count here */
    double few = (double)(steps[0][1] - steps[0][0]) / LITTLE;
    double many = (double)(steps[1][1] - steps[1][0]) / MUCH;
    fprintf(stderr, "%s: a name more costs %.0f instructions among %d, %.0f among %d\n", cases[_i].what, few,
            LITTLE, many, MUCH);
    ck_assert_msg(many < 1.5 * few + SLACK_PER_NAME, "the time of many names is not linear");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("names_cost");
    TCase *tcase = tcase_create("server");
    tcase_set_timeout(tcase, 280);
    tcase_add_loop_test(tcase, each_name_costs_the_same, 0, (int)array_size(cases));
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
