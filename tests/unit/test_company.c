/* test_company.c - what one client may have of a turn and of a batch: counted in methods, messages and
 * octets. */
#include <malloc.h>

#include "queue/paging.h"
#include "store/pages.h"
#include "tests/unit/server_world.h"

/* One turn, with a disk that keeps up or not at all. */
static void turn(bool disk_too)
{
    fakenet_pump(net, &server.net);
    server_act(&server);
    if (disk_too)
        store_sync_now(server.store);
}

/* Puts what fits into the client's pipe, without a turn. */
static void stuff(struct client *client, struct buf *out)
{
    size_t part = fakenet_client_write(client->link, out->at, out->len);
    ck_assert_uint_eq(part, out->len);
    buf_free(out);
    *out = (struct buf){0};
}

static void add_open(struct buf *out, uint16_t channel)
{
    add_method(out, channel, &(struct method){.id = METHOD_channel_open});
}

static void declare_durable(struct client *client, const char *name)
{
    struct method m = {.id = METHOD_queue_declare};
    m.queue_declare.queue = slice_of_string(name);
    m.queue_declare.durable = true;
    send(client, 1, &m);
    ck_assert_str_eq(hear(client), "queue.declare_ok(0)");
}

/* The client publishes a little until it counts as modest. */
static void become_modest(struct client *client)
{
    for (int i = 0; i < 64; i++)
        publish(client, "nobody", 10, 1);
    ck_assert(server.company.present);
}

/* Open channels of the connection. */
static size_t channels(const struct client *client)
{
    return client->conn->channels.size;
}

START_TEST(methods_of_a_turn)
{
    enum { COUNT = 2000, MOST = EFFORT_MAX / EFFORT_METHOD };
    struct client hostile, other;
    struct buf out = {0}, word = {0};
    connect_client(&hostile, true, 0);
    connect_client(&other, true, 0);
    for (uint16_t i = 2; i < COUNT; i++)
        add_open(&out, i);
    stuff(&hostile, &out);
    size_t before = channels(&hostile);
    turn(true);
    ck_assert_uint_eq(channels(&hostile) - before, MOST);
    ck_assert_uint_eq(hostile.conn->flow.paused, 0);
    add_open(&word, 7);
    stuff(&other, &word);
    turn(true); /* who says a word is heard in the same turn */
    ck_assert_uint_eq(channels(&other), 2);
    ck_assert_uint_eq(channels(&hostile) - before, 2 * MOST);
    turn(true);
    turn(true);
    ck_assert_uint_eq(channels(&hostile), COUNT - 1); /* nothing is lost */
    hang_up(&hostile), hang_up(&other);
}
END_TEST

/* The effort is that of the methods' work, not of their number. */
START_TEST(copies_of_a_turn)
{
    enum { QUEUES = 512, COUNT = 100 };
    struct client hostile;
    struct buf out = {0};
    char name[16];
    connect_client(&hostile, true, 0);
    for (int i = 0; i < QUEUES; i++) {
        snprintf(name, sizeof(name), "q%d", i);
        declare(&hostile, name);
        struct method m = {.id = METHOD_queue_bind};
        m.queue_bind.queue = slice_of_string(name);
        m.queue_bind.exchange = SLICE("amq.fanout");
        send(&hostile, 1, &m);
        hear(&hostile);
    }
    for (int i = 0; i < COUNT; i++) {
        uint8_t header[14];
        struct writer w = writer_of(header, sizeof(header));
        struct method m = {.id = METHOD_basic_publish};
        m.basic_publish.exchange = SLICE("amq.fanout");
        add_method(&out, 1, &m);
        write_u32(&w, METHOD_basic_publish >> 16 << 16);
        write_u64(&w, 0);
        write_u16(&w, 0);
        add_frame(&out, FRAME_HEADER, 1, slice_of(header, sizeof(header)));
    }
    stuff(&hostile, &out);
    turn(true);
    ck_assert_uint_eq(queue_ready(queue("q0")), EFFORT_MAX / QUEUES);
    run();
    ck_assert_uint_eq(queue_ready(queue("q511")), COUNT);
    hang_up(&hostile);
}
END_TEST

/* A binding to a consistent hash makes as many points as its weight says. */
START_TEST(heavy_bindings_of_a_turn)
{
    enum { COUNT = 5 };
    struct client hostile;
    struct buf out = {0};
    connect_client(&hostile, true, 0);
    struct method m = {.id = METHOD_exchange_declare};
    m.exchange_declare.exchange = SLICE("hash");
    m.exchange_declare.type = SLICE("x-consistent-hash");
    send(&hostile, 1, &m);
    declare(&hostile, "q");
    ck_assert_str_eq(hear(&hostile), "exchange.declare_ok queue.declare_ok(0)");
    for (int i = 0; i < COUNT; i++) {
        m = (struct method){.id = METHOD_queue_bind};
        m.queue_bind.queue = SLICE("q");
        m.queue_bind.exchange = SLICE("hash");
        m.queue_bind.routing_key = SLICE("1000");
        add_method(&out, 1, &m);
        m = (struct method){.id = METHOD_queue_unbind};
        m.queue_unbind.queue = SLICE("q");
        m.queue_unbind.exchange = SLICE("hash");
        m.queue_unbind.routing_key = SLICE("1000");
        add_method(&out, 1, &m);
    }
    stuff(&hostile, &out);
    struct exchange *x = vhost_find_exchange(server_find_vhost(&server, SLICE("/")), SLICE("hash"));
    for (int i = 0; i < 2 * COUNT; i++) {
        turn(true); /* one of them in each */
        ck_assert_uint_eq(x->binding_count, i % 2 == 0);
    }
    turn(true);
    ck_assert_uint_eq(x->binding_count, 0);
    hang_up(&hostile);
}
END_TEST

/* The client is handed `count` messages of its queue, and acks nothing. */
static void take_messages(struct client *client, int count)
{
    connect_client(client, true, 0);
    set("connection_unacked_max", "0");
    declare(client, "q");
    hear(client);
    consume(client, "q");
    for (int i = 0; i < count; i += 256) {
        publish(client, "q", 0, 256);
        hear(client);
    }
    ck_assert_uint_eq(client->deliveries, count);
}

static void add_settle(struct buf *out, bool nack, bool requeue, uint64_t tag)
{
    struct method m = {.id = nack ? METHOD_basic_nack : METHOD_basic_ack};
    if (nack) {
        m.basic_nack.delivery_tag = tag;
        m.basic_nack.multiple = true;
        m.basic_nack.requeue = requeue;
    } else {
        m.basic_ack.delivery_tag = tag;
        m.basic_ack.multiple = true;
    }
    add_method(out, 1, &m);
}

START_TEST(acks_of_a_turn)
{
    enum { EACH = EFFORT_MAX * EFFORT_SETTLED / 4, ROUNDS = 8 };
    struct client hostile;
    struct buf out = {0};
    take_messages(&hostile, ROUNDS * EACH);
    for (uint64_t i = 1; i <= ROUNDS; i++)
        add_settle(&out, false, false, i * EACH);
    stuff(&hostile, &out);
    turn(true);
    ck_assert_uint_eq(queue("q")->unacked, (ROUNDS - 4) * EACH);
    turn(true);
    ck_assert_uint_eq(queue("q")->unacked, 0);
    hang_up(&hostile);
}
END_TEST

/* One method that means many messages takes several turns, in which others are heard; what comes after it
 * waits. Tag 0 means what had been delivered when it came. */
static void settle_many(bool nack, bool all)
{
    enum { TURN = EFFORT_MAX * EFFORT_SETTLED, NEXT = COMPANY_EFFORT * EFFORT_SETTLED };
    enum { COUNT = TURN + NEXT + 1024 };
    struct client hostile, other;
    struct buf out = {0}, word = {0};
    take_messages(&hostile, COUNT);
    connect_client(&other, true, 0);
    add_settle(&out, nack, false, all ? 0 : COUNT);
    add_open(&out, 9);
    stuff(&hostile, &out);
    add_open(&word, 7);
    add_publish(&word, "q", 0);
    stuff(&other, &word);
    turn(true);
    ck_assert_uint_eq(channels(&other), 2);
    ck_assert_uint_eq(channels(&hostile), 1);
    ck_assert_uint_eq(queue("q")->unacked, COUNT - TURN + 1); /* and the other's was handed out */
    turn(true);
    ck_assert_uint_eq(queue("q")->unacked, COUNT - TURN - NEXT + 1); /* there is company now */
    turn(true);
    ck_assert_uint_eq(channels(&hostile), 2);
    ck_assert_uint_eq(queue("q")->unacked, 1);
    ck_assert_str_eq(hear(&hostile), "channel.open_ok");
    add_settle(&out, nack, false, COUNT + 1); /* the next one begins anew */
    flush(&hostile, &out);
    ck_assert_uint_eq(queue("q")->unacked, 0);
    add_settle(&out, nack, false, COUNT); /* unknown as ever */
    flush(&hostile, &out);
    ck_assert_str_eq(hear(&hostile), "channel.close(406)");
    hang_up(&hostile), hang_up(&other);
}

START_TEST(ack_of_many)
{
    settle_many(false, false);
}
END_TEST

START_TEST(acks_up_to_all)
{
    settle_many(false, true);
}
END_TEST

START_TEST(nack_of_many)
{
    settle_many(true, false);
}
END_TEST

START_TEST(nacks_up_to_all)
{
    settle_many(true, true);
}
END_TEST

/* A connection that ends in the middle of it. */
START_TEST(gone_before_it_is_through)
{
    enum { TURN = EFFORT_MAX * EFFORT_SETTLED, COUNT = 2 * TURN };
    struct client hostile;
    struct buf out = {0};
    take_messages(&hostile, COUNT);
    add_settle(&out, false, false, 0);
    stuff(&hostile, &out);
    turn(true);
    fakenet_client_reset(hostile.link);
    hang_up(&hostile);
    size_t left = queue_ready(queue("q"));
    ck_assert_uint_eq(queue("q")->unacked, 0);
    ck_assert_uint_le(left, COUNT - TURN);
    ck_assert(list_empty(&server.connections));
}
END_TEST

START_TEST(who_is_modest)
{
    struct client fast;
    connect_client(&fast, true, 0);
    publish(&fast, "nobody", 20000, 1);
    ck_assert_uint_gt(fast.conn->share.recent, COMPANY_MODEST);
    server.company.until_ms = 0;
    publish(&fast, "nobody", 10, 5); /* a few small ones do not make it modest */
    ck_assert_uint_eq(server.company.until_ms, 0);
    ck_assert(!server.company.present && server.net.read_max == NET_READ_SIZE);
    become_modest(&fast);
    ck_assert_uint_lt(server.net.read_max, NET_READ_SIZE);
    declare(&fast, "q");
    pass(COMPANY_MS + 100); /* and it is gone when it has not published for a while, whatever else it does */
    ck_assert(!server.company.present && server.net.read_max == NET_READ_SIZE);
    publish(&fast, "nobody", 10, 1);
    run();
    ck_assert(server.company.present);
    hang_up(&fast);
}
END_TEST

/* Bytes that a client sends over and over. */
struct flood {
    struct client *client;
    struct buf unit;
    size_t at;
};

/* Turns in which the disk does nothing, until the client is not read any more. */
static void flood(struct flood *f)
{
    for (int turns = 0; turns < 2000 && !f->client->conn->flow.paused; turns++) {
        for (size_t part = 1; part > 0; f->at = (f->at + part) % f->unit.len)
            part = fakenet_client_write(f->client->link, f->unit.at + f->at, f->unit.len - f->at);
        turn(false);
    }
}

/* Nothing is sent any more; the end of a message may be missing. */
static void finish_message(struct flood *f)
{
    if (f->at > 0)
        put(f->client, f->unit.at + f->at, f->unit.len - f->at);
    f->at = 0;
    run();
}

START_TEST(batches_stay_small)
{
    enum { RECORD = 1200 };
    struct client hostile, modest;
    connect_client(&hostile, true, 0);
    connect_client(&modest, true, 0);
    declare_durable(&hostile, "flood");
    declare_durable(&modest, "modest");
    send(&modest, 1, &(struct method){.id = METHOD_confirm_select});
    struct flood f = {.client = &hostile};
    add_publish_as(&f.unit, "flood", 1000, PERSISTENT);
    flood(&f);
    ck_assert_uint_eq(hostile.conn->flow.paused, FLOW_JOURNAL);
    ck_assert_uint_gt(store_open_bytes(server.store), 10 * MB); /* alone it may have all there is */
    finish_message(&f);

    become_modest(&modest);
    flood(&f);
    ck_assert_uint_eq(hostile.conn->flow.paused, FLOW_CROWD);
    ck_assert_uint_ge(store_open_bytes(server.store), COMPANY_BATCH);
    ck_assert_uint_le(store_open_bytes(server.store), COMPANY_BATCH + RECORD);
    size_t ready = queue_ready(queue("flood"));
    for (int i = 0; i < 20; i++)
        turn(false); /* what has been sent stays where it is */
    ck_assert_uint_eq(queue_ready(queue("flood")), ready);

    hear(&modest);
    become_modest(&modest);
    flood(&f);
    uint64_t confirmed = server.counters.confirmed;
    struct buf out = {0};
    add_publish_as(&out, "modest", 10, PERSISTENT);
    stuff(&modest, &out);
    turn(false);
    ck_assert_uint_eq(queue_ready(queue("modest")), 1); /* it is taken while the other one waits */
    ck_assert_uint_le(store_open_bytes(server.store), COMPANY_BATCH + 2 * RECORD);
    turn(true);
    turn(true);
    turn(true);
    ck_assert_uint_eq(server.counters.confirmed, confirmed + 1);
    finish_message(&f);
    ck_assert_uint_eq(hostile.conn->flow.paused, 0);
    buf_free(&f.unit);
    hang_up(&hostile), hang_up(&modest);
}
END_TEST

/* The most bytes of pages in a batch while the client floods its queue. */
static size_t most_pages(struct flood *f)
{
    size_t most = 0;
    for (int i = 0; i < 400; i++) {
        for (size_t part = 1; part > 0; f->at = (f->at + part) % f->unit.len)
            part = fakenet_client_write(f->client->link, f->unit.at + f->at, f->unit.len - f->at);
        fakenet_pump(net, &server.net);
        size_t now = pages_open_bytes(store_pages(server.store));
        most = now > most ? now : most;
        server_act(&server);
        store_sync_now(server.store);
    }
    finish_message(f);
    return most;
}

START_TEST(pages_of_a_batch)
{
    enum { PAGE = 64 * 1024 };
    struct client hostile, modest;
    paging_configure(&server.home.paging, 16384, PAGE, PAGING_MEMORY_MAX);
    connect_client(&hostile, true, 0);
    connect_client(&modest, true, 0);
    declare(&hostile, "flood");
    struct flood f = {.client = &hostile};
    add_publish(&f.unit, "flood", 1000);
    ck_assert_uint_gt(most_pages(&f), COMPANY_PAGES + PAGE);
    become_modest(&modest);
    uint64_t pages = most_pages(&f);
    ck_assert_uint_gt(pages, 0);
    ck_assert_uint_le(pages, COMPANY_PAGES + PAGE);
    buf_free(&f.unit);
    hang_up(&hostile), hang_up(&modest);
}
END_TEST

START_TEST(letters_of_a_turn)
{
    enum { COUNT = 500 };
    struct client hostile, modest;
    struct buf args = {0}, out = {0};
    connect_client(&hostile, true, 0);
    connect_client(&modest, true, 0);
    struct method m = {.id = METHOD_queue_declare};
    table_put_string(&args, "x-dead-letter-exchange", SLICE("amq.fanout"));
    table_put_int(&args, "x-max-length", 0);
    m.queue_declare.queue = SLICE("full");
    m.queue_declare.arguments = buf_slice(&args);
    send(&hostile, 1, &m);
    ck_assert_str_eq(hear(&hostile), "queue.declare_ok(0)");
    become_modest(&modest);
    for (int i = 0; i < COUNT; i++)
        add_publish(&out, "full", 0);
    stuff(&hostile, &out);
    uint64_t before = server.counters.dead_lettered;
    turn(true);
    ck_assert_uint_eq(server.counters.dead_lettered - before, COMPANY_LETTERS);
    turn(true);
    ck_assert_uint_eq(server.counters.dead_lettered - before, 2 * COMPANY_LETTERS);
    for (int i = 0; i < COUNT / COMPANY_LETTERS; i++)
        run();
    ck_assert_uint_eq(server.counters.dead_lettered - before, COUNT);
    buf_free(&args);
    hang_up(&hostile), hang_up(&modest);
}
END_TEST

START_TEST(deliveries_of_a_turn)
{
    enum { COUNT = 2 * COMPANY_DELIVERIES + 100 };
    struct client hostile, modest;
    struct buf out = {0};
    connect_client(&hostile, true, 0);
    connect_client(&modest, true, 0);
    declare(&hostile, "q");
    for (int i = 0; i < COUNT; i += 100)
        publish(&hostile, "q", 0, 100);
    become_modest(&modest);
    struct method m = {.id = METHOD_basic_consume};
    m.basic_consume.queue = SLICE("q");
    m.basic_consume.no_ack = true;
    add_method(&out, 1, &m);
    size_t ready = queue_ready(queue("q"));
    stuff(&hostile, &out);
    turn(true);
    ck_assert_uint_eq(ready - queue_ready(queue("q")), COMPANY_DELIVERIES);
    run();
    ck_assert_uint_eq(queue_ready(queue("q")), 0);
    hang_up(&hostile), hang_up(&modest);
}
END_TEST

/* Many who bring much have together what one would have. */
START_TEST(reads_of_many)
{
    enum { COUNT = 4 };
    struct client many[COUNT], modest;
    connect_client(&modest, true, 0);
    become_modest(&modest);
    ck_assert_uint_eq(server.net.read_max, COMPANY_READ);
    struct flood floods[COUNT];
    for (int i = 0; i < COUNT; i++) {
        connect_client(&many[i], true, 0);
        floods[i] = (struct flood){.client = &many[i]};
        add_publish(&floods[i].unit, "nobody", 1000);
    }
    for (int turns = 0; turns < 3; turns++) {
        uint64_t before = 0, after = 0;
        for (int i = 0; i < COUNT; i++) {
            struct flood *f = &floods[i];
            before += many[i].conn->stream.received;
            for (size_t part = 1; part > 0; f->at = (f->at + part) % f->unit.len)
                part = fakenet_client_write(many[i].link, f->unit.at + f->at, f->unit.len - f->at);
        }
        turn(true);
        for (int i = 0; i < COUNT; i++)
            after += many[i].conn->stream.received;
        if (turns > 0)
            ck_assert_uint_le(after - before, COMPANY_READ);
        ck_assert_uint_eq(server.net.read_max, COMPANY_READ / COUNT);
    }
    for (int i = 0; i < COUNT; i++) {
        finish_message(&floods[i]);
        buf_free(&floods[i].unit);
        hang_up(&many[i]);
    }
    hang_up(&modest);
}
END_TEST

/* --- declarations while the disk is behind --- */

enum { NAME = 200 };

static void add_declares(struct buf *out, const char *prefix, int count)
{
    char name[NAME + 1];
    for (int i = 0; i < count; i++) {
        struct method m = {.id = METHOD_queue_declare};
        memset(name, 'x', NAME);
        int len = snprintf(name, sizeof(name), "%s%d", prefix, i);
        name[len] = 'x';
        m.queue_declare.queue = slice_of((const uint8_t *)name, NAME);
        m.queue_declare.durable = true;
        add_method(out, 1, &m);
    }
}

static size_t queues_of(struct server *s)
{
    return server_find_vhost(s, SLICE("/"))->queues.size;
}

/* Declares without a disk until nothing more is taken; returns the bytes of definitions that wait. */
static size_t declare_until_held(struct client *client, const char *prefix, int count)
{
    struct buf out = {0};
    add_declares(&out, prefix, count);
    stuff(client, &out);
    for (int i = 0; i < 40; i++)
        turn(false);
    ck_assert_uint_eq(client->conn->flow.paused, FLOW_DEFINE);
    return store_pending_bytes(server.store);
}

START_TEST(declarations_wait_for_the_disk)
{
    enum { COUNT = 230, HIGH_WATER = 32 * 1024, ONE = 1024 };
    struct client hostile, other;
    connect_client(&hostile, true, 0);
    connect_client(&other, true, 0);
    declare(&other, "q");
    ck_assert_str_eq(hear(&other), "queue.declare_ok(0)");
    size_t before = queues_of(&server);
    size_t held = declare_until_held(&hostile, "a", COUNT);
    ck_assert_uint_ge(held, HIGH_WATER);
    ck_assert_uint_le(held, HIGH_WATER + ONE);
    size_t made = queues_of(&server) - before;
    ck_assert_uint_lt(made, COUNT);
    struct buf out = {0};
    add_publish(&out, "q", 10); /* who declares nothing is read and served */
    stuff(&other, &out);
    turn(false);
    ck_assert_uint_eq(queue_ready(queue("q")), 1);
    turn(true); /* the first batch, the second one */
    turn(true);
    turn(true);
    ck_assert_uint_gt(queues_of(&server) - before, made);
    run();
    ck_assert_uint_eq(queues_of(&server) - before, COUNT);
    ck_assert_uint_eq(hostile.conn->flow.paused, 0);
    hear(&hostile);

    become_modest(&other);
    held = declare_until_held(&hostile, "b", COUNT);
    ck_assert_uint_ge(held, COMPANY_DEFINITIONS);
    ck_assert_uint_le(held, COMPANY_DEFINITIONS + ONE);
    run();
    ck_assert_uint_eq(queues_of(&server) - before, 2 * COUNT);
    hang_up(&hostile), hang_up(&other);
}
END_TEST

/* What is declared has a bound in bytes, however fast the disk is. */
START_TEST(declarations_have_a_bound)
{
    struct client hostile;
    struct buf out = {0};
    set("topology_memory", "1MB");
    connect_client(&hostile, true, 0);
    size_t before = queues_of(&server);
    for (int i = 0; i < 20; i++) {
        char prefix[8];
        snprintf(prefix, sizeof(prefix), "%c", 'a' + i);
        add_declares(&out, prefix, 100);
        flush(&hostile, &out);
    }
    ck_assert_ptr_nonnull(strstr(hear(&hostile), "channel.close(406)"));
    ck_assert_ptr_nonnull(strstr(hostile.text, "topology_memory"));
    size_t made = queues_of(&server) - before;
    ck_assert_uint_ge(made, 100);
    ck_assert_uint_le(made * NAME, MB);
    ck_assert_uint_lt(server.bounds.topology_bytes, MB + 8192);
    hang_up(&hostile);
}
END_TEST

/* --- channels --- */

static size_t allocated(void)
{
    return mallinfo2().uordblks;
}

static void open_channels(struct client *client, uint16_t first, uint16_t last)
{
    struct buf out = {0};
    for (uint16_t i = first; i <= last; i++)
        add_open(&out, i);
    flush(client, &out);
}

static void close_channels(struct client *client, uint16_t first, uint16_t last)
{
    struct buf out = {0};
    for (uint16_t i = first; i <= last; i++)
        add_method(&out, i, &(struct method){.id = METHOD_channel_close});
    flush(client, &out);
}

/* Reads all answers; they are not looked at. */
static void swallow(struct client *client)
{
    uint8_t room[4096];
    do
        run();
    while (fakenet_client_read(client->link, room, sizeof(room)) > 0);
}

START_TEST(channels_have_a_bound)
{
    enum { MAX = 2047, EACH = 1024, TABLE = 4096 * sizeof(void *), SPARE = 256 * 1024 };
    struct client client;
    connect_client(&client, true, 0);
    open_channels(&client, 2, 100); /* what is kept for reuse is there now */
    close_channels(&client, 2, 100);
    swallow(&client);
    size_t before = allocated();
    for (int round = 0; round < 10; round++) {
        open_channels(&client, 2, MAX);
        swallow(&client);
        ck_assert_uint_eq(client.conn->channels.size, MAX);
        ck_assert_uint_le(client.conn->channels.capacity, 4096);
        ck_assert_uint_le(allocated(), before + MAX * EACH + TABLE + SPARE);
        if (round == 9)
            break;
        close_channels(&client, 2, MAX);
        swallow(&client);
        ck_assert_uint_eq(client.conn->channels.size, 1);
        ck_assert_uint_le(allocated(), before + TABLE + SPARE);
    }
    open_channels(&client, 3000, 3000); /* the limit is on their number */
    ck_assert_str_eq(hear(&client), "connection.close(530)");
    ck_assert_uint_eq(client.conn->channels.size, 0);
    hang_up(&client);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {methods_of_a_turn, copies_of_a_turn, heavy_bindings_of_a_turn,
                                  acks_of_a_turn, ack_of_many, acks_up_to_all, nack_of_many,
                                  nacks_up_to_all, gone_before_it_is_through, who_is_modest,
                                  batches_stay_small, pages_of_a_batch, letters_of_a_turn,
                                  deliveries_of_a_turn, reads_of_many, declarations_wait_for_the_disk,
                                  declarations_have_a_bound, channels_have_a_bound};
    return run_suite("company", tests, array_size(tests), NULL, 0);
}
