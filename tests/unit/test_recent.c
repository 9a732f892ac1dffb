/* test_recent.c - what x-recent-history exchanges remember is bounded, of one and of all. */
#include "exchange/recent.h"
#include "tests/unit/server_world.h"

enum { BODY = 1000 };

static struct client client;

static struct exchange *declare_exchange(const char *name)
{
    struct method m = {.id = METHOD_exchange_declare};
    m.exchange_declare.exchange = slice_of_string(name);
    m.exchange_declare.type = SLICE("x-recent-history");
    send(&client, 1, &m);
    ck_assert_str_eq(hear(&client), "exchange.declare_ok");
    return vhost_find_exchange(server_find_vhost(&server, SLICE("/")), slice_of_string(name));
}

static void publish_to(const struct exchange *x, int count)
{
    static const uint8_t body[BODY];
    for (int i = 0; i < count; i++) {
        struct buf out = {0};
        uint8_t header[14] = {0, 60};
        header[10] = BODY >> 8, header[11] = BODY & 255;
        struct method m = {.id = METHOD_basic_publish};
        m.basic_publish.exchange = x->name;
        add_method(&out, 1, &m);
        add_frame(&out, FRAME_HEADER, 1, slice_of(header, sizeof(header)));
        add_frame(&out, FRAME_BODY, 1, slice_of(body, BODY));
        flush(&client, &out);
    }
    ck_assert_str_eq(hear(&client), "");
}

static void drop(const char *name)
{
    struct method m = {.id = METHOD_exchange_delete};
    m.exchange_delete.exchange = slice_of_string(name);
    send(&client, 1, &m);
    ck_assert_str_eq(hear(&client), "exchange.delete_ok");
}

START_TEST(all_together_have_so_much)
{
    uint64_t *total = &server.bounds.remembered_bytes;
    connect_client(&client, false, 0);
    const struct exchange *one = declare_exchange("one"), *other = declare_exchange("other");
    publish_to(one, 30);
    ck_assert_uint_eq(recent_count(one), 20);
    uint64_t each = *total / 20, before = *total;
    ck_assert_uint_gt(each, BODY);
    /* As if others held all but three more. */
    uint64_t others = RECENT_TOTAL_MAX - before - 3 * each;
    *total += others;
    publish_to(other, 10);
    ck_assert_uint_eq(recent_count(other), 2); /* a longer name: three are too many */
    ck_assert_uint_eq(recent_count(one), 20);
    ck_assert_uint_le(*total, RECENT_TOTAL_MAX);
    drop("other");
    publish_to(one, 1);
    ck_assert_uint_eq(recent_count(one), 20);
    drop("one");
    ck_assert_uint_eq(*total, others);
    *total -= others;
    hang_up(&client);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {all_together_have_so_much};
    return run_suite("recent", tests, array_size(tests), NULL, 0);
}
