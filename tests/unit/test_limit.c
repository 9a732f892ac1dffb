/* test_limit.c - a queue with a drop-head limit that lies on disk: whoever publishes faster than pages can be
 * read does not make it longer than a bound, with a dead-letter exchange or without one. */
#include "tests/unit/server_world.h"

#include "broker/vhost.h"
#include "queue/excess.h"

enum { LIMIT = 2000, PAGE = 25, MESSAGES = 60000, PER_PIPE = PIPE_BYTES / 40,
       IDLE_MAX = 100000 };

static uint64_t most_ready, most_outcomes;

static void look(const char *name)
{
    const struct queue *q = queue(name);
    size_t outcomes = server.home.outcomes.fresh.size;
    most_ready = queue_ready(q) > most_ready ? queue_ready(q) : most_ready;
    most_outcomes = outcomes > most_outcomes ? outcomes : most_outcomes;
}

/* Sends it all as fast as the server takes it; time passes, for who is held up waits for a while. */
static void publish_all(struct client *client, const char *name, int count)
{
    struct buf out = {0};
    for (int i = 0; i < count; i++)
        add_publish(&out, name, 1);
    size_t done = 0;
    for (int idle = 0; done < out.len; now_ns += 1000000) {
        size_t part = fakenet_client_write(client->link, (const uint8_t *)out.at + done, out.len - done);
        done += part;
        idle = part ? 0 : idle + 1;
        ck_assert_int_lt(idle, IDLE_MAX);
        fakenet_pump(net, &server.net);
        server_act(&server);
        look(name);
        store_sync_now(server.store);
    }
    buf_free(&out);
    for (int turns = 0; queue_ready(queue(name)) > LIMIT || server.home.outcomes.fresh.size > 0; turns++) {
        ck_assert_int_lt(turns, IDLE_MAX);
        pass(1);
    }
}

static void fill(struct client *client, bool dead_letters)
{
    struct buf args = {0};
    struct method m = {.id = METHOD_queue_declare};
    server.home.paging.resident_max = 4 * PAGE;
    connect_client(client, true, 0);
    table_put_int(&args, "x-max-length", LIMIT);
    if (dead_letters)
        table_put_string(&args, "x-dead-letter-exchange", SLICE("amq.fanout"));
    m.queue_declare.queue = SLICE("full");
    m.queue_declare.arguments = buf_slice(&args);
    send(client, 1, &m);
    buf_free(&args);
    ck_assert_str_eq(hear(client), "queue.declare_ok(0)");
    most_ready = most_outcomes = 0;
    publish_all(client, "full", MESSAGES);
    ck_assert_uint_eq(queue_ready(queue("full")), LIMIT);
    ck_assert(queue("full")->front->backlog);
    hang_up(client);
}

/* A page that goes as a whole is not read. */
START_TEST(a_page_that_goes_is_not_read)
{
    struct client client;
    fill(&client, false);
    ck_assert_uint_lt(most_ready, LIMIT + 2 * PAGE);
}
END_TEST

START_TEST(dead_letters_hold_publishers_up)
{
    struct client client;
    fill(&client, true);
    ck_assert_uint_lt(most_ready, LIMIT + EXCESS_MESSAGES + PER_PIPE);
    ck_assert_uint_gt(most_ready, LIMIT + EXCESS_MESSAGES); /* without being held up it would be more */
}
END_TEST

/* What is dropped waits in memory to be published. */
START_TEST(so_do_letters_that_wait)
{
    struct client client;
    server.home.outcomes.turn_max = 5;
    fill(&client, true);
    ck_assert_uint_lt(most_outcomes, 2 * EXCESS_MESSAGES + PER_PIPE);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {a_page_that_goes_is_not_read, dead_letters_hold_publishers_up,
                                  so_do_letters_that_wait};
    return run_suite("limit", tests, array_size(tests), NULL, 0);
}
