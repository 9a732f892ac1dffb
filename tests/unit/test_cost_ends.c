/* test_cost_ends.c - what it costs when something ends (a channel, a connection, an exchange, a binding among
 * equal ones, the last consumer or binding of what deletes itself) among others of its kind; and that an end
 * with many parts costs as much a part as one with few. */
#include "tests/unit/cost.h"
#include "tests/unit/suite.h"

enum { OWN_FEW = 10, OWN_MANY = 80 }; /* each instruction of them is a step of a debugger */

static void declare_as(struct client *who, const char *queue, bool exclusive, bool auto_delete)
{
    struct method m = {.id = METHOD_queue_declare};
    m.queue_declare.queue = slice_of_string(queue);
    m.queue_declare.exclusive = exclusive;
    m.queue_declare.auto_delete = auto_delete;
    send(who, 1, &m);
    ck_assert_str_eq(hear(who), "queue.declare_ok(0)");
}

static void add_exchange(struct buf *out, const char *name, const char *type, bool auto_delete)
{
    struct method m = {.id = METHOD_exchange_declare};
    m.exchange_declare.exchange = slice_of_string(name);
    m.exchange_declare.type = slice_of_string(type);
    m.exchange_declare.auto_delete = auto_delete;
    m.exchange_declare.no_wait = true;
    add_method(out, 1, &m);
}

static void add_exchange_bind(struct buf *out, const char *destination, const char *source, const char *key)
{
    struct method m = {.id = METHOD_exchange_bind};
    m.exchange_bind.destination = slice_of_string(destination);
    m.exchange_bind.source = slice_of_string(source);
    m.exchange_bind.routing_key = slice_of_string(key);
    m.exchange_bind.no_wait = true;
    add_method(out, 1, &m);
}

static void add_consume(struct buf *out, uint16_t channel, const char *queue, const char *tag)
{
    struct method m = {.id = METHOD_basic_consume};
    m.basic_consume.queue = slice_of_string(queue);
    m.basic_consume.consumer_tag = slice_of_string(tag);
    m.basic_consume.no_wait = true;
    add_method(out, channel, &m);
}

static void say(void (*add)(struct buf *out, int number), int number)
{
    struct buf out = {0};
    add(&out, number);
    flush(&client, &out);
}

static void open_channel_2(void)
{
    send(&client, 2, &(struct method){.id = METHOD_channel_open});
    ck_assert_str_eq(hear(&client), "channel.open_ok");
}

/* --- a channel among consumers --- */

static void add_crowds_consumer(struct buf *out, int number)
{
    add_consume(out, 1, "q", name_of("tag", number));
}

static void add_own_consumer(struct buf *out, int number)
{
    add_consume(out, 2, "q", name_of("own", number));
}

static void consumers_of_others(int from, int to)
{
    if (from == 0) {
        declare_as(&crowd, "q", false, false);
        open_channel_2();
        repeat(add_own_consumer, 0, 3);
    }
    repeat_by(&crowd, add_crowds_consumer, from, to);
}

static void close_channel(void *arg)
{
    (void)arg;
    send(&client, 2, &(struct method){.id = METHOD_channel_close});
}

/* --- a connection among queues, bound to the same exchange --- */

static void add_bound_queue(struct buf *out, int number)
{
    char name[64];
    snprintf(name, sizeof(name), "%s", name_of("queue", number));
    add_declare(out, name);
    add_bind(out, name, "amq.fanout", "");
    add_bind(out, name, "amq.direct", "same");
}

static void queues_of_others(int from, int to)
{
    if (from == 0) {
        declare_as(&client, "mine", true, false);
        struct buf out = {0};
        add_bind(&out, "mine", "amq.fanout", "");
        add_bind(&out, "mine", "amq.direct", "same");
        flush(&client, &out);
    }
    repeat_by(&crowd, add_bound_queue, from, to);
}

static void close_connection(void *arg)
{
    (void)arg;
    send(&client, 0, &(struct method){.id = METHOD_connection_close});
}

/* --- an exchange among exchanges, all fed by one --- */

static void add_fed_exchange(struct buf *out, int number)
{
    char name[64];
    snprintf(name, sizeof(name), "%s", name_of("exchange", number));
    add_exchange(out, name, "topic", false);
    add_exchange_bind(out, name, "amq.topic", name);
    add_bind(out, "q", name, "#");
}

static void exchanges(int from, int to)
{
    if (from == 0)
        declare_as(&crowd, "q", false, false);
    repeat_by(&crowd, add_fed_exchange, from, to);
}

static void delete_exchange(void *arg)
{
    struct method m = {.id = METHOD_exchange_delete};
    (void)arg;
    m.exchange_delete.exchange = slice_of_string(name_of("exchange", FEW / 2));
    send(&client, 1, &m);
}

/* --- a binding among those that are equal but for their queue --- */

static const char *const sources[][2] = {
    {"x.direct", "direct"}, {"x.fanout", "fanout"}, {"x.topic", "topic"}, {"x.headers", "headers"},
    {"x.random", "x-random"}, {"x.modulus", "x-modulus-hash"}, {"x.recent", "x-recent-history"},
};

static void add_equal_bindings(struct buf *out, int number)
{
    char name[64];
    snprintf(name, sizeof(name), "%s", name_of("queue", number));
    add_declare(out, name);
    for (size_t i = 0; i < array_size(sources); i++)
        add_bind(out, name, sources[i][0], "same");
}

static void equal_bindings(int from, int to)
{
    struct buf out = {0};
    for (size_t i = 0; from == 0 && i < array_size(sources); i++)
        add_exchange(&out, sources[i][0], sources[i][1], false);
    flush(&client, &out);
    repeat(add_equal_bindings, from, to);
}

static void unbind_equal(void *arg)
{
    struct buf out = {0};
    (void)arg;
    for (size_t i = 0; i < array_size(sources); i++) {
        struct method m = {.id = METHOD_queue_unbind};
        m.queue_unbind.queue = slice_of_string(name_of("queue", FEW / 2));
        m.queue_unbind.exchange = slice_of_string(sources[i][0]);
        m.queue_unbind.routing_key = SLICE("same");
        add_method(&out, 1, &m);
    }
    flush(&client, &out);
}

/* --- what deletes itself --- */

static void add_auto_queue(struct buf *out, int number)
{
    struct method m = {.id = METHOD_queue_declare};
    m.queue_declare.queue = slice_of_string(name_of("queue", number));
    m.queue_declare.auto_delete = true;
    m.queue_declare.no_wait = true;
    add_method(out, 1, &m);
    char name[64];
    snprintf(name, sizeof(name), "%s", name_of("queue", number));
    add_consume(out, 1, name, name);
}

static void auto_delete_queues(int from, int to)
{
    repeat(add_auto_queue, from, to);
}

static void cancel_last(void *arg)
{
    struct method m = {.id = METHOD_basic_cancel};
    (void)arg;
    m.basic_cancel.consumer_tag = slice_of_string(name_of("queue", FEW / 2));
    send(&client, 1, &m);
}

static void add_auto_exchange(struct buf *out, int number)
{
    char name[64];
    snprintf(name, sizeof(name), "%s", name_of("exchange", number));
    add_exchange(out, name, "direct", true);
    add_bind(out, "q", name, "k");
}

static void auto_delete_exchanges(int from, int to)
{
    if (from == 0)
        declare_as(&client, "q", false, false);
    repeat(add_auto_exchange, from, to);
}

static void unbind_last(void *arg)
{
    struct method m = {.id = METHOD_queue_unbind};
    (void)arg;
    m.queue_unbind.queue = SLICE("q");
    m.queue_unbind.exchange = slice_of_string(name_of("exchange", FEW / 2));
    m.queue_unbind.routing_key = SLICE("k");
    send(&client, 1, &m);
}

/* --- consumers that have no credit, or priorities of their own --- */

static void sated_consumers(int from, int to)
{
    if (from == 0) {
        struct method m = {.id = METHOD_basic_qos};
        m.basic_qos.prefetch_count = 1;
        declare_as(&client, "q", false, false);
        send(&client, 1, &m);
        ck_assert_str_eq(hear(&client), "basic.qos_ok");
        publish(&client, "q", 1, 10); /* left over */
    }
    repeat(add_crowds_consumer, from, to);
    for (int at = from; at < to; at += 500) {
        publish(&client, "q", 1, 500);
        hear(&client); /* else the server stops reading */
    }
    ck_assert_uint_eq(client.last_tag, (uint64_t)to);
}

static void ack_one(void *arg)
{
    struct method m = {.id = METHOD_basic_ack};
    (void)arg;
    m.basic_ack.delivery_tag = FEW / 2;
    send(&client, 1, &m);
}

static void add_ranked_consumer(struct buf *out, int number)
{
    struct buf args = {0};
    struct method m = {.id = METHOD_basic_consume};
    table_put_int(&args, "x-priority", number);
    m.basic_consume.queue = SLICE("q");
    m.basic_consume.consumer_tag = slice_of_string(name_of("tag", number));
    m.basic_consume.no_wait = true;
    m.basic_consume.arguments = buf_slice(&args);
    add_method(out, 1, &m);
    buf_free(&args);
}

static void ranked_consumers(int from, int to)
{
    if (from == 0)
        declare_as(&client, "q", false, false);
    repeat(add_ranked_consumer, from, to);
}

static void consume_one_more(void *arg)
{
    (void)arg;
    say(add_ranked_consumer, MANY + 1);
}

static void cancel_one(void *arg)
{
    struct method m = {.id = METHOD_basic_cancel};
    (void)arg;
    m.basic_cancel.consumer_tag = slice_of_string(name_of("tag", FEW / 2));
    send(&client, 1, &m);
}

static const struct cost costs[] = {
    {"closing a channel among consumers", consumers_of_others, close_channel, "channel.close_ok"},
    {"closing a connection among queues", queues_of_others, close_connection, "connection.close_ok"},
    {"deleting an exchange among exchanges", exchanges, delete_exchange, "exchange.delete_ok"},
    {"unbinding among equal bindings", equal_bindings, unbind_equal,
     "queue.unbind_ok queue.unbind_ok queue.unbind_ok queue.unbind_ok queue.unbind_ok queue.unbind_ok "
     "queue.unbind_ok"},
    {"the last cancel of an auto-delete queue", auto_delete_queues, cancel_last, "basic.cancel_ok"},
    {"the last unbinding of an auto-delete exchange", auto_delete_exchanges, unbind_last,
     "queue.unbind_ok"},
    {"an ack among consumers without credit", sated_consumers, ack_one, ""},
    {"consuming among consumers of other priorities", ranked_consumers, consume_one_more, ""},
    {"a cancel among consumers of other priorities", ranked_consumers, cancel_one, "basic.cancel_ok"},
};

/* --- a queue among basic.gets that wait for the disk --- */

enum { GETS_FEW = 10, GETS_MANY = 1000, PAGED = 5000 };

static struct client waiting[GETS_MANY + 1];

/* Without a turn, which would read from disk. */
static void write_gets(struct client *who, int count)
{
    struct buf out = {0};
    struct method m = {.id = METHOD_basic_get};
    m.basic_get.queue = SLICE("paged");
    m.basic_get.no_ack = true;
    for (int i = 0; i < count; i++)
        add_method(&out, 1, &m);
    ck_assert_uint_eq(fakenet_client_write(who->link, out.at, out.len), out.len);
    buf_free(&out);
    fakenet_pump(net, &server.net);
}

/* All wait; the last of the clients has taken what was in memory. */
static void wait_for_pages(int count)
{
    for (int i = 0; i <= GETS_MANY; i++)
        connect_client(&waiting[i], true, 0);
    server.home.paging.resident_max = 100;
    declare_as(&client, "paged", false, false);
    declare_as(&client, "other", false, false);
    publish(&client, "paged", 1, PAGED);
    ck_assert(queue("paged")->front->backlog);
    write_gets(&waiting[GETS_MANY], 1500);
    for (int i = 0; i < count; i++)
        write_gets(&waiting[i], 1);
    ck_assert_uint_eq(queue("paged")->leaving.gets, (unsigned)count + 1);
}

/* Without a turn: in each of them all gets that wait are looked at. */
static void delete_other(void *arg)
{
    (void)arg;
    vhost_delete_queue(server_find_vhost(&server, SLICE("/")), queue("other"));
}

static uint64_t steps_among_gets(int count)
{
    connect_client(&client, true, 0);
    wait_for_pages(count);
    uint64_t steps = steps_of(delete_other, NULL);
    for (int i = 0; i <= GETS_MANY; i++) {
        ck_assert_str_eq(hear(&waiting[i]), "");
        if (i < count)
            ck_assert_uint_eq(waiting[i].deliveries, 1);
        hang_up(&waiting[i]);
    }
    hang_up(&client);
    return steps;
}

START_TEST(a_queue_among_gets)
{
    uint64_t few = steps_among_gets(GETS_FEW);
    stop();
    start();
    uint64_t many = steps_among_gets(GETS_MANY);
    fprintf(stderr, "deleting a queue among gets: %llu instructions with %d, %llu with %d\n",
            (unsigned long long)few, GETS_FEW, (unsigned long long)many, GETS_MANY);
    ck_assert_uint_lt(many, few * 2);
}
END_TEST

START_TEST(others_cost_nothing)
{
    cost_check_others(&costs[_i]);
}
END_TEST

/* --- ends with many parts --- */

static void own_consumers(int from, int to)
{
    if (from == 0) {
        declare_as(&crowd, "q", false, false);
        open_channel_2();
    }
    repeat(add_own_consumer, from, to);
}

static void add_exclusive(struct buf *out, int number)
{
    struct method m = {.id = METHOD_queue_declare};
    m.queue_declare.queue = slice_of_string(name_of("mine", number));
    m.queue_declare.exclusive = true;
    m.queue_declare.no_wait = true;
    add_method(out, 1, &m);
}

static void own_queues(int from, int to)
{
    repeat(add_exclusive, from, to);
}

static void own_bindings(int from, int to)
{
    struct buf out = {0};
    if (from == 0) {
        declare_as(&client, "q", false, false);
        add_exchange(&out, name_of("exchange", FEW / 2), "topic", false);
        flush(&client, &out);
    }
    for (int at = from; at < to; at++) { /* name_of has room for one name */
        char exchange[64];
        snprintf(exchange, sizeof(exchange), "%s", name_of("exchange", FEW / 2));
        add_bind(&out, "q", exchange, name_of("*.key", at));
    }
    flush(&client, &out);
    ck_assert_str_eq(hear(&client), "");
}

static void delete_q(void *arg)
{
    struct method m = {.id = METHOD_queue_delete};
    (void)arg;
    m.queue_delete.queue = SLICE("q");
    send(&client, 1, &m);
}

static void own_unacked(int from, int to)
{
    if (from == 0) {
        struct buf out = {0};
        declare_as(&client, "q", false, false);
        open_channel_2();
        add_consume(&out, 2, "q", "tag");
        flush(&client, &out);
    }
    publish(&client, "q", 1, to - from);
    hear(&client);
    ck_assert_uint_eq(client.last_tag, (uint64_t)to);
}

static const struct cost ends[] = {
    {"closing a channel with consumers", own_consumers, close_channel, "channel.close_ok"},
    {"closing a connection with queues", own_queues, close_connection, "connection.close_ok"},
    {"deleting an exchange with bindings", own_bindings, delete_exchange, "exchange.delete_ok"},
    {"deleting a queue with bindings", own_bindings, delete_q, "queue.delete_ok"},
    {"closing a channel with unacked messages", own_unacked, close_channel, "channel.close_ok"},
};

/* Eight times as many parts cost hardly more than eight times as much. */
START_TEST(parts_cost_the_same)
{
    struct measured steps = cost_measure(&ends[_i], OWN_FEW, OWN_MANY);
    ck_assert_uint_le(steps.many, steps.few * (OWN_MANY / OWN_FEW) * 6 / 5 + SLACK);
    cost_finish(&ends[_i]);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cost_ends");
    TCase *whole = tcase_create("server");
    tcase_add_checked_fixture(whole, start, stop);
    tcase_add_loop_test(whole, others_cost_nothing, 0, (int)array_size(costs));
    tcase_add_test(whole, a_queue_among_gets);
    tcase_add_loop_test(whole, parts_cost_the_same, 0, (int)array_size(ends));
    suite_add_tcase(suite, whole);
    return suite_run(suite);
}
