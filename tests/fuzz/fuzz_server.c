/* fuzz_server.c - the whole server through its socket layer: two connections send any bytes in any
 * pieces, are read or not, break off, and time passes. The invariants hold after every step, nothing is
 * left at the end.
 *
 * An input is a list of steps. The first octet says which of the two connections begin logged in, with
 * channel 1 open and a queue "q" declared; each step is an octet and what it wants:
 *     bit 0       the connection
 *     bits 1-3    0, 1: raw octets (u8 how many); 2-4: a well-formed frame (u8 type, u8 channel,
 *                 u8 how many); 5: what the server said is read; 6: u8 tenths of a second pass; 7: the
 *                 connection breaks off, and begins anew as the first octet says */
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

/* Steps of the seeds: a frame of connection 0 or 1. */
#define FRAME0(type, size) "\x04" type "\1" size
#define FRAME1(type, size) "\x05" type "\1" size

const struct slice fuzz_seeds[] = {
    /* publish with its content, and consume on the other side, acked */
    FUZZ_SEED("\3" FRAME1("\1", "\x0f") "\0\x3c\0\x14\0\0\1q\1t\0\0\0\0\0"
              FRAME0("\1", "\x0a") "\0\x3c\0\x28\0\0\0\1q\0"
              FRAME0("\2", "\x0e") "\0\x3c\0\0\0\0\0\0\0\0\0\3\0\0" FRAME0("\3", "\3") "abc"
              FRAME1("\1", "\x0d") "\0\x3c\0\x50\0\0\0\0\0\0\0\1\0" "\x0b"),
    /* confirms, get, nack with requeue */
    FUZZ_SEED("\3" FRAME0("\1", "\5") "\0\x55\0\x0a\0" FRAME0("\1", "\x0a") "\0\x3c\0\x28\0\0\0\1q\0"
              FRAME0("\2", "\x0e") "\0\x3c\0\0\0\0\0\0\0\0\0\0\0\0"
              FRAME0("\1", "\x09") "\0\x3c\0\x46\0\0\1q\0"
              FRAME0("\1", "\x0d") "\0\x3c\0\x78\0\0\0\0\0\0\0\1\2" "\x0a"),
    /* an exchange, a binding, a transaction */
    FUZZ_SEED("\1" FRAME0("\1", "\x13") "\0\x28\0\x0a\0\0\1x\5topic\0\0\0\0\0"
              FRAME0("\1", "\x11") "\0\x32\0\x14\0\0\1q\1x\1#\0\0\0\0\0" FRAME0("\1", "\4") "\0\x5a\0\x0a"
              FRAME0("\1", "\x0b") "\0\x3c\0\x28\0\0\1x\1k\1" FRAME0("\2", "\x0e")
              "\0\x3c\0\0\0\0\0\0\0\0\0\0\0\0" FRAME0("\1", "\4") "\0\x5a\0\x14"),
    /* a queue is deleted under its consumer; the connection closes */
    FUZZ_SEED("\3" FRAME1("\1", "\x0f") "\0\x3c\0\x14\0\0\1q\1t\0\0\0\0\0"
              FRAME0("\1", "\x09") "\0\x32\0\x28\0\0\1q\0" "\x0b"
              "\x05\1\0\x0b" "\0\x0a\0\x32\0\xc8\0\0\0\0\0"),
    /* the login by hand, octet by octet, and a silent peer */
    FUZZ_SEED("\0" "\0\x08" HEADER "\0\x2c" LOGIN "\x0c\xff\x0c\xff"),
    /* breaking off with deliveries unacked */
    FUZZ_SEED("\3" FRAME0("\1", "\x0f") "\0\x3c\0\x14\0\0\1q\1t\0\0\0\0\0"
              FRAME1("\1", "\x0a") "\0\x3c\0\x28\0\0\0\1q\0" FRAME1("\2", "\x0e")
              "\0\x3c\0\0\0\0\0\0\0\0\0\0\0\0" "\x0e" "\x0f"),
};
const size_t fuzz_seeds_count = array_size(fuzz_seeds);

struct guest {
    struct fakenet_link *link;
    bool logged_in;
};

struct house {
    struct config config;
    struct server server;
    struct fakenet *net;
    struct fakedisk *disk;
    uint64_t now_ns;
    struct guest guests[2];
};

static uint64_t monotonic_ns(void *arg)
{
    return *(uint64_t *)arg;
}

static uint64_t wall_us(void *arg)
{
    return 1700000000000000 + *(uint64_t *)arg / 1000;
}

static void turn(struct house *h)
{
    fakenet_pump(h->net, &h->server.net);
    server_act(&h->server);
    store_sync_now(h->server.store);
    invariants_check(&h->server, true);
}

static void send(struct house *h, struct guest *guest, const void *bytes, size_t size)
{
    fakenet_client_write(guest->link, bytes, size); /* what does not fit is lost: it is rubbish anyway */
    turn(h);
}

static void enter(struct house *h, struct guest *guest)
{
    static const char login[] = HEADER LOGIN TUNE OPEN DECLARE;
    struct peer peer = {.host = "127.0.0.1", .peer_host = "127.0.0.1", .loopback = true};
    guest->link = fakenet_connect(h->net);
    struct connection *conn = server_accept(&h->server, &fakenet_transport, guest->link, &peer);
    fakenet_attach(guest->link, &conn->stream);
    if (!guest->logged_in)
        return;
    send(h, guest, login, sizeof(login) - 1);
    turn(h);
    assertf(conn->state == CONNECTION_OPEN && conn->channels.size == 1, "the login is wrong");
}

static void leave(struct house *h, struct guest *guest, bool reset)
{
    if (reset)
        fakenet_client_reset(guest->link);
    fakenet_client_close(&guest->link);
    turn(h);
}

static void open_house(struct house *h)
{
    char error[256];
    *h = (struct house){.now_ns = 1000000000};
    config_defaults(&h->config);
    bool good = config_set(&h->config, "log.console", "false", "fuzz", error, sizeof(error));
    h->net = fakenet_new(NULL, 64 * 1024);
    h->disk = fakedisk_new(7);
    struct server_options options = {.config = &h->config,
                                     .clock = {monotonic_ns, wall_us, &h->now_ns},
                                     .rand = rand_seeded(7),
                                     .io = fakedisk_io(h->disk),
                                     .simulated = true};
    good = good && server_open(&h->server, &options);
    assertf(good, "the server does not start");
}

static void close_house(struct house *h)
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

/* The next octet of the input; 0 behind its end. */
static uint8_t take(struct slice *in)
{
    if (in->len == 0)
        return 0;
    *in = slice_of(in->at + 1, in->len - 1);
    return in->at[-1];
}

static struct slice take_some(struct slice *in, size_t size)
{
    struct slice some = slice_of(in->at, size < in->len ? size : in->len);
    *in = slice_of(in->at + some.len, in->len - some.len);
    return some;
}

static void send_frame(struct house *h, struct guest *guest, struct slice *in)
{
    uint8_t frame[FRAME_OVERHEAD + UINT8_MAX];
    uint8_t type = take(in), channel = take(in);
    struct slice payload = take_some(in, take(in));
    uint8_t *at = frame_write_head(frame, type, channel, (uint32_t)payload.len);
    if (payload.len)
        memcpy(at, payload.at, payload.len);
    at[payload.len] = FRAME_END;
    send(h, guest, frame, FRAME_OVERHEAD + payload.len);
}

static void step(struct house *h, struct slice *in)
{
    static uint8_t said[64 * 1024];
    uint8_t what = take(in);
    struct guest *guest = &h->guests[what & 1];
    switch (what >> 1 & 7) {
    case 0:
    case 1: {
        struct slice bytes = take_some(in, take(in));
        send(h, guest, bytes.at, bytes.len);
        return;
    }
    case 5:
        (void)fakenet_client_read(guest->link, said, sizeof(said));
        break;
    case 6:
        h->now_ns += (1 + (uint64_t)take(in)) * 100000000;
        break;
    case 7:
        leave(h, guest, what & 0x80);
        enter(h, guest);
        break;
    default:
        send_frame(h, guest, in);
        return;
    }
    turn(h);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct house house;
    struct slice in = slice_of(data, size);
    uint8_t first = take(&in);
    open_house(&house);
    for (size_t i = 0; i < array_size(house.guests); i++) {
        house.guests[i].logged_in = first >> i & 1;
        enter(&house, &house.guests[i]);
    }
    while (in.len)
        step(&house, &in);
    close_house(&house);
    return 0;
}
