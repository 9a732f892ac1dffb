/* test_confirm.c - one confirm stands for many (semantics 2.1). */
#include "tests/unit/server_world.h"

static struct client client;

static void select_confirms(void)
{
    connect_client(&client, true, 0);
    send(&client, 1, &(struct method){.id = METHOD_confirm_select});
    ck_assert_str_eq(hear(&client), "confirm.select_ok");
}

START_TEST(many_in_one)
{
    select_confirms();
    declare(&client, "q");
    ck_assert_str_eq(hear(&client), "queue.declare_ok(0)");
    publish(&client, "q", 1, 500);
    ck_assert_str_eq(hear(&client), "basic.ack");
    publish(&client, "q", 1, 1);
    ck_assert_str_eq(hear(&client), "basic.ack");
    hang_up(&client);
}
END_TEST

/* What reaches no queue is confirmed, too, with the rest. */
START_TEST(unroutable_ones_with_them)
{
    struct buf out = {0};
    select_confirms();
    declare(&client, "q");
    ck_assert_str_eq(hear(&client), "queue.declare_ok(0)");
    for (int i = 0; i < 300; i++)
        add_publish(&out, i % 3 ? "q" : "nowhere", 1);
    flush(&client, &out);
    ck_assert_str_eq(hear(&client), "basic.ack");
    ck_assert_uint_eq(server.counters.confirmed, 300);
    hang_up(&client);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {many_in_one, unroutable_ones_with_them};
    return run_suite("confirm", tests, array_size(tests), NULL, 0);
}
