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
#include "tests/fuzz/house.h"

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

static void come(struct house *h, struct guest *guest)
{
    bool in = enter(h, guest);
    assertf(in, "the login is wrong");
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
        come(h, guest);
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
        house.guests[i].logs_in = first >> i & 1;
        come(&house, &house.guests[i]);
    }
    while (in.len)
        step(&house, &in);
    close_house(&house);
    return 0;
}
