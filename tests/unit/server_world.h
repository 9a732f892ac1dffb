/* server_world.h - for tests of broker/: a whole server on a network and a disk in memory, with a clock
 * and figures of memory and disk that the test sets, and clients that say what they heard in words. */
#ifndef TESTS_UNIT_SERVER_WORLD_H
#define TESTS_UNIT_SERVER_WORLD_H

#include <check.h>
#include <stdlib.h>

#include "broker/channel.h"
#include "protocol/table.h"
#include "tests/sim/fakedisk.h"
#include "tests/sim/fakenet.h"
#include "tests/unit/suite.h"

enum { MB = 1000000, PIPE_BYTES = 64 * 1024, BODY_MAX = 32 * 1024 };

static struct server server;
static struct config config;
static struct fakenet *net;
static struct fakedisk *disk;
static uint64_t now_ns, used, free_bytes, looks;

struct client {
    struct fakenet_link *link;
    struct connection *conn; /* while the server has it */
    struct buf in, heard;
    unsigned heartbeats;
    uint64_t last_tag, deliveries;
    char text[256]; /* of the last close */
};

/* --- the world --- */

static inline uint64_t monotonic_ns(void *arg)
{
    (void)arg;
    return now_ns;
}

static inline uint64_t wall_us(void *arg)
{
    (void)arg;
    return 1700000000000000 + now_ns / 1000;
}

static inline uint64_t memory_used(void *arg)
{
    (void)arg;
    looks++;
    return used;
}

static inline uint64_t memory_total(void *arg)
{
    (void)arg;
    return 1000 * MB;
}

static inline uint64_t disk_free(void *arg)
{
    (void)arg;
    return free_bytes;
}

static inline void set(const char *key, const char *value)
{
    char error[512];
    ck_assert_msg(config_set(&config, key, value, "test", error, sizeof(error)), "%s", error);
}

static inline void open_server(void)
{
    static const struct probe probe = {memory_used, memory_total, disk_free, NULL};
    struct server_options options = {.config = &config,
                                     .clock = {monotonic_ns, wall_us, NULL},
                                     .rand = rand_seeded(7),
                                     .io = fakedisk_io(disk),
                                     .probe = &probe,
                                     .simulated = true};
    ck_assert(server_open(&server, &options));
}

static inline void start(void)
{
    used = 100 * MB, free_bytes = 1000 * MB, looks = 0;
    now_ns = 1000000000;
    config_defaults(&config);
    set("data_dir", "data");
    set("log.console", "false");
    set("connection_unacked_max", "65536");
    net = fakenet_new(NULL, PIPE_BYTES);
    disk = fakedisk_new(7);
    open_server();
}

static inline void stop(void)
{
    server_close(&server);
    fakenet_free(&net);
    fakedisk_free(&disk);
}

/* Turns until nothing happens any more. */
static inline void run(void)
{
    for (int quiet = 0; quiet < 3;) {
        bool busy = fakenet_pump(net, &server.net) || !net_is_idle(&server.net);
        quiet = busy || giveback_is_busy(&server.giving) ? 0 : quiet + 1;
        server_act(&server);
        store_sync_now(server.store);
    }
}

static inline void pass(uint64_t ms)
{
    for (uint64_t step; ms > 0; ms -= step) {
        step = ms < 100 ? ms : 100;
        now_ns += step * 1000000;
        run();
    }
}

/* --- a client --- */

static inline void put(struct client *client, const void *bytes, size_t size)
{
    for (size_t done = 0; done < size;) {
        size_t part = fakenet_client_write(client->link, (const uint8_t *)bytes + done, size - done);
        ck_assert_msg(part > 0, "the server does not read");
        done += part;
        if (done < size)
            run();
    }
}

static inline void add_frame(struct buf *out, enum frame_type type, uint16_t channel, struct slice payload)
{
    uint8_t head[FRAME_HEAD_SIZE], end = FRAME_END;
    frame_write_head(head, type, channel, (uint32_t)payload.len);
    buf_append(out, head, sizeof(head));
    buf_append_slice(out, payload);
    buf_append(out, &end, 1);
}

static inline void add_method(struct buf *out, uint16_t channel, const struct method *m)
{
    uint8_t room[4096];
    struct writer w = writer_of(room, sizeof(room));
    method_encode(&w, m);
    ck_assert(!w.bad);
    add_frame(out, FRAME_METHOD, channel, slice_of(room, (size_t)(w.at - room)));
}

enum { PERSISTENT = 2 }; /* delivery_mode */

/* basic.publish with `delivery_mode` as its only property; 0 is none. */
static inline void add_publish_as(struct buf *out, const char *queue, size_t body_size, uint8_t delivery_mode)
{
    static const uint8_t body[BODY_MAX];
    uint8_t header[15];
    struct writer w = writer_of(header, sizeof(header));
    struct method m = {.id = METHOD_basic_publish};
    m.basic_publish.routing_key = slice_of_string(queue);
    add_method(out, 1, &m);
    write_u32(&w, METHOD_basic_publish >> 16 << 16);
    write_u64(&w, body_size);
    write_u16(&w, delivery_mode ? 0x1000 : 0);
    if (delivery_mode)
        write_u8(&w, delivery_mode);
    add_frame(out, FRAME_HEADER, 1, slice_of(header, (size_t)(w.at - header)));
    if (body_size)
        add_frame(out, FRAME_BODY, 1, slice_of(body, body_size));
}

static inline void add_publish(struct buf *out, const char *queue, size_t body_size)
{
    add_publish_as(out, queue, body_size, 0);
}

static inline void flush(struct client *client, struct buf *out)
{
    put(client, out->at, out->len);
    buf_free(out);
    *out = (struct buf){0};
    run();
}

static inline void send(struct client *client, uint16_t channel, const struct method *m)
{
    struct buf out = {0};
    add_method(&out, channel, m);
    flush(client, &out);
}

/* `count` messages in one breath. */
static inline void publish(struct client *client, const char *queue, size_t body_size, int count)
{
    struct buf out = {0};
    for (int i = 0; i < count; i++)
        add_publish(&out, queue, body_size);
    flush(client, &out);
}

static inline void note(struct client *client, const struct method *m)
{
    if (m->id == METHOD_basic_deliver || m->id == METHOD_basic_get_ok) {
        client->deliveries++;
        client->last_tag = m->id == METHOD_basic_deliver ? m->basic_deliver.delivery_tag
                                                         : m->basic_get_ok.delivery_tag;
        return;
    }
    buf_printf(&client->heard, "%s%s", client->heard.len ? " " : "", method_name(m->id));
    if (m->id == METHOD_connection_blocked)
        buf_printf(&client->heard, "(%.*s)", SLICE_ARG(m->connection_blocked.reason));
    if (m->id == METHOD_connection_close || m->id == METHOD_channel_close) {
        struct slice text = m->id == METHOD_channel_close ? m->channel_close.reply_text
                                                          : m->connection_close.reply_text;
        snprintf(client->text, sizeof(client->text), "%.*s", SLICE_ARG(text));
    }
    if (m->id == METHOD_connection_close)
        buf_printf(&client->heard, "(%u)", m->connection_close.reply_code);
    if (m->id == METHOD_channel_close)
        buf_printf(&client->heard, "(%u)", m->channel_close.reply_code);
    if (m->id == METHOD_queue_declare_ok)
        buf_printf(&client->heard, "(%u)", m->queue_declare_ok.message_count);
}

static inline void take_frames(struct client *client)
{
    struct frame frame;
    struct fault f;
    size_t used_bytes;
    while (client->in.len &&
           frame_cut(buf_slice(&client->in), 131072, &frame, &used_bytes, &f) == FRAME_COMPLETE) {
        struct method m;
        if (frame.type == FRAME_METHOD) {
            ck_assert(method_decode(frame.payload, &m, &f));
            note(client, &m);
        }
        client->heartbeats += frame.type == FRAME_HEARTBEAT;
        buf_consume(&client->in, used_bytes);
    }
}

/* What came since the last time: the names of methods; deliveries and heartbeats are only counted. */
static inline const char *hear(struct client *client)
{
    static char text[8192];
    client->heard.len = 0;
    for (;;) {
        run();
        uint8_t *room = buf_reserve(&client->in, PIPE_BYTES);
        size_t got = fakenet_client_read(client->link, room, PIPE_BYTES);
        client->in.len += got;
        take_frames(client);
        if (got == 0)
            break;
    }
    ck_assert_uint_lt(client->heard.len, sizeof(text));
    memcpy(text, client->heard.at, client->heard.len);
    text[client->heard.len] = 0;
    return text;
}

/* How a client presents itself. */
struct login_as {
    const char *user, *password, *vhost;
    bool capable; /* of connection.blocked */
    uint16_t heartbeat_s;
};

/* Up to connection.open and channel 1; what came of it is to be heard. */
static inline void connect_as(struct client *client, struct login_as as)
{
    struct peer peer = {.host = "127.0.0.1", .peer_host = "127.0.0.1", .loopback = true};
    struct buf capabilities = {0}, properties = {0}, response = {0};
    *client = (struct client){.link = fakenet_connect(net)};
    client->conn = server_accept(&server, &fakenet_transport, client->link, &peer);
    fakenet_attach(client->link, &client->conn->stream);
    put(client, "AMQP\0\0\x09\x01", 8);
    table_put_bool(&capabilities, "connection.blocked", as.capable);
    table_put_bool(&capabilities, "authentication_failure_close", true);
    buf_printf(&response, "%c%s%c%s", 0, as.user, 0, as.password);
    table_put_table(&properties, "capabilities", buf_slice(&capabilities));
    struct method m = {.id = METHOD_connection_start_ok};
    m.connection_start_ok.client_properties = buf_slice(&properties);
    m.connection_start_ok.mechanism = SLICE("PLAIN");
    m.connection_start_ok.response = buf_slice(&response);
    m.connection_start_ok.locale = SLICE("en_US");
    send(client, 0, &m);
    buf_free(&capabilities);
    buf_free(&properties);
    buf_free(&response);
    m = (struct method){.id = METHOD_connection_tune_ok};
    m.connection_tune_ok.channel_max = 2047;
    m.connection_tune_ok.frame_max = 131072;
    m.connection_tune_ok.heartbeat = as.heartbeat_s;
    send(client, 0, &m);
    m = (struct method){.id = METHOD_connection_open};
    m.connection_open.virtual_host = slice_of_string(as.vhost);
    send(client, 0, &m);
    send(client, 1, &(struct method){.id = METHOD_channel_open});
}

static inline void connect_client(struct client *client, bool capable, uint16_t heartbeat_s)
{
    connect_as(client, (struct login_as){"guest", "guest", "/", capable, heartbeat_s});
    ck_assert_str_eq(hear(client), "connection.start connection.tune connection.open_ok channel.open_ok");
}

static inline void hang_up(struct client *client)
{
    fakenet_client_close(&client->link);
    buf_free(&client->in);
    buf_free(&client->heard);
    run();
}

static inline void declare(struct client *client, const char *queue)
{
    struct method m = {.id = METHOD_queue_declare};
    m.queue_declare.queue = slice_of_string(queue);
    send(client, 1, &m);
}

static inline void consume(struct client *client, const char *queue)
{
    struct method m = {.id = METHOD_basic_consume};
    m.basic_consume.queue = slice_of_string(queue);
    send(client, 1, &m);
    ck_assert_str_eq(hear(client), "basic.consume_ok");
}

static inline void ack(struct client *client, uint64_t tag)
{
    struct method m = {.id = METHOD_basic_ack};
    m.basic_ack.delivery_tag = tag;
    m.basic_ack.multiple = true;
    send(client, 1, &m);
}

static inline struct queue *queue(const char *name)
{
    struct queue *q = vhost_find_queue(server_find_vhost(&server, SLICE("/")), slice_of_string(name));
    ck_assert_ptr_nonnull(q);
    return q;
}

/* Runs the tests, each in a server of its own unless it is one of `pure`. */
static inline int run_suite(const char *name, const TTest *const *tests, size_t count,
                            const TTest *const *pure, size_t pure_count)
{
    Suite *suite = suite_create(name);
    TCase *bare = tcase_create("pure"), *whole = tcase_create("server");
    tcase_add_checked_fixture(whole, start, stop);
    for (size_t i = 0; i < pure_count; i++)
        tcase_add_test(bare, pure[i]);
    for (size_t i = 0; i < count; i++)
        tcase_add_test(whole, tests[i]);
    suite_add_tcase(suite, bare);
    suite_add_tcase(suite, whole);
    return suite_run(suite);
}

#endif
