/* test_admin.c - what an administrator changes, and what connections notice of it (semantics 2.3, 3). */
#include "broker/admin.h"
#include "tests/unit/server_world.h"

static struct admin_error e;
static const struct slice everything[3] = {{(const uint8_t *)".*", 2}, {(const uint8_t *)".*", 2},
                                           {(const uint8_t *)".*", 2}};
static const char *const welcome =
    "connection.start connection.tune connection.open_ok channel.open_ok";

static void add_user(const char *name, const char *password)
{
    ck_assert_msg(admin_add_user(&server, slice_of_string(name), slice_of_string(password), SLICE(""), &e),
                  "%s", e.text);
}

static void permit(const char *name, const char *configure, const char *write, const char *read)
{
    const struct slice patterns[3] = {[ACCESS_CONFIGURE] = slice_of_string(configure),
                                      [ACCESS_WRITE] = slice_of_string(write),
                                      [ACCESS_READ] = slice_of_string(read)};
    ck_assert_msg(admin_set_permissions(&server, SLICE("/"), slice_of_string(name), patterns, &e),
                  "%s", e.text);
}

static void enter(struct client *client, const char *name, const char *password)
{
    connect_as(client, (struct login_as){name, password, "/", false, 0});
    ck_assert_str_eq(hear(client), welcome);
}

/* Answers the close of channel 1 and opens it again. */
static void open_again(struct client *client)
{
    send(client, 1, &(struct method){.id = METHOD_channel_close_ok});
    send(client, 1, &(struct method){.id = METHOD_channel_open});
    ck_assert_str_eq(hear(client), "channel.open_ok");
}

static void publish_to(struct client *client, const char *exchange, const char *key)
{
    struct buf out = {0};
    uint8_t header[14] = {0, 60};
    struct method m = {.id = METHOD_basic_publish};
    m.basic_publish.exchange = slice_of_string(exchange);
    m.basic_publish.routing_key = slice_of_string(key);
    m.basic_publish.mandatory = true;
    add_method(&out, 1, &m);
    add_frame(&out, FRAME_HEADER, 1, slice_of(header, sizeof(header)));
    flush(client, &out);
}

static void bind_queue(struct client *client, const char *queue, const char *exchange, const char *key,
                       bool unbind)
{
    struct method m = {.id = unbind ? METHOD_queue_unbind : METHOD_queue_bind};
    struct slice names[] = {slice_of_string(queue), slice_of_string(exchange), slice_of_string(key)};
    if (unbind) {
        m.queue_unbind.queue = names[0];
        m.queue_unbind.exchange = names[1];
        m.queue_unbind.routing_key = names[2];
    } else {
        m.queue_bind.queue = names[0];
        m.queue_bind.exchange = names[1];
        m.queue_bind.routing_key = names[2];
    }
    send(client, 1, &m);
}

static bool set_topic(const char *name, const char *exchange, const char *write, const char *read)
{
    const struct slice patterns[3] = {[ACCESS_WRITE] = slice_of_string(write),
                                      [ACCESS_READ] = slice_of_string(read)};
    return admin_set_topic_permissions(&server, SLICE("/"), slice_of_string(name),
                                       slice_of_string(exchange), patterns, &e);
}

/* --- users --- */

START_TEST(users_come_and_go)
{
    struct client client;
    connect_as(&client, (struct login_as){"alice", "wonderland", "/", false, 0});
    ck_assert_str_eq(hear(&client), "connection.start"); /* a refusal takes its time */
    pass(500);
    ck_assert_str_eq(hear(&client), "connection.close(403)");
    hang_up(&client);

    add_user("alice", "wonderland");
    ck_assert(!admin_add_user(&server, SLICE("alice"), SLICE("x"), SLICE(""), &e));
    ck_assert_int_eq(e.code, ADMIN_EXISTS);
    ck_assert_str_eq(e.text, "user 'alice' already exists");
    connect_as(&client, (struct login_as){"alice", "wonderland", "/", false, 0});
    ck_assert_str_eq(hear(&client), "connection.start connection.tune connection.close(530)");
    ck_assert_str_eq(client.text,
                     "NOT_ALLOWED - access to vhost '/' refused for user 'alice'"); /* K108 */
    hang_up(&client);
    permit("alice", ".*", ".*", ".*");
    enter(&client, "alice", "wonderland");

    /* A password that changes cuts nobody off. */
    ck_assert(admin_change_password(&server, SLICE("alice"), SLICE("glass"), &e));
    declare(&client, "a");
    ck_assert_str_eq(hear(&client), "queue.declare_ok(0)");
    ck_assert(!admin_authenticate_user(&server, SLICE("alice"), SLICE("wonderland"), &e));
    ck_assert_int_eq(e.code, ADMIN_REFUSED);
    ck_assert(admin_authenticate_user(&server, SLICE("alice"), SLICE("glass"), &e));
    ck_assert(admin_clear_password(&server, SLICE("alice"), &e));
    ck_assert(!admin_authenticate_user(&server, SLICE("alice"), SLICE("glass"), &e));
    ck_assert(!admin_authenticate_user(&server, SLICE("alice"), SLICE(""), &e));

    /* K113 */
    struct client other;
    connect_client(&other, false, 0);
    ck_assert(admin_delete_user(&server, SLICE("alice"), &e));
    ck_assert_str_eq(hear(&client), "connection.close(320)");
    ck_assert_str_eq(client.text, "CONNECTION_FORCED - user 'alice' is deleted");
    declare(&other, "b");
    ck_assert_str_eq(hear(&other), "queue.declare_ok(0)");
    ck_assert(!admin_delete_user(&server, SLICE("alice"), &e));
    ck_assert_int_eq(e.code, ADMIN_MISSING);
    ck_assert_str_eq(e.text, "user 'alice' does not exist");
    hang_up(&client);
    hang_up(&other);
    /* A new one of that name has nothing of the old one's. */
    add_user("alice", "x");
    ck_assert_ptr_null(user_permission(user_find(&server.users, SLICE("alice")), SLICE("/")));
}
END_TEST

/* Between login and connection.open, too. */
START_TEST(deleted_before_open)
{
    struct client client = {.link = fakenet_connect(net)};
    struct peer peer = {.host = "127.0.0.1", .peer_host = "127.0.0.1", .loopback = true};
    add_user("bob", "builder");
    client.conn = server_accept(&server, &fakenet_transport, client.link, &peer);
    fakenet_attach(client.link, &client.conn->stream);
    put(&client, "AMQP\0\0\x09\x01", 8);
    struct method m = {.id = METHOD_connection_start_ok};
    m.connection_start_ok.mechanism = SLICE("PLAIN");
    m.connection_start_ok.response = SLICE("\0bob\0builder");
    send(&client, 0, &m);
    ck_assert_str_eq(hear(&client), "connection.start connection.tune");
    ck_assert(admin_delete_user(&server, SLICE("bob"), &e));
    ck_assert_str_eq(hear(&client), "connection.close(320)");
    hang_up(&client);
}
END_TEST

START_TEST(names_and_passwords_are_checked)
{
    char long_name[257];
    memset(long_name, 'n', 256);
    ck_assert(!admin_add_user(&server, SLICE(""), SLICE("x"), SLICE(""), &e));
    ck_assert(!admin_add_user(&server, slice_of(long_name, 256), SLICE("x"), SLICE(""), &e));
    ck_assert(!admin_add_user(&server, SLICE("\xff"), SLICE("x"), SLICE(""), &e));
    ck_assert(!admin_add_user(&server, SLICE("a\0b"), SLICE("x"), SLICE(""), &e));
    ck_assert(!admin_add_user(&server, SLICE("a"), SLICE(""), SLICE(""), &e));
    ck_assert_int_eq(e.code, ADMIN_INVALID);
    ck_assert_str_eq(e.text, "a password may not be blank");
    set("credential_validator.validation_backend", "rabbit_credential_validator_min_password_length");
    set("credential_validator.min_length", "8");
    ck_assert(!admin_add_user(&server, SLICE("a"), SLICE("secret1"), SLICE(""), &e));
    ck_assert_str_eq(e.text, "minimum required password length is 8");
    add_user("a", "secret12");
    set("credential_validator.validation_backend", "rabbit_credential_validator_password_regexp");
    set("credential_validator.regexp", "^[a-z]+[0-9]+$");
    ck_assert(!admin_change_password(&server, SLICE("a"), SLICE("12secret"), &e));
    ck_assert_ptr_nonnull(strstr(e.text, "regular expression"));
    ck_assert_ptr_null(strstr(e.text, "secret"));
    ck_assert(admin_change_password(&server, SLICE("a"), SLICE("secret34"), &e));
    ck_assert(admin_authenticate_user(&server, SLICE("a"), SLICE("secret34"), &e));
}
END_TEST

START_TEST(hashes_come_from_elsewhere)
{
    const struct slice test12 = SLICE("kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR");
    ck_assert(admin_put_user(&server, SLICE("a"), test12, SLICE(""), SLICE("monitoring, administrator"),
                             &e));
    ck_assert(admin_authenticate_user(&server, SLICE("a"), SLICE("test12"), &e));
    ck_assert(user_find(&server.users, SLICE("a"))->administrator);
    ck_assert(!admin_put_user(&server, SLICE("b"), test12, SLICE("rabbit_password_hashing_sha512"),
                              SLICE(""), &e));
    ck_assert_ptr_null(user_find(&server.users, SLICE("b")));
    ck_assert(!admin_put_user(&server, SLICE("b"), test12, SLICE("rabbit_password_hashing_crc"),
                              SLICE(""), &e));
    ck_assert_str_eq(e.text, "unknown hashing algorithm 'rabbit_password_hashing_crc'");
    ck_assert(admin_put_user(&server, SLICE("b"), SLICE(""), SLICE(""), SLICE(""), &e));
    ck_assert(!admin_authenticate_user(&server, SLICE("b"), SLICE(""), &e));
    ck_assert(admin_set_tags(&server, SLICE("a"), SLICE("impersonator"), &e));
    ck_assert(!user_find(&server.users, SLICE("a"))->administrator);
    ck_assert(user_find(&server.users, SLICE("a"))->impersonator);
    char many[100];
    memset(many, ',', sizeof(many));
    for (size_t i = 0; i < sizeof(many); i += 2)
        many[i] = 't';
    ck_assert(!admin_set_tags(&server, SLICE("a"), slice_of(many, sizeof(many)), &e));
    server.users.hashing = PASSWORD_SHA512;
    add_user("c", "geheim");
    ck_assert_uint_eq(user_find(&server.users, SLICE("c"))->password_hash.len, PASSWORD_HASH_MAX);
    ck_assert(admin_authenticate_user(&server, SLICE("c"), SLICE("geheim"), &e));
    ck_assert(!admin_authenticate_user(&server, SLICE("c"), SLICE("geheim2"), &e));
}
END_TEST

/* --- permissions --- */

START_TEST(permissions_hold_from_the_next_operation)
{
    struct client client;
    add_user("alice", "wonderland");
    permit("alice", ".*", ".*", ".*");
    enter(&client, "alice", "wonderland");
    declare(&client, "a");
    ck_assert_str_eq(hear(&client), "queue.declare_ok(0)");
    publish_to(&client, "", "a");
    publish_to(&client, "", "a");
    ck_assert_str_eq(hear(&client), "");
    ck_assert_uint_eq(queue_ready(queue("a")), 2);
    permit("alice", ".*", "^b$", ".*"); /* the exchange was remembered as writable */
    publish_to(&client, "", "a");
    ck_assert_str_eq(hear(&client), "channel.close(403)");
    ck_assert_str_eq(client.text, "ACCESS_REFUSED - access to exchange 'amq.default' in vhost '/' "
                                  "refused for user 'alice'");
    ck_assert_uint_eq(queue_ready(queue("a")), 2);
    open_again(&client);
    permit("alice", ".*", ".*", "");
    publish_to(&client, "", "a");
    struct method m = {.id = METHOD_basic_get};
    m.basic_get.queue = SLICE("a");
    send(&client, 1, &m);
    ck_assert_str_eq(hear(&client), "channel.close(403)");
    ck_assert_uint_eq(queue_ready(queue("a")), 3);
    open_again(&client);
    ck_assert(admin_clear_permissions(&server, SLICE("/"), SLICE("alice"), &e));
    ck_assert(admin_clear_permissions(&server, SLICE("/"), SLICE("alice"), &e));
    publish_to(&client, "", "a");
    ck_assert_str_eq(hear(&client), "channel.close(403)");
    hang_up(&client);

    const struct slice bad[3] = {SLICE(".*"), SLICE("(oops"), SLICE(".*")};
    ck_assert(!admin_set_permissions(&server, SLICE("/"), SLICE("alice"), bad, &e));
    ck_assert_int_eq(e.code, ADMIN_INVALID);
    ck_assert_ptr_nonnull(strstr(e.text, "'(oops' is not a regular expression"));
    ck_assert(!admin_set_permissions(&server, SLICE("nowhere"), SLICE("alice"), everything, &e));
    ck_assert_str_eq(e.text, "virtual host 'nowhere' does not exist");
    ck_assert(!admin_set_permissions(&server, SLICE("/"), SLICE("nobody"), everything, &e));
    ck_assert_str_eq(e.text, "user 'nobody' does not exist");
}
END_TEST

START_TEST(routing_keys_of_topic_exchanges)
{
    struct client client;
    add_user("al.ice", "wonderland");
    permit("al.ice", ".*", ".*", ".*");
    enter(&client, "al.ice", "wonderland");
    declare(&client, "a");
    ck_assert_str_eq(hear(&client), "queue.declare_ok(0)");
    bind_queue(&client, "a", "amq.topic", "any.thing", false);
    ck_assert_str_eq(hear(&client), "queue.bind_ok");
    publish_to(&client, "amq.topic", "any.thing");
    ck_assert_str_eq(hear(&client), "");

    ck_assert_msg(set_topic("al.ice", "amq.topic", "^{username}[.]|^cc$", "^{vhost}news[.]"), "%s", e.text);
    publish_to(&client, "amq.topic", "al.ice.x");
    ck_assert_str_eq(hear(&client), "basic.return");
    publish_to(&client, "amq.topic", "any.thing");
    ck_assert_str_eq(hear(&client), "channel.close(403)");
    ck_assert_str_eq(client.text, "ACCESS_REFUSED - access to topic 'any.thing' in exchange 'amq.topic' "
                                  "in vhost '/' refused for user 'al.ice'");
    open_again(&client);
    publish_to(&client, "amq.topic", "al-ice.x"); /* the name's dot is a dot */
    ck_assert_str_eq(hear(&client), "channel.close(403)");
    open_again(&client);
    publish_to(&client, "amq.direct", "any.thing"); /* only topic exchanges */
    ck_assert_str_eq(hear(&client), "basic.return");
    bind_queue(&client, "a", "amq.topic", "/news.x", false);
    ck_assert_str_eq(hear(&client), "queue.bind_ok");
    bind_queue(&client, "a", "amq.topic", "other", false);
    ck_assert_str_eq(hear(&client), "channel.close(403)");
    open_again(&client);
    bind_queue(&client, "a", "amq.topic", "any.thing", true);
    ck_assert_str_eq(hear(&client), "channel.close(403)");
    open_again(&client);

    ck_assert(!set_topic("al.ice", "amq.topic", "(", ""));
    ck_assert(set_topic("al.ice", "other", "", ""));
    ck_assert(admin_clear_topic_permissions(&server, SLICE("/"), SLICE("al.ice"), SLICE("amq.topic"), &e));
    publish_to(&client, "amq.topic", "any.thing");
    ck_assert_str_eq(hear(&client), "");
    ck_assert_uint_eq(user_find(&server.users, SLICE("al.ice"))->topic_permissions.size, 1);
    for (int i = 0; i < 50; i++) {
        char name[20];
        snprintf(name, sizeof(name), "x%d", i);
        ck_assert(set_topic("al.ice", name, "a", "b"));
    }
    ck_assert(admin_clear_topic_permissions(&server, SLICE("/"), SLICE("al.ice"), SLICE(""), &e));
    ck_assert_uint_eq(user_find(&server.users, SLICE("al.ice"))->topic_permissions.size, 0);
    hang_up(&client);
}
END_TEST

/* CC and BCC are routing keys, too. */
START_TEST(routing_keys_in_headers)
{
    struct client client;
    add_user("alice", "wonderland");
    permit("alice", ".*", ".*", ".*");
    ck_assert(set_topic("alice", "amq.topic", "^mine", ""));
    enter(&client, "alice", "wonderland");
    for (int i = 0; i < 2; i++) {
        struct buf out = {0}, array = {0}, headers = {0}, header = {0};
        const char *key = i ? "mine.too" : "theirs";
        uint8_t head[] = {0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x20, 0};
        uint8_t size[4] = {0, 0, 0, (uint8_t)strlen(key)};
        buf_append(&array, "S", 1);
        buf_append(&array, size, 4);
        buf_append(&array, key, strlen(key));
        buf_append(&headers, "\x02" "CCA", 4);
        size[3] = (uint8_t)array.len;
        buf_append(&headers, size, 4);
        buf_append_slice(&headers, buf_slice(&array));
        buf_append(&header, head, sizeof(head));
        size[3] = (uint8_t)headers.len;
        buf_append(&header, size, 4);
        buf_append_slice(&header, buf_slice(&headers));
        struct method m = {.id = METHOD_basic_publish};
        m.basic_publish.exchange = SLICE("amq.topic");
        m.basic_publish.routing_key = SLICE("mine");
        add_method(&out, 1, &m);
        add_frame(&out, FRAME_HEADER, 1, buf_slice(&header));
        flush(&client, &out);
        ck_assert_str_eq(hear(&client), i ? "" : "channel.close(403)");
        if (i == 0)
            open_again(&client);
        buf_free(&array);
        buf_free(&headers);
        buf_free(&header);
    }
    hang_up(&client);
}
END_TEST

/* --- limits --- */

START_TEST(limits_of_users)
{
    struct client first, second;
    add_user("alice", "wonderland");
    permit("alice", ".*", ".*", ".*");
    ck_assert(admin_set_user_limits(&server, SLICE("alice"), SLICE("{\"max-connections\": 1}"), &e));
    ck_assert(admin_set_user_limits(&server, SLICE("alice"), SLICE("{\"max-channels\": 2}"), &e));
    enter(&first, "alice", "wonderland");
    connect_as(&second, (struct login_as){"alice", "wonderland", "/", false, 0});
    ck_assert_str_eq(hear(&second), "connection.start connection.tune connection.close(530)");
    ck_assert_str_eq(second.text, "NOT_ALLOWED - connection refused for user 'alice': user connection "
                                  "limit (1) is reached");
    hang_up(&second);
    ck_assert(admin_set_user_limits(&server, SLICE("alice"), SLICE("{\"max-connections\": -1}"), &e));
    enter(&second, "alice", "wonderland"); /* that is two channels in all */
    send(&second, 2, &(struct method){.id = METHOD_channel_open});
    ck_assert_str_eq(hear(&second), "connection.close(530)");
    ck_assert_str_eq(second.text, "NOT_ALLOWED - number of channels opened for user 'alice' has reached the "
                                  "maximum allowed user limit of (2)");
    send(&second, 0, &(struct method){.id = METHOD_connection_close_ok});
    hang_up(&second);
    send(&first, 2, &(struct method){.id = METHOD_channel_open});
    ck_assert_str_eq(hear(&first), "channel.open_ok");
    ck_assert(admin_clear_user_limits(&server, SLICE("alice"), SLICE("max-channels"), &e));
    send(&first, 3, &(struct method){.id = METHOD_channel_open});
    ck_assert_str_eq(hear(&first), "channel.open_ok");
    ck_assert_uint_eq(user_find(&server.users, SLICE("alice"))->channel_count, 3);
    hang_up(&first);
    ck_assert_uint_eq(user_find(&server.users, SLICE("alice"))->channel_count, 0);
    ck_assert_uint_eq(user_find(&server.users, SLICE("alice"))->connection_count, 0);
    ck_assert(!admin_clear_user_limits(&server, SLICE("alice"), SLICE("max-queues"), &e));
    const char *const bad[] = {"", "[]", "{\"max-queues\": 1}", "{\"max-channels\": \"1\"}", "{",
                               "{\"max-channels\": 1.5}"};
    for (size_t i = 0; i < array_size(bad); i++)
        ck_assert(!admin_set_user_limits(&server, SLICE("alice"), slice_of_string(bad[i]), &e));
    /* 0 lets nobody in. */
    ck_assert(admin_set_user_limits(&server, SLICE("alice"), SLICE("{\"max-connections\": 0}"), &e));
    connect_as(&first, (struct login_as){"alice", "wonderland", "/", false, 0});
    ck_assert_str_eq(hear(&first), "connection.start connection.tune connection.close(530)");
    hang_up(&first);
}
END_TEST

START_TEST(limits_of_vhosts)
{
    struct client first, second;
    ck_assert(admin_set_vhost_limits(&server, SLICE("/"),
                                     SLICE("{\"max-connections\": 1, \"max-queues\": 1}"), &e));
    connect_client(&first, false, 0);
    connect_as(&second, (struct login_as){"guest", "guest", "/", false, 0});
    ck_assert_str_eq(hear(&second), "connection.start connection.tune connection.close(530)");
    ck_assert_str_eq(second.text, "NOT_ALLOWED - access to vhost '/' refused for user 'guest': connection "
                                  "limit (1) is reached");
    hang_up(&second);
    declare(&first, "a");
    declare(&first, "a"); /* K115: there already */
    ck_assert_str_eq(hear(&first), "queue.declare_ok(0) queue.declare_ok(0)");
    declare(&first, "b");
    ck_assert_str_eq(hear(&first), "channel.close(406)");
    ck_assert_str_eq(first.text, "PRECONDITION_FAILED - cannot declare queue 'b': queue limit in vhost '/' "
                                 "(1) is reached");
    open_again(&first);
    ck_assert(admin_set_vhost_limit(&server, SLICE("/"), SLICE("max-queues"), 2, &e));
    declare(&first, "b");
    ck_assert_str_eq(hear(&first), "queue.declare_ok(0)");
    ck_assert(admin_clear_vhost_limits(&server, SLICE("/"), &e));
    declare(&first, "c");
    ck_assert_str_eq(hear(&first), "queue.declare_ok(0)");
    connect_client(&second, false, 0);
    hang_up(&first);
    hang_up(&second);
    ck_assert_uint_eq(server_find_vhost(&server, SLICE("/"))->connection_count, 0);
}
END_TEST

/* --- vhosts --- */

START_TEST(vhosts_come_and_go)
{
    struct client inside, outside;
    ck_assert(admin_add_vhost(&server, SLICE("v"), SLICE("{\"description\":\"d\"}"), &e));
    ck_assert(!admin_add_vhost(&server, SLICE("v"), SLICE(""), &e));
    ck_assert_str_eq(e.text, "virtual host 'v' already exists");
    ck_assert(!admin_add_vhost(&server, SLICE("w"), SLICE("[]"), &e));
    ck_assert(admin_set_permissions(&server, SLICE("v"), SLICE("guest"), everything, &e));
    connect_client(&outside, false, 0);
    connect_as(&inside, (struct login_as){"guest", "guest", "v", false, 0});
    ck_assert_str_eq(hear(&inside), welcome);
    for (int i = 0; i < 40; i++) {
        char name[20];
        snprintf(name, sizeof(name), "q%d", i);
        struct method m = {.id = METHOD_queue_declare};
        m.queue_declare.queue = slice_of_string(name);
        m.queue_declare.durable = i % 2;
        m.queue_declare.exclusive = i % 3 == 0;
        send(&inside, 1, &m);
        m = (struct method){.id = METHOD_exchange_declare};
        m.exchange_declare.exchange = slice_of_string(name);
        m.exchange_declare.type = SLICE("topic");
        m.exchange_declare.auto_delete = i % 2;
        m.exchange_declare.durable = true;
        send(&inside, 1, &m);
        bind_queue(&inside, name, name, "#", false);
        publish_to(&inside, name, "k");
    }
    hear(&inside);
    consume(&inside, "q1");
    send(&inside, 1, &(struct method){.id = METHOD_tx_select});
    publish_to(&inside, "q1", "k");
    hear(&inside);
    ck_assert(admin_delete_vhost(&server, SLICE("v"), &e));
    ck_assert_str_eq(hear(&inside), "connection.close(320)"); /* K114 */
    ck_assert_str_eq(inside.text, "CONNECTION_FORCED - vhost 'v' is deleted");
    ck_assert_ptr_null(server_find_vhost(&server, SLICE("v")));
    ck_assert_ptr_null(user_permission(user_find(&server.users, SLICE("guest")), SLICE("v")));
    declare(&outside, "still-here");
    ck_assert_str_eq(hear(&outside), "queue.declare_ok(0)");
    send(&inside, 0, &(struct method){.id = METHOD_connection_close_ok});
    hang_up(&inside);
    hang_up(&outside);
    ck_assert(!admin_delete_vhost(&server, SLICE("v"), &e));
    ck_assert_int_eq(e.code, ADMIN_MISSING);
    /* The same name anew is empty. */
    ck_assert(admin_add_vhost(&server, SLICE("v"), SLICE(""), &e));
    ck_assert_uint_eq(server_find_vhost(&server, SLICE("v"))->queues.size, 0);
}
END_TEST

START_TEST(a_vhost_goes_in_slices)
{
    enum { QUEUES = 2000, TURN = 512 };
    ck_assert(admin_add_vhost(&server, SLICE("v"), SLICE(""), &e));
    struct vhost *v = server_find_vhost(&server, SLICE("v"));
    for (int i = 0; i < QUEUES; i++) {
        char name[20];
        snprintf(name, sizeof(name), "q%d", i);
        struct queue_properties properties = {0};
        vhost_add_queue(v, slice_of_string(name), &properties, true);
    }
    run();
    ck_assert(admin_delete_vhost(&server, SLICE("v"), &e));
    for (size_t left = QUEUES - TURN; left > TURN; left -= TURN) {
        ck_assert_uint_eq(v->queues.size, left);
        ck_assert(!admin_add_vhost(&server, SLICE("v"), SLICE(""), &e));
        server_act(&server);
    }
    run();
    ck_assert(admin_add_vhost(&server, SLICE("v"), SLICE(""), &e));
}
END_TEST

/* Deletes the vhost v under a client of it, whom the server has closed already, or not. */
static void delete_under(struct client *client)
{
    ck_assert(admin_delete_vhost(&server, SLICE("v"), &e));
    ck_assert_str_eq(client->text, "CHANNEL_ERROR - unexpected method in connection state running");
    ck_assert_int_eq(client->conn->state, CONNECTION_CLOSING);
    ck_assert_ptr_null(client->conn->vhost);
    run();
    ck_assert_ptr_null(map_get(&server.vhosts, SLICE("v")));
    hang_up(client);
}

/* It is there for some seconds more, and is listed, when its vhost is gone. */
START_TEST(who_is_closing_is_in_no_vhost)
{
    struct client client;
    ck_assert(admin_add_vhost(&server, SLICE("v"), SLICE(""), &e));
    ck_assert(admin_set_permissions(&server, SLICE("v"), SLICE("guest"), everything, &e));
    connect_as(&client, (struct login_as){"guest", "guest", "v", false, 0});
    ck_assert_str_eq(hear(&client), welcome);
    send(&client, 0, &(struct method){.id = METHOD_connection_start_ok});
    ck_assert_str_eq(hear(&client), "connection.close(504)");
    delete_under(&client);
}
END_TEST

/* What it was handed goes back in many turns, and needs the vhost until then. */
START_TEST(a_vhost_goes_under_who_holds_much)
{
    enum { MESSAGES = 200 };
    struct client client;
    ck_assert(admin_add_vhost(&server, SLICE("v"), SLICE(""), &e));
    ck_assert(admin_set_permissions(&server, SLICE("v"), SLICE("guest"), everything, &e));
    for (int closes_first = 0; closes_first < 2; closes_first++) {
        connect_as(&client, (struct login_as){"guest", "guest", "v", false, 0});
        ck_assert_str_eq(hear(&client), welcome);
        declare(&client, "q");
        publish(&client, "q", 10, MESSAGES);
        ck_assert_str_eq(hear(&client), "queue.declare_ok(0)");
        consume(&client, "q");
        hear(&client);
        ck_assert_uint_eq(client.deliveries, MESSAGES);
        server.giving.turn_max = 8;
        run(); /* that much room is in a turn from now on */
        struct buf out = {0};
        add_method(&out, 0, &(struct method){.id = METHOD_connection_start_ok});
        if (closes_first) { /* taken, but its turn is not over when the vhost goes */
            put(&client, out.at, out.len);
            fakenet_pump(net, &server.net);
            ck_assert_int_eq(client.conn->state, CONNECTION_CLOSING);
        }
        buf_free(&out);
        struct vhost *v = server_find_vhost(&server, SLICE("v"));
        ck_assert(admin_delete_vhost(&server, SLICE("v"), &e));
        ck_assert_uint_eq(v->detached, 1);
        ck_assert_ptr_eq(client.conn->vhost, v);
        ck_assert(!admin_add_vhost(&server, SLICE("v"), SLICE(""), &e));
        ck_assert_str_eq(e.text, "virtual host 'v' is being deleted");
        run();
        ck_assert_ptr_null(client.conn->vhost);
        ck_assert_str_eq(hear(&client), closes_first ? "connection.close(504)" : "connection.close(320)");
        hang_up(&client);
        server.giving.turn_max = GIVEBACK_TURN;
        ck_assert(admin_add_vhost(&server, SLICE("v"), SLICE(""), &e));
        ck_assert(admin_set_permissions(&server, SLICE("v"), SLICE("guest"), everything, &e));
    }
}
END_TEST

/* --- what is on disk --- */

static void restart(void)
{
    run();
    server_close(&server);
    static const struct probe probe = {memory_used, memory_total, disk_free, NULL};
    struct server_options options = {.config = &config,
                                     .clock = {monotonic_ns, wall_us, NULL},
                                     .rand = rand_seeded(8),
                                     .io = fakedisk_io(disk),
                                     .probe = &probe,
                                     .simulated = true};
    ck_assert(server_open(&server, &options));
}

START_TEST(everything_is_there_after_a_restart)
{
    server.users.hashing = PASSWORD_SHA512;
    add_user("alice", "wonderland");
    add_user("gone", "wonderland");
    ck_assert(admin_set_tags(&server, SLICE("alice"), SLICE("management,impersonator"), &e));
    ck_assert(admin_set_user_limits(&server, SLICE("alice"),
                                    SLICE("{\"max-connections\": 7, \"max-channels\": -1}"), &e));
    ck_assert(admin_add_vhost(&server, SLICE("v"), SLICE("{\"tags\":[\"t\"]}"), &e));
    ck_assert(admin_add_vhost(&server, SLICE("gone"), SLICE(""), &e));
    ck_assert(admin_set_permissions(&server, SLICE("gone"), SLICE("alice"), everything, &e));
    ck_assert(admin_set_vhost_limits(&server, SLICE("gone"), SLICE("{\"max-queues\": 9}"), &e));
    ck_assert(admin_set_vhost_limits(&server, SLICE("v"), SLICE("{\"max-queues\": 9}"), &e));
    permit("alice", "^a", "^b", "^c");
    permit("gone", "^a", "^b", "^c");
    ck_assert(set_topic("alice", "amq.topic", "^w", "^r"));
    ck_assert(set_topic("gone", "amq.topic", "^w", "^r"));
    ck_assert(admin_delete_user(&server, SLICE("gone"), &e));
    ck_assert(admin_delete_vhost(&server, SLICE("gone"), &e));
    restart();
    const struct user *alice = user_find(&server.users, SLICE("alice"));
    ck_assert_ptr_nonnull(alice);
    ck_assert(admin_authenticate_user(&server, SLICE("alice"), SLICE("wonderland"), &e));
    ck_assert(alice->impersonator && slice_is(alice->tags, "management,impersonator"));
    ck_assert_uint_eq(alice->limits.max[LIMIT_CONNECTIONS], 7);
    ck_assert_uint_eq(alice->limits.max[LIMIT_CHANNELS], UNLIMITED);
    ck_assert(slice_is(user_permission(alice, SLICE("/"))->source[ACCESS_WRITE], "^b"));
    ck_assert_ptr_null(user_permission(alice, SLICE("gone")));
    const struct topic_permission *topic =
        user_topic_permission(alice, SLICE("/"), SLICE("amq.topic"));
    ck_assert(topic && slice_is(topic->source[ACCESS_READ], "^r"));
    const struct vhost *v = server_find_vhost(&server, SLICE("v"));
    ck_assert(v && slice_is(v->metadata, "{\"tags\":[\"t\"]}"));
    ck_assert_uint_eq(v->limits.max[LIMIT_QUEUES], 9);
    ck_assert_ptr_null(server_find_vhost(&server, SLICE("gone")));
    ck_assert_ptr_null(user_find(&server.users, SLICE("gone")));
    ck_assert(user_find(&server.users, SLICE("guest"))->loopback_only);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {users_come_and_go,
                                  deleted_before_open,
                                  names_and_passwords_are_checked,
                                  hashes_come_from_elsewhere,
                                  permissions_hold_from_the_next_operation,
                                  routing_keys_of_topic_exchanges,
                                  routing_keys_in_headers,
                                  limits_of_users,
                                  limits_of_vhosts,
                                  vhosts_come_and_go, a_vhost_goes_in_slices,
                                  who_is_closing_is_in_no_vhost, a_vhost_goes_under_who_holds_much,
                                  everything_is_there_after_a_restart};
    return run_suite("admin", tests, array_size(tests), NULL, 0);
}
