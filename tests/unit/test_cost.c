/* test_cost.c - what an ack, a cancel, a bind, a delete cost among others. */
#include "tests/unit/cost.h"
#include "tests/unit/suite.h"

static void declare_q(void)
{
    declare(&client, "q");
    ck_assert_str_eq(hear(&client), "queue.declare_ok(0)");
}

/* --- what there is many of, and one operation among them --- */

static void add_message(struct buf *out, int number)
{
    (void)number;
    add_publish(out, "q", 1);
}

static void more_unacked(int from, int to)
{
    if (from == 0) {
        declare_q();
        consume(&client, "q");
    }
    repeat(add_message, from, to);
    ck_assert_uint_eq(client.last_tag, (uint64_t)to);
}

static void ack_one(void *arg)
{
    struct method m = {.id = METHOD_basic_ack};
    (void)arg;
    m.basic_ack.delivery_tag = FEW / 2;
    send(&client, 1, &m);
}

static void requeue_one(void *arg)
{
    struct method m = {.id = METHOD_basic_nack};
    (void)arg;
    m.basic_nack.delivery_tag = FEW / 2;
    m.basic_nack.requeue = true;
    send(&client, 1, &m);
}

static void add_consumer(struct buf *out, int number)
{
    struct method m = {.id = METHOD_basic_consume};
    m.basic_consume.queue = SLICE("q");
    m.basic_consume.consumer_tag = slice_of_string(name_of("tag", number));
    m.basic_consume.no_wait = true;
    add_method(out, 1, &m);
}

static void more_consumers(int from, int to)
{
    if (from == 0)
        declare_q();
    repeat(add_consumer, from, to);
    repeat(add_message, 0, 1); /* the first delivery after them is not the usual one */
}

static void cancel_one(void *arg)
{
    struct method m = {.id = METHOD_basic_cancel};
    (void)arg;
    m.basic_cancel.consumer_tag = slice_of_string(name_of("tag", FEW / 2));
    send(&client, 1, &m);
}

static void deliver_one(void *arg)
{
    (void)arg;
    publish(&client, "q", 1, 1);
}

static void add_bound(struct buf *out, int number)
{
    add_bind(out, "q", "amq.direct", name_of("key", number));
    add_bind(out, "q", "amq.topic", name_of("*.key.#", number));
    add_bind(out, "q", "amq.fanout", name_of("key", number));
}

static void more_bindings(int from, int to)
{
    if (from == 0)
        declare_q();
    repeat(add_bound, from, to);
}

static void bind_one(void *arg)
{
    struct buf out = {0};
    (void)arg;
    add_bound(&out, MANY + 1);
    flush(&client, &out);
}

static void unbind_one(void *arg)
{
    struct method m = {.id = METHOD_queue_unbind};
    (void)arg;
    m.queue_unbind.queue = SLICE("q");
    m.queue_unbind.exchange = SLICE("amq.topic");
    m.queue_unbind.routing_key = slice_of_string(name_of("*.key.#", FEW / 2));
    send(&client, 1, &m);
}

static void add_queue(struct buf *out, int number)
{
    char name[64];
    snprintf(name, sizeof(name), "%s", name_of("queue", number));
    add_declare(out, name);
    add_bind(out, name, "amq.direct", "same");
    add_bind(out, name, "amq.topic", name);
}

static void more_queues(int from, int to)
{
    repeat(add_queue, from, to);
}

static void delete_one(void *arg)
{
    struct method m = {.id = METHOD_queue_delete};
    (void)arg;
    m.queue_delete.queue = slice_of_string(name_of("queue", FEW / 2));
    send(&client, 1, &m);
}

static const struct cost costs[] = {
    {"an ack among unacked messages", more_unacked, ack_one, ""},
    {"a requeue among unacked messages", more_unacked, requeue_one, ""},
    {"a cancel among consumers", more_consumers, cancel_one, "basic.cancel_ok"},
    {"a delivery among consumers", more_consumers, deliver_one, ""},
    {"binding among bindings", more_bindings, bind_one, ""},
    {"unbinding among bindings", more_bindings, unbind_one, "queue.unbind_ok"},
    {"deleting a queue among queues", more_queues, delete_one, "queue.delete_ok"},
};

START_TEST(others_cost_nothing)
{
    cost_check_others(&costs[_i]);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cost");
    TCase *whole = tcase_create("server");
    tcase_add_checked_fixture(whole, start, stop);
    tcase_add_loop_test(whole, others_cost_nothing, 0, (int)array_size(costs));
    suite_add_tcase(suite, whole);
    return suite_run(suite);
}
