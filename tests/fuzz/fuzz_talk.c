/* fuzz_talk.c - clients that speak correct AMQP and say odd things: whole methods with values from pools of
 * what is long, empty, huge, negative, of another type or just at a limit, in every argument, property and
 * header, while an administrator's commands and the time go on. The invariants hold after every step.
 *
 * An input is a list of steps: an octet that says whose it is (bit 0), on which channel (bits 1-2), what it
 * is (bits 3-5), and whether the guest reads what the server has said (not when bit 6 is set); then an octet
 * for each choice. Now and then the process dies, and another one starts with what it had synced. */
#include "broker/commands.h"
#include "protocol/props.h"
#include "tests/fuzz/house.h"

#define A16 "aaaaaaaaaaaaaaaa"
#define A128 A16 A16 A16 A16 A16 A16 A16 A16
#define A255 A128 A16 A16 A16 A16 A16 A16 A16 "aaaaaaaaaaaaaaa"
#define TEXT(literal) {(const uint8_t *)(literal), sizeof(literal) - 1}

/* The methods that a client says, and how often it says them: as many lines. */
static const uint32_t methods[] = {
    METHOD_exchange_declare, METHOD_exchange_declare, METHOD_exchange_delete, METHOD_exchange_bind,
    METHOD_exchange_unbind, METHOD_queue_declare, METHOD_queue_declare, METHOD_queue_declare,
    METHOD_queue_bind, METHOD_queue_bind, METHOD_queue_unbind, METHOD_queue_purge, METHOD_queue_delete,
    METHOD_basic_qos, METHOD_basic_consume, METHOD_basic_consume, METHOD_basic_cancel, METHOD_basic_get,
    METHOD_basic_get, METHOD_basic_ack, METHOD_basic_ack, METHOD_basic_reject, METHOD_basic_nack,
    METHOD_basic_nack, METHOD_basic_recover, METHOD_basic_recover_async, METHOD_confirm_select,
    METHOD_tx_select, METHOD_tx_commit, METHOD_tx_rollback, METHOD_channel_flow, METHOD_channel_close,
    METHOD_channel_open, METHOD_connection_update_secret, METHOD_access_request, METHOD_connection_close,
};

/* Names, types, keys, tags, words: any of them anywhere. */
static const struct slice texts[] = {
    TEXT("q"), TEXT("q"), TEXT("q2"), TEXT("x"), TEXT("x"), TEXT("x2"), TEXT(""), TEXT(A255),
    TEXT("amq.topic"), TEXT("amq.direct"), TEXT("amq.headers"), TEXT("amq.rabbitmq.trace"),
    TEXT("amq.gen-1"), TEXT("amq.rabbitmq.reply-to"), TEXT("amq.rabbitmq.event"), TEXT("direct"),
    TEXT("fanout"), TEXT("topic"), TEXT("headers"), TEXT("x-consistent-hash"), TEXT("x-modulus-hash"),
    TEXT("x-random"), TEXT("x-recent-history"), TEXT("x-delayed-message"),
    TEXT("x-message-deduplication"), TEXT("a.b"), TEXT("#"), TEXT("*.b"), TEXT("a.#.b.#"), TEXT("1"),
    TEXT("0"), TEXT("-1"), TEXT("100"), TEXT("1000"), TEXT("4294967296"), TEXT("99999999999999999999"),
    TEXT("1.5"), TEXT("classic"), TEXT("quorum"), TEXT("stream"), TEXT("drop-head"),
    TEXT("reject-publish"), TEXT("reject-publish-dlx"), TEXT("at-least-once"), TEXT("at-most-once"),
    TEXT("lazy"), TEXT("all"), TEXT("any-with-x"), TEXT("guest"), TEXT("\r\n"), TEXT("\xc3\xa9\0z"),
    TEXT("message_id"), TEXT("header"), TEXT("key"), TEXT("1h"), TEXT("%s%n"), TEXT("x-group"),
};

/* Names of arguments and of headers. */
static const struct slice names[] = {
    TEXT("x-message-ttl"), TEXT("x-expires"), TEXT("x-max-length"), TEXT("x-max-length-bytes"),
    TEXT("x-overflow"), TEXT("x-dead-letter-exchange"), TEXT("x-dead-letter-routing-key"),
    TEXT("x-dead-letter-strategy"), TEXT("x-max-priority"), TEXT("x-single-active-consumer"),
    TEXT("x-queue-type"), TEXT("x-queue-mode"), TEXT("x-queue-version"), TEXT("x-delivery-limit"),
    TEXT("x-consumer-timeout"), TEXT("x-group-by"), TEXT("x-group-max"), TEXT("x-dedup-window"),
    TEXT("x-dedup-window-age"), TEXT("x-dedup-producers"), TEXT("x-message-deduplication"),
    TEXT("x-deduplication-header"), TEXT("x-cache-size"), TEXT("x-cache-ttl"),
    TEXT("x-cache-persistence"), TEXT("x-delayed-type"), TEXT("x-delay"), TEXT("x-deliver-at"),
    TEXT("alternate-exchange"), TEXT("hash-header"), TEXT("hash-property"), TEXT("x-match"),
    TEXT("x-priority"), TEXT("x-recent-history-length"), TEXT("x-recent-history-no-store"),
    TEXT("modulus"), TEXT("CC"), TEXT("BCC"), TEXT("x-death"), TEXT("x-first-death-queue"),
    TEXT("x-delivery-count"), TEXT("x-producer"), TEXT("x-sequence"), TEXT("x-stream-offset"),
    TEXT("x-cancel-on-ha-failover"), TEXT("x-max-age"), TEXT("header"), TEXT("x-routed-by"),
    TEXT("x-initial-cluster-size"), TEXT("x-max-in-memory-length"), TEXT(""), TEXT(A128),
};

static const int64_t numbers[] = {
    0, 1, 2, 3, 4, 10, 31, 100, 255, 256, 1000, 5000, 32767, 65535, 65536, INT32_MAX, (int64_t)INT32_MAX + 1,
    UINT32_MAX, (int64_t)UINT32_MAX + 1, ((int64_t)1 << 53) + 1, INT64_MAX, -1, -2, INT64_MIN,
};

static const char *const requests[] = {
    "{\"verb\":\"list_queues\"}", "{\"verb\":\"list_exchanges\"}", "{\"verb\":\"list_bindings\"}",
    "{\"verb\":\"list_consumers\"}", "{\"verb\":\"list_connections\"}", "{\"verb\":\"list_channels\"}",
    "{\"verb\":\"list_delayed\"}", "{\"verb\":\"export_definitions\"}", "{\"verb\":\"status\"}",
    "{\"verb\":\"trace_on\"}", "{\"verb\":\"trace_off\"}",
    "{\"verb\":\"purge_queue\",\"name\":\"q\"}", "{\"verb\":\"delete_queue\",\"name\":\"q\"}",
    "{\"verb\":\"delete_vhost\",\"name\":\"/\"}", "{\"verb\":\"add_vhost\",\"name\":\"/\"}",
    "{\"verb\":\"set_permissions\",\"user\":\"guest\",\"configure\":\".*\",\"write\":\".*\",\"read\":\".*\"}",
    "{\"verb\":\"set_permissions\",\"user\":\"guest\",\"configure\":\"\",\"write\":\"^x\",\"read\":\"q$\"}",
    "{\"verb\":\"clear_permissions\",\"user\":\"guest\"}",
    "{\"verb\":\"set_topic_permissions\",\"user\":\"guest\",\"exchange\":\"x\",\"write\":\"^a\","
    "\"read\":\"b\"}",
    "{\"verb\":\"set_policy\",\"name\":\"p\",\"pattern\":\"\",\"definition\":\"{\\\"max-length\\\":1}\"}",
    "{\"verb\":\"set_policy\",\"name\":\"p\",\"pattern\":\"q\",\"definition\":\"{\\\"max-length-bytes\\\":0,"
    "\\\"overflow\\\":\\\"reject-publish-dlx\\\",\\\"dead-letter-exchange\\\":\\\"x\\\"}\"}",
    "{\"verb\":\"set_policy\",\"name\":\"p\",\"pattern\":\"q\",\"definition\":\"{\\\"message-ttl\\\":0,"
    "\\\"dead-letter-exchange\\\":\\\"\\\",\\\"dead-letter-routing-key\\\":\\\"q2\\\"}\"}",
    "{\"verb\":\"set_policy\",\"name\":\"p\",\"pattern\":\"q\",\"definition\":\"{\\\"expires\\\":1,"
    "\\\"delivery-limit\\\":0,\\\"consumer-timeout\\\":1}\"}",
    "{\"verb\":\"set_policy\",\"name\":\"e\",\"pattern\":\"x\",\"apply_to\":\"exchanges\",\"definition\":"
    "\"{\\\"alternate-exchange\\\":\\\"x2\\\"}\"}",
    "{\"verb\":\"set_operator_policy\",\"name\":\"o\",\"pattern\":\"\",\"definition\":"
    "\"{\\\"max-length\\\":2,\\\"message-ttl\\\":5000}\"}",
    "{\"verb\":\"clear_policy\",\"name\":\"p\"}", "{\"verb\":\"clear_operator_policy\",\"name\":\"o\"}",
    "{\"verb\":\"set_vhost_limits\",\"definition\":\"{\\\"max-queues\\\":1,\\\"max-connections\\\":1}\"}",
    "{\"verb\":\"clear_vhost_limits\"}", "{\"verb\":\"close_all_connections\",\"reason\":\"enough\"}",
    "{\"verb\":\"set_user_limits\",\"user\":\"guest\",\"definition\":\"{\\\"max-channels\\\":2}\"}",
    "{\"verb\":\"set_global_parameter\",\"name\":\"cluster_name\",\"value\":\"\\\"" A255 A255 "\\\"\"}",
};

const struct slice fuzz_seeds[] = {
    /* a queue with arguments, a consumer, a message, an ack */
    FUZZ_SEED("\0\5\0\0\0\0\0\0\0\1\0\6\1\1\0\x0e\0\0\0\0\0\0\0\0\0\x28\0\6\0\0\0\0\0\0\x08\x13\1\1"),
    /* a transaction on another channel, and an administrator */
    FUZZ_SEED("\2\x1b\2\x22\0\1\0\0\0\0\x38\x0d\x38\x0e\x38\x0f\2\x1c"),
    /* time goes by a message that waits, and a guest breaks off */
    FUZZ_SEED("\0\0\0\x03\x17\0\0\0\0\0\1\x19\x11\x0f\x28\0\3\0\0\0\x01\x1a\x0a\x0d\0\x30\x20\x31\1"),
};
const size_t fuzz_seeds_count = array_size(fuzz_seeds);

struct talk {
    struct house house;
    struct slice in;
    struct buf table;        /* the fields of the one that is being said */
    struct request *request; /* under way, NULL = none */
};

/* --- values --- */

#define ONE_OF(talk, pool) ((pool)[take(&(talk)->in) % array_size(pool)])

static int64_t some_number(struct talk *t)
{
    return ONE_OF(t, numbers);
}

static uint8_t some_u8(struct talk *t)
{
    return (uint8_t)some_number(t);
}

static uint16_t some_u16(struct talk *t)
{
    return (uint16_t)some_number(t);
}

static uint32_t some_u32(struct talk *t)
{
    return (uint32_t)some_number(t);
}

static uint64_t some_u64(struct talk *t)
{
    return (uint64_t)some_number(t);
}

static bool some_bit(struct talk *t)
{
    return take(&t->in) & 1;
}

static struct slice some_sstr(struct talk *t)
{
    return ONE_OF(t, texts);
}

static struct slice some_lstr(struct talk *t)
{
    return ONE_OF(t, texts);
}

/* `size` octets of a number, big-endian. */
static void put_number(struct talk *t, size_t size)
{
    uint64_t number = (uint64_t)some_number(t);
    for (size_t i = size; i-- > 0;) {
        uint8_t octet = (uint8_t)(number >> 8 * i);
        buf_append(&t->table, &octet, 1);
    }
}

static void put_size(struct talk *t, size_t at, size_t size)
{
    for (size_t i = 0; i < 4; i++)
        t->table.at[at + i] = (uint8_t)(size >> 8 * (3 - i));
}

static void put_text(struct talk *t, struct slice text)
{
    size_t at = t->table.len;
    buf_append(&t->table, "\0\0\0\0", 4);
    put_size(t, at, text.len);
    buf_append_slice(&t->table, text);
}

static void put_field(struct talk *t, unsigned depth);

static void put_value(struct talk *t, unsigned depth)
{
    static const char types[] = "SSSlltbBsuIiLfdDTVxAF";
    char type = types[take(&t->in) % (depth < 3 ? sizeof(types) - 1 : sizeof(types) - 3)];
    buf_append(&t->table, &type, 1);
    switch (type) {
    case 'S':
    case 'x': put_text(t, some_lstr(t)); return;
    case 't': put_number(t, 1), t->table.at[t->table.len - 1] &= 1; return;
    case 'b':
    case 'B': put_number(t, 1); return;
    case 's':
    case 'u': put_number(t, 2); return;
    case 'I':
    case 'i':
    case 'f': put_number(t, 4); return;
    case 'D': put_number(t, 1), put_number(t, 4); return;
    case 'V': return;
    case 'A':
    case 'F': {
        size_t at = t->table.len;
        buf_append(&t->table, "\0\0\0\0", 4);
        for (unsigned count = take(&t->in) % 4; count > 0; count--)
            type == 'A' ? put_value(t, depth + 1) : put_field(t, depth + 1);
        put_size(t, at, t->table.len - at - 4);
        return;
    }
    default: put_number(t, 8); return;
    }
}

static void put_field(struct talk *t, unsigned depth)
{
    struct slice name = ONE_OF(t, names);
    uint8_t size = (uint8_t)name.len;
    buf_append(&t->table, &size, 1);
    buf_append_slice(&t->table, name);
    put_value(t, depth);
}

static struct slice some_table(struct talk *t)
{
    t->table.len = 0;
    for (unsigned count = take(&t->in) % 4; count > 0; count--)
        put_field(t, 0);
    return buf_slice(&t->table);
}

/* --- what is said --- */

static void say_frame(struct talk *t, struct guest *guest, enum frame_type type, uint16_t channel,
                      struct slice payload)
{
    static uint8_t frame[32 * 1024];
    assert(payload.len + FRAME_OVERHEAD <= sizeof(frame));
    uint8_t *at = frame_write_head(frame, type, channel, (uint32_t)payload.len);
    if (payload.len)
        memcpy(at, payload.at, payload.len);
    at[payload.len] = FRAME_END;
    send(&t->house, guest, frame, FRAME_OVERHEAD + payload.len);
}

static void say(struct talk *t, struct guest *guest, uint16_t channel, const struct method *m)
{
    uint8_t bytes[8192];
    struct writer w = writer_of(bytes, sizeof(bytes));
    method_encode(&w, m);
    if (!w.bad)
        say_frame(t, guest, FRAME_METHOD, channel, slice_of(bytes, (size_t)(w.at - bytes)));
}

static void fill(struct talk *t, struct method *m)
{
    switch ((enum method_id)m->id) {
#define FIELD(type, name) args->name = some_##type(t);
#define NO_FIELDS (void)args;
#define METHOD(class, name, class_id, method_id, content, fields)           \
    case METHOD_##class##_##name: {                                         \
        struct amqp_##class##_##name *args = &m->class##_##name;            \
        fields                                                              \
        return;                                                             \
    }
#include "protocol/methods.def"
#undef METHOD
#undef NO_FIELDS
#undef FIELD
    }
}

/* What a well-behaved client does before it goes on: answers what has been closed, opens it again. */
static bool recover(struct talk *t, struct guest *guest, uint16_t channel)
{
    struct connection *conn = connection_of(&t->house, guest);
    if (!conn || conn->state != CONNECTION_OPEN) {
        leave(&t->house, guest, false);
        if (!enter(&t->house, guest))
            return false;
        conn = connection_of(&t->house, guest);
    }
    struct channel *ch = connection_channel(conn, channel);
    if (ch && ch->state == CHANNEL_OPEN)
        return true;
    if (ch)
        say(t, guest, channel, &(struct method){.id = METHOD_channel_close_ok});
    say(t, guest, channel, &(struct method){.id = METHOD_channel_open});
    return true;
}

static void say_something(struct talk *t, struct guest *guest, uint16_t channel)
{
    struct method m = {.id = ONE_OF(t, methods)};
    fill(t, &m);
    say(t, guest, m.id >> 16 == 10 ? 0 : channel, &m);
}

static void publish(struct talk *t, struct guest *guest, uint16_t channel)
{
    static const uint8_t body[20000];
    static const uint16_t sizes[] = {0, 1, 10, 1000, sizeof(body)};
    struct method m = {.id = METHOD_basic_publish};
    struct props props = {0};
    struct buf header = {0};
    uint8_t head[12];
    struct writer w = writer_of(head, sizeof(head));
    fill(t, &m);
    size_t size = ONE_OF(t, sizes);
    uint16_t flags = (uint16_t)(take(&t->in) << 8 | take(&t->in));
#define PROPERTY(bit, type, name)                                                                            \
    if (flags & 1 << bit) {                                                                                  \
        props.flags |= 1 << bit;                                                                             \
        props.name = some_##type(t);                                                                         \
    }
#include "protocol/properties.def"
#undef PROPERTY
    say(t, guest, channel, &m);
    write_u32(&w, METHOD_basic_publish >> 16 << 16);
    write_u64(&w, size);
    buf_append(&header, head, sizeof(head));
    props_encode(&header, &props);
    say_frame(t, guest, FRAME_HEADER, channel, buf_slice(&header));
    buf_free(&header);
    if (size)
        say_frame(t, guest, FRAME_BODY, channel, slice_of(body, size));
}

/* --- the administrator --- */

static void go_on_with_request(struct talk *t)
{
    if (!t->request)
        return;
    request_step(t->request);
    if (t->request->done)
        request_free(&t->request);
}

static void finish_request(struct talk *t)
{
    while (t->request) {
        go_on_with_request(t);
        turn(&t->house);
    }
}

static void ask(struct talk *t)
{
    const char *line = ONE_OF(t, requests);
    finish_request(t);
    t->request = request_new(&t->house.server, slice_of_string(line));
}

static void let_time_pass(struct talk *t)
{
    t->house.now_ns += (uint64_t)some_number(t) % 10000 * 1000000;
}

static void come_again(struct talk *t, struct guest *guest, bool reset)
{
    leave(&t->house, guest, reset);
    (void)enter(&t->house, guest);
}

static void start_again(struct talk *t)
{
    finish_request(t);
    crash(&t->house);
    for (size_t i = 0; i < array_size(t->house.guests); i++)
        (void)enter(&t->house, &t->house.guests[i]);
}

static void step(struct talk *t)
{
    static uint8_t said[64 * 1024];
    uint8_t what = take(&t->in);
    struct guest *guest = &t->house.guests[what & 1];
    uint16_t channel = 1 + (what >> 1 & 3);
    unsigned kind = what >> 3 & 7;
    if (kind < 6 && !recover(t, guest, channel)) {
        (void)0; /* nobody lets this guest in any more; the others go on */
    } else if (kind < 4) {
        say_something(t, guest, channel);
    } else if (kind < 6) {
        publish(t, guest, channel);
    } else if (kind == 6 && channel == 4) {
        start_again(t);
    } else if (kind == 6 && channel == 3) {
        come_again(t, guest, what & 0x80);
    } else if (kind == 6) {
        let_time_pass(t);
    } else {
        ask(t);
    }
    if (!(what & 0x40))
        while (fakenet_client_read(guest->link, said, sizeof(said)) > 0)
            turn(&t->house);
    go_on_with_request(t);
    turn(&t->house);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct talk talk;
    talk = (struct talk){.in = slice_of(data, size)};
    open_house(&talk.house);
    for (size_t i = 0; i < array_size(talk.house.guests); i++) {
        talk.house.guests[i].logs_in = true;
        bool in = enter(&talk.house, &talk.house.guests[i]);
        assertf(in, "the login is wrong");
    }
    while (talk.in.len)
        step(&talk);
    finish_request(&talk);
    close_house(&talk.house);
    buf_free(&talk.table);
    return 0;
}
