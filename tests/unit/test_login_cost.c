/* test_login_cost.c - a login that fails costs the same, and is answered at the same time, for all. */
#include "broker/admin.h"
#include "tests/unit/server_world.h"
#include "tests/unit/steps.h"

/* One instruction in so many may tell one failure from another: what it costs to compare a name that is there
 * with the one that is looked for, and the branches that were not taken. */
enum { APART_PARTS = 100, REFUSAL_MS = 500 };

static const struct {
    const char *what, *user;
} users[] = {
    {"a wrong password", "alice"},
    {"nobody's name", "zelda"},
    {"a user without a password", "blank"},
    {"nobody's name, and almost somebody's", "alicf"},
};

static const char *const mechanisms[] = {"PLAIN", "AMQPLAIN"};

struct attempt {
    struct client client;
    struct buf said; /* its start-ok */
    const char *mechanism, *user, *password;
};

static void add_users(void)
{
    struct admin_error e;
    ck_assert(admin_add_user(&server, SLICE("alice"), SLICE("wonderland"), SLICE(""), &e));
    ck_assert(admin_add_user(&server, SLICE("blank"), SLICE("wonderland"), SLICE(""), &e));
    ck_assert(admin_clear_password(&server, SLICE("blank"), &e));
}

static void say_hello(struct attempt *attempt)
{
    struct peer peer = {.host = "127.0.0.1", .peer_host = "127.0.0.1", .loopback = true};
    struct client *client = &attempt->client;
    *client = (struct client){.link = fakenet_connect(net)};
    client->conn = server_accept(&server, &fakenet_transport, client->link, &peer);
    fakenet_attach(client->link, &client->conn->stream);
    put(client, "AMQP\0\0\x09\x01", 8);
    ck_assert_str_eq(hear(client), "connection.start");
}

static void make_start_ok(struct attempt *attempt)
{
    struct buf capabilities = {0}, properties = {0}, response = {0};
    table_put_bool(&capabilities, "authentication_failure_close", true);
    table_put_table(&properties, "capabilities", buf_slice(&capabilities));
    if (strcmp(attempt->mechanism, "PLAIN") == 0) {
        buf_printf(&response, "%c%s%c%s", 0, attempt->user, 0, attempt->password);
    } else {
        table_put_string(&response, "LOGIN", slice_of_string(attempt->user));
        table_put_string(&response, "PASSWORD", slice_of_string(attempt->password));
    }
    struct method m = {.id = METHOD_connection_start_ok};
    m.connection_start_ok.client_properties = buf_slice(&properties);
    m.connection_start_ok.mechanism = slice_of_string(attempt->mechanism);
    m.connection_start_ok.response = buf_slice(&response);
    m.connection_start_ok.locale = SLICE("en_US");
    attempt->said.len = 0;
    add_method(&attempt->said, 0, &m);
    buf_free(&capabilities);
    buf_free(&properties);
    buf_free(&response);
}

/* From the client's bytes to the timer that refuses. */
static void log_in(void *arg)
{
    struct attempt *attempt = arg;
    put(&attempt->client, attempt->said.at, attempt->said.len);
    fakenet_pump(net, &server.net);
}

/* How far the users are apart, and the most that one takes. */
static uint64_t measure(struct attempt *attempt, uint64_t *most)
{
    uint64_t least = UINT64_MAX;
    *most = 0;
    for (size_t i = 0; i < array_size(users); i++) {
        attempt->user = users[i].user;
        make_start_ok(attempt);
        uint64_t steps = steps_of(log_in, attempt); /* in a copy of the same server */
        fprintf(stderr, "%s, %s: %llu instructions\n", attempt->mechanism, users[i].what,
                (unsigned long long)steps);
        least = steps < least ? steps : least;
        *most = steps > *most ? steps : *most;
    }
    return *most - least;
}

START_TEST(failures_cost_the_same)
{
    struct attempt attempt = {.mechanism = mechanisms[_i], .password = "wrong one"};
    uint64_t most, apart;
    add_users();
    say_hello(&attempt);
    apart = measure(&attempt, &most);
    for (int again = 0; again < 3 && apart * APART_PARTS > most; again++) /* a sanitizer tidied its memory */
        apart = measure(&attempt, &most);
    ck_assert_msg(apart * APART_PARTS <= most, "%llu instructions lie between them",
                  (unsigned long long)apart);
    hang_up(&attempt.client);
    buf_free(&attempt.said);
}
END_TEST

/* What is measured has to be a login: the right password costs more, by what it means to be let in. */
START_TEST(failures_fail_and_are_told_at_the_same_time)
{
    add_users();
    for (size_t i = 0; i < array_size(users); i++) {
        struct attempt attempt = {.mechanism = mechanisms[_i], .user = users[i].user,
                                  .password = "wrong one"};
        say_hello(&attempt);
        make_start_ok(&attempt);
        log_in(&attempt);
        pass(REFUSAL_MS - 1);
        ck_assert_str_eq(hear(&attempt.client), "");
        pass(1);
        ck_assert_str_eq(hear(&attempt.client), "connection.close(403)");
        ck_assert_ptr_nonnull(strstr(attempt.client.text, "Login was refused using"));
        ck_assert_ptr_null(strstr(attempt.client.text, users[i].user));
        hang_up(&attempt.client);
        buf_free(&attempt.said);
    }
    struct attempt right = {.mechanism = mechanisms[_i], .user = "alice", .password = "wonderland"};
    say_hello(&right);
    make_start_ok(&right);
    log_in(&right);
    ck_assert_str_eq(hear(&right.client), "connection.tune");
    hang_up(&right.client);
    buf_free(&right.said);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("login_cost");
    TCase *tcase = tcase_create("server");
    tcase_set_timeout(tcase, 60);
    tcase_add_checked_fixture(tcase, start, stop);
    tcase_add_loop_test(tcase, failures_cost_the_same, 0, (int)array_size(mechanisms));
    tcase_add_loop_test(tcase, failures_fail_and_are_told_at_the_same_time, 0, (int)array_size(mechanisms));
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
