/* house.h - a whole server in memory with two guests, for targets that come through its socket layer. */
#ifndef TESTS_FUZZ_HOUSE_H
#define TESTS_FUZZ_HOUSE_H

#include "base/assert.h"
#include "base/mem.h"
#include "broker/channel.h"
#include "tests/fuzz/fuzz.h"
#include "tests/sim/fakedisk.h"
#include "tests/sim/fakenet.h"
#include "tests/sim/invariants.h"

#define HEADER "AMQP\0\0\x09\x01"
#define LOGIN                                                                                                \
    "\1\0\0\0\0\0\x24\0\x0a\0\x0b\0\0\0\0\x05PLAIN\0\0\0\x0c\0guest\0guest\x05" "en_US\xce"
#define TUNE "\1\0\0\0\0\0\x0c\0\x0a\0\x1f\x07\xff\0\2\0\0\0\5\xce"
#define OPEN "\1\0\0\0\0\0\x08\0\x0a\0\x28\1/\0\0\xce\1\0\1\0\0\0\x05\0\x14\0\x0a\0\xce"
#define DECLARE "\1\0\1\0\0\0\x0d\0\x32\0\x0a\0\0\1q\0\0\0\0\0\xce"

struct guest {
    struct fakenet_link *link;
    uint64_t id; /* of its connection */
    bool logs_in;
};

struct house {
    struct config config;
    struct server server;
    struct fakenet *net;
    struct fakedisk *disk;
    uint64_t now_ns;
    struct guest guests[2];
};

static inline uint64_t monotonic_ns(void *arg)
{
    return *(uint64_t *)arg;
}

static inline uint64_t wall_us(void *arg)
{
    return 1700000000000000 + *(uint64_t *)arg / 1000;
}

static inline void turn(struct house *h)
{
    fakenet_pump(h->net, &h->server.net);
    server_act(&h->server);
    store_sync_now(h->server.store);
    invariants_check(&h->server, true);
}

static inline void send(struct house *h, struct guest *guest, const void *bytes, size_t size)
{
    fakenet_client_write(guest->link, bytes, size); /* what does not fit is lost: it is rubbish anyway */
    turn(h);
}

/* NULL when the server has it no more. */
static inline struct connection *connection_of(struct house *h, const struct guest *guest)
{
    list_each(node, &h->server.connections) {
        struct connection *conn = container_of(node, struct connection, link);
        if (conn->id == guest->id)
            return conn;
    }
    return NULL;
}

/* False when it should have been logged in, and was not. */
static inline bool enter(struct house *h, struct guest *guest)
{
    static const char login[] = HEADER LOGIN TUNE OPEN DECLARE;
    struct peer peer = {.host = "127.0.0.1", .peer_host = "127.0.0.1", .loopback = true};
    guest->link = fakenet_connect(h->net);
    struct connection *conn = server_accept(&h->server, &fakenet_transport, guest->link, &peer);
    fakenet_attach(guest->link, &conn->stream);
    guest->id = conn->id;
    if (!guest->logs_in)
        return true;
    send(h, guest, login, sizeof(login) - 1);
    turn(h);
    conn = connection_of(h, guest);
    return conn && conn->state == CONNECTION_OPEN && conn->channels.size == 1;
}

static inline void leave(struct house *h, struct guest *guest, bool reset)
{
    if (reset)
        fakenet_client_reset(guest->link);
    fakenet_client_close(&guest->link);
    turn(h);
}

static inline void start_server(struct house *h)
{
    struct server_options options = {.config = &h->config,
                                     .clock = {monotonic_ns, wall_us, &h->now_ns},
                                     .rand = rand_seeded(7),
                                     .io = fakedisk_io(h->disk),
                                     .simulated = true};
    bool good = server_open(&h->server, &options);
    assertf(good, "the server does not start");
}

static inline void open_house(struct house *h)
{
    char error[256];
    *h = (struct house){.now_ns = 1000000000};
    config_defaults(&h->config);
    bool good = config_set(&h->config, "log.console", "false", "fuzz", error, sizeof(error));
    assertf(good, "%s", error);
    h->net = fakenet_new(NULL, 64 * 1024);
    h->disk = fakedisk_new(7);
    start_server(h);
}

/* What was not synced is lost; the guests are outside. */
static inline void crash(struct house *h)
{
    server_abandon(&h->server);
    for (size_t i = 0; i < array_size(h->guests); i++)
        fakenet_client_close(&h->guests[i].link);
    fakedisk_crash(h->disk, FAKEDISK_LOSE_ALL);
    start_server(h);
}

static inline void close_house(struct house *h)
{
    for (size_t i = 0; i < array_size(h->guests); i++)
        leave(h, &h->guests[i], false);
    for (int i = 0; i < 100 && !list_empty(&h->server.connections); i++) {
        h->now_ns += UINT64_C(1000000000);
        turn(h);
    }
    assertf(list_empty(&h->server.connections), "a connection stays when its client has gone");
    server_close(&h->server);
    fakenet_free(&h->net);
    fakedisk_free(&h->disk);
}

/* --- the input --- */

/* The next octet of the input; 0 behind its end. */
static inline uint8_t take(struct slice *in)
{
    if (in->len == 0)
        return 0;
    *in = slice_of(in->at + 1, in->len - 1);
    return in->at[-1];
}

static inline struct slice take_some(struct slice *in, size_t size)
{
    struct slice some = slice_of(in->at, size < in->len ? size : in->len);
    *in = slice_of(in->at + some.len, in->len - some.len);
    return some;
}

#endif
