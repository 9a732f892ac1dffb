/* test_giveback.c - what means very many messages goes over turns: no turn moves more than its part, others
 * are heard meanwhile, and consumers see it happen at one moment. */
#include "broker/admin.h"
#include "broker/tx.h"
#include "queue/hold.h"
#include "tests/unit/server_world.h"

enum { COUNT = 3 * GIVEBACK_TURN + 100, YOUNGER = 50 };

static struct client hostile, other;

static void turn(void)
{
    fakenet_pump(net, &server.net);
    server_act(&server);
    store_sync_now(server.store);
}

/* Puts what fits into the client's pipe, without a turn. */
static void stuff(struct client *client, struct buf *out)
{
    ck_assert_uint_eq(fakenet_client_write(client->link, out->at, out->len), out->len);
    buf_free(out);
    *out = (struct buf){0};
}

static void stuff_method(struct client *client, uint16_t channel, struct method m)
{
    struct buf out = {0};
    add_method(&out, channel, &m);
    stuff(client, &out);
}

static struct channel *channel(const struct client *client)
{
    struct channel *ch = connection_channel(client->conn, 1);
    ck_assert_ptr_nonnull(ch);
    return ch;
}

static void declare_it(struct client *client, bool durable, const char *policy, int64_t value)
{
    struct buf args = {0};
    struct method m = {.id = METHOD_queue_declare};
    if (policy)
        table_put_int(&args, policy, value);
    m.queue_declare.queue = SLICE("q");
    m.queue_declare.durable = durable;
    m.queue_declare.arguments = buf_slice(&args);
    send(client, 1, &m);
    buf_free(&args);
    ck_assert_str_eq(hear(client), "queue.declare_ok(0)");
}

static void publish_many(struct client *client, int count)
{
    for (int left = count; left > 0; left -= 512) {
        publish(client, "q", 0, left < 512 ? left : 512);
        hear(client);
    }
}

/* The hostile one was handed COUNT messages and consumes no more; YOUNGER wait behind them. */
static void take_many(void)
{
    set("connection_unacked_max", "0");
    connect_client(&hostile, true, 0);
    connect_client(&other, true, 0);
    declare_it(&hostile, false, NULL, 0);
    struct method m = {.id = METHOD_basic_consume};
    m.basic_consume.queue = SLICE("q");
    m.basic_consume.consumer_tag = SLICE("c");
    send(&hostile, 1, &m);
    hear(&hostile);
    publish_many(&hostile, COUNT);
    m = (struct method){.id = METHOD_basic_cancel};
    m.basic_cancel.consumer_tag = SLICE("c");
    send(&hostile, 1, &m);
    ck_assert_str_eq(hear(&hostile), "basic.cancel_ok");
    ck_assert_uint_eq(hostile.deliveries, COUNT);
    publish_many(&hostile, YOUNGER);
    ck_assert_uint_eq(queue_ready(queue("q")), YOUNGER);
}

static size_t ready(void)
{
    return queue_ready(queue("q"));
}

/* Turns until it is through: in each `moved` changes by a turn's part at most, and others are answered.
 * Returns how many there were. */
static int turns_of(size_t (*moved)(void))
{
    int turns = 0;
    uint16_t number = 100;
    do {
        size_t before = moved();
        size_t channels = other.conn->channels.size;
        stuff_method(&other, number++, (struct method){.id = METHOD_channel_open});
        turn();
        size_t after = moved();
        ck_assert_uint_eq(other.conn->channels.size, channels + 1);
        ck_assert_uint_le(before < after ? after - before : before - after, GIVEBACK_TURN);
        ck_assert_int_lt(++turns, 100);
    } while (giveback_is_busy(&server.giving));
    return turns;
}

struct line {
    uint64_t sequence;
    size_t count, again;
};

static void check_item(void *arg, uint64_t tag, const struct unacked_item *item)
{
    struct line *line = arg;
    ck_assert_uint_gt(tag, 0);
    ck_assert_uint_gt(item->entry.sequence, line->sequence);
    line->sequence = item->entry.sequence;
    line->count++;
    line->again += item->entry.redelivered;
}

/* The client holds so many of the queue, in order, `again` of them flagged. */
static void check_held(const struct client *client, size_t count, size_t again)
{
    struct line line = {0};
    unacked_each(&channel(client)->unacked, check_item, &line);
    ck_assert_uint_eq(line.count, count);
    ck_assert_uint_eq(line.again, again);
}

/* All that there is goes to the other client, the oldest first, those that came back flagged. */
static void check_order(size_t again)
{
    size_t count = queue_ready(queue("q"));
    consume(&other, "q");
    run();
    for (int i = 0; i < 100 && queue_ready(queue("q")) > 0; i++)
        hear(&other);
    check_held(&other, count, again);
}

static struct method nack_all(void)
{
    struct method m = {.id = METHOD_basic_nack};
    m.basic_nack.multiple = true;
    m.basic_nack.requeue = true;
    return m;
}

START_TEST(requeue)
{
    take_many();
    stuff_method(&hostile, 1, nack_all());
    stuff_method(&hostile, 9, (struct method){.id = METHOD_channel_open});
    ck_assert_int_ge(turns_of(ready), 3);
    ck_assert_uint_eq(hostile.conn->channels.size, 1); /* what came after it is handled after it */
    run();
    ck_assert_uint_eq(hostile.conn->channels.size, 2);
    ck_assert_uint_eq(queue_ready(queue("q")), COUNT + YOUNGER);
    hear(&other);
    check_order(COUNT);
    hang_up(&hostile), hang_up(&other);
}
END_TEST

/* Who comes in the midst of it is served when all are in their places. */
static void nobody_overtakes(struct method m)
{
    take_many();
    stuff_method(&hostile, 1, m);
    turn();
    ck_assert(giveback_is_busy(&server.giving) && hold_is_on(queue("q")));
    m = (struct method){.id = METHOD_basic_consume};
    m.basic_consume.queue = SLICE("q");
    stuff_method(&other, 1, m);
    for (int turns = 0; giveback_is_busy(&server.giving); turns++) {
        ck_assert_uint_eq(channel(&other)->unacked.size, 0);
        queue_check(queue("q"));
        ck_assert_int_lt(turns, 100);
        turn();
    }
    ck_assert(!hold_is_on(queue("q")));
    for (int i = 0; i < 100 && queue_ready(queue("q")) > 0; i++)
        hear(&other);
    check_held(&other, COUNT + YOUNGER, COUNT);
    hear(&hostile);
    hang_up(&hostile), hang_up(&other);
}

START_TEST(consumer_of_what_is_requeued)
{
    nobody_overtakes(nack_all());
}
END_TEST

START_TEST(consumer_of_what_a_channel_had)
{
    nobody_overtakes((struct method){.id = METHOD_channel_close});
}
END_TEST

START_TEST(get_waits_for_the_oldest)
{
    take_many();
    stuff_method(&hostile, 1, nack_all());
    turn();
    struct method m = {.id = METHOD_basic_get};
    m.basic_get.queue = SLICE("q");
    stuff_method(&other, 1, m);
    turn();
    ck_assert(giveback_is_busy(&server.giving));
    ck_assert_uint_eq(other.conn->flow.paused, FLOW_GET);
    ck_assert_uint_eq(channel(&other)->unacked.size, 0);
    run();
    hear(&other);
    ck_assert_uint_eq(other.deliveries, 1);
    struct line line = {0};
    unacked_each(&channel(&other)->unacked, check_item, &line);
    ck_assert_uint_eq(line.sequence, 1);
    hang_up(&hostile), hang_up(&other);
}
END_TEST

/* A message with more properties than fit a small frame. */
static void publish_wide(struct client *client)
{
    static const uint8_t wide[5000];
    struct buf out = {0}, props = {0}, header = {0}, headers = {0};
    table_put_string(&headers, "wide", slice_of(wide, sizeof(wide)));
    props_encode(&props, &(struct props){.flags = PROP_headers, .headers = buf_slice(&headers)});
    struct method m = {.id = METHOD_basic_publish};
    m.basic_publish.routing_key = SLICE("q");
    add_method(&out, 1, &m);
    buf_append(&header, (uint8_t[12]){0, 60}, 12);
    buf_append_slice(&header, buf_slice(&props));
    add_frame(&out, FRAME_HEADER, 1, buf_slice(&header));
    flush(client, &out);
    buf_free(&headers), buf_free(&props), buf_free(&header);
}

static void get(struct client *client, const char *name)
{
    struct method m = {.id = METHOD_basic_get};
    m.basic_get.queue = slice_of_string(name);
    stuff_method(client, 1, m);
    turn();
}

/* Two gets wait. The answer to the first ends a channel, with that a queue, and so the other get. */
START_TEST(get_from_a_queue_that_goes_with_another_get)
{
    enum { TAKEN = 40 };
    struct client waiting;
    server.giving.turn_max = 4;
    connect_client(&hostile, true, 0), connect_client(&other, true, 0), connect_client(&waiting, true, 0);
    struct method m = {.id = METHOD_queue_declare};
    declare(&hostile, "q");
    m.queue_declare.queue = SLICE("gone");
    m.queue_declare.auto_delete = true;
    send(&other, 1, &m);
    publish_wide(&hostile);
    publish(&hostile, "q", 0, TAKEN - 1);
    publish(&hostile, "gone", 0, TAKEN);
    for (int i = 0; i < 2 * TAKEN; i++)
        get(&hostile, i < TAKEN ? "q" : "gone");
    hear(&hostile), hear(&other);
    ck_assert_uint_eq(hostile.deliveries, 2 * TAKEN);
    consume(&other, "gone");
    other.conn->frame_max = FRAME_MIN_SIZE;
    stuff_method(&hostile, 1, nack_all());
    for (int i = 0; i < 10 && !hold_is_on(queue("gone")); i++)
        turn();
    ck_assert(hold_is_on(queue("q")) && hold_is_on(queue("gone")));
    get(&other, "q"), get(&waiting, "gone");
    ck_assert_uint_eq(other.conn->flow.paused & waiting.conn->flow.paused, FLOW_GET);
    for (int turns = 0; giveback_is_busy(&server.giving); turns++) {
        turn();
        if (!vhost_find_queue(server_find_vhost(&server, SLICE("/")), SLICE("gone")))
            ck_assert_uint_eq(waiting.conn->flow.paused, 0); /* it does not wait for what is not there */
        ck_assert_int_lt(turns, 100);
    }
    ck_assert_str_eq(hear(&other), "channel.close(311)");
    ck_assert_str_eq(hear(&waiting), "basic.get_empty");
    ck_assert(list_empty(&server.getting));
    ck_assert_uint_eq(server.home.queue_count, 1);
    hang_up(&hostile), hang_up(&other), hang_up(&waiting);
}
END_TEST

/* With its own consumer: it is handed nothing between basic.recover and recover-ok. */
START_TEST(recover)
{
    take_many();
    consume(&hostile, "q");
    hear(&hostile);
    ck_assert_uint_eq(hostile.deliveries, COUNT + YOUNGER);
    struct method m = {.id = METHOD_basic_recover};
    m.basic_recover.requeue = true;
    stuff_method(&hostile, 1, m);
    publish(&other, "q", 0, 1); /* runs until all is quiet */
    hostile.in.len = 0;
    for (int i = 0; i < 100 && queue_ready(queue("q")) > 0; i++)
        hear(&hostile);
    ck_assert_uint_eq(channel(&hostile)->unacked_max, UINT32_MAX);
    check_held(&hostile, COUNT + YOUNGER + 1, COUNT + YOUNGER);
    ck_assert_uint_eq(unacked_first(&channel(&hostile)->unacked), COUNT + YOUNGER + 1);
    hang_up(&hostile), hang_up(&other);
}
END_TEST

START_TEST(recover_is_answered_before_more_is_handed_out)
{
    struct frame frame;
    struct fault f;
    struct method m = {.id = METHOD_basic_recover};
    size_t used_bytes = 0;
    take_many();
    hear(&hostile);
    struct method again = {.id = METHOD_basic_consume};
    again.basic_consume.queue = SLICE("nothing");
    struct method made = {.id = METHOD_queue_declare};
    made.queue_declare.queue = SLICE("nothing");
    send(&hostile, 1, &made);
    send(&hostile, 1, &again); /* a consumer that has nothing unacked, of a queue that is not held */
    hear(&hostile);
    m.basic_recover.requeue = true;
    stuff_method(&hostile, 1, m);
    turn();
    ck_assert(giveback_is_busy(&server.giving));
    publish(&other, "nothing", 0, 1);
    uint8_t room[4096];
    size_t got = fakenet_client_read(hostile.link, room, sizeof(room));
    ck_assert_int_eq(frame_cut(slice_of(room, got), 131072, &frame, &used_bytes, &f), FRAME_COMPLETE);
    ck_assert(method_decode(frame.payload, &m, &f));
    ck_assert_str_eq(method_name(m.id), "basic.recover_ok");
    hang_up(&hostile), hang_up(&other);
}
END_TEST

START_TEST(connection_that_dies)
{
    take_many();
    struct connection *conn = hostile.conn;
    fakenet_client_reset(hostile.link);
    ck_assert_int_ge(turns_of(ready), 3);
    list_each(node, &server.connections)
        ck_assert_ptr_ne(container_of(node, struct connection, link), conn);
    hear(&other);
    check_order(COUNT);
    hang_up(&hostile), hang_up(&other);
}
END_TEST

START_TEST(connection_that_dies_in_the_midst_of_it)
{
    take_many();
    stuff_method(&hostile, 1, nack_all());
    turn();
    turn();
    ck_assert(giveback_is_busy(&server.giving));
    fakenet_client_reset(hostile.link);
    for (int turns = 0; giveback_is_busy(&server.giving); turns++) {
        turn();
        ck_assert_int_lt(turns, 100);
    }
    ck_assert_uint_eq(queue_ready(queue("q")), COUNT + YOUNGER);
    hear(&other);
    check_order(COUNT);
    hang_up(&hostile), hang_up(&other);
}
END_TEST

START_TEST(closes_are_answered_last)
{
    take_many();
    stuff_method(&hostile, 1, (struct method){.id = METHOD_channel_close});
    ck_assert_int_ge(turns_of(ready), 3);
    ck_assert_uint_eq(hostile.conn->channels.size, 1);
    ck_assert_uint_eq(queue_ready(queue("q")), COUNT + YOUNGER);
    ck_assert_str_eq(hear(&hostile), "channel.close_ok");
    ck_assert_uint_eq(hostile.conn->channels.size, 0);
    hang_up(&hostile), hang_up(&other);
}
END_TEST

START_TEST(close_of_a_connection_is_answered_last)
{
    take_many();
    stuff_method(&hostile, 0, (struct method){.id = METHOD_connection_close});
    ck_assert_int_ge(turns_of(ready), 3);
    ck_assert_int_eq(hostile.conn->state, CONNECTION_OPEN);
    ck_assert_uint_eq(queue_ready(queue("q")), COUNT + YOUNGER);
    ck_assert_str_eq(hear(&hostile), "connection.close_ok");
    hang_up(&hostile), hang_up(&other);
}
END_TEST

/* A soft error is told at once; what the channel had comes back over turns, what basic.get took after
 * close-ok. */
START_TEST(soft_error)
{
    take_many();
    struct method m = {.id = METHOD_basic_get};
    m.basic_get.queue = SLICE("q");
    send(&hostile, 1, &m);
    hear(&hostile);
    m = (struct method){.id = METHOD_basic_ack};
    m.basic_ack.delivery_tag = COUNT + 77;
    stuff_method(&hostile, 1, m);
    turn();
    ck_assert(giveback_is_busy(&server.giving));
    ck_assert_str_eq(hear(&hostile), "channel.close(406)");
    ck_assert_uint_eq(queue("q")->unacked, 1);
    send(&hostile, 1, &(struct method){.id = METHOD_channel_close_ok});
    ck_assert_uint_eq(queue("q")->unacked, 0);
    ck_assert_uint_eq(hostile.conn->channels.size, 0);
    hear(&other);
    check_order(COUNT + 1);
    hang_up(&hostile), hang_up(&other);
}
END_TEST

static void in_the_midst(const struct method *m)
{
    take_many();
    stuff_method(&hostile, 1, nack_all());
    for (int i = 0; i < 2; i++)
        turn();
    ck_assert(giveback_is_busy(&server.giving));
    ck_assert_uint_gt(queue_ready(queue("q")), YOUNGER);
    stuff_method(&other, 1, *m);
    turn();
    ck_assert(giveback_is_busy(&server.giving));
}

START_TEST(queue_deleted_in_the_midst)
{
    struct method m = {.id = METHOD_queue_delete};
    m.queue_delete.queue = SLICE("q");
    in_the_midst(&m);
    ck_assert_str_eq(hear(&other), "queue.delete_ok");
    run();
    ck_assert_uint_eq(server.home.queue_count, 0);
    hang_up(&hostile), hang_up(&other);
}
END_TEST

START_TEST(queue_purged_in_the_midst)
{
    struct method m = {.id = METHOD_queue_purge};
    m.queue_purge.queue = SLICE("q");
    in_the_midst(&m);
    ck_assert_uint_lt(queue_ready(queue("q")), COUNT);
    ck_assert_str_eq(hear(&other), "queue.purge_ok");
    ck_assert_uint_gt(queue_ready(queue("q")), 0);
    check_order(queue_ready(queue("q")));
    hang_up(&hostile), hang_up(&other);
}
END_TEST

/* --- transactions --- */

static size_t uncommitted(void)
{
    return tx_uncommitted(channel(&hostile), false) + tx_uncommitted(channel(&hostile), true);
}

static size_t handed_out(void)
{
    return channel(&hostile)->unacked.size;
}

static void begin_transaction(void)
{
    take_many();
    send(&hostile, 1, &(struct method){.id = METHOD_tx_select});
    hear(&hostile);
    struct method m = nack_all();
    send(&hostile, 1, &m);
    publish_many(&hostile, COUNT);
    ck_assert_uint_eq(uncommitted(), 2 * COUNT);
}

START_TEST(commit)
{
    begin_transaction();
    stuff_method(&hostile, 1, (struct method){.id = METHOD_tx_commit});
    ck_assert_int_ge(turns_of(uncommitted), 6);
    ck_assert_uint_eq(queue_ready(queue("q")), 2 * COUNT + YOUNGER);
    ck_assert_str_eq(hear(&hostile), "tx.commit_ok");
    hear(&other);
    check_order(COUNT);
    hang_up(&hostile), hang_up(&other);
}
END_TEST

START_TEST(rollback)
{
    begin_transaction();
    stuff_method(&hostile, 1, (struct method){.id = METHOD_tx_rollback});
    ck_assert_int_ge(turns_of(handed_out), 3);
    ck_assert_uint_eq(queue_ready(queue("q")), YOUNGER);
    ck_assert_str_eq(hear(&hostile), "tx.rollback_ok");
    check_held(&hostile, COUNT, 0);
    hang_up(&hostile), hang_up(&other);
}
END_TEST

/* What has begun to be committed is committed; what has not is rolled back. */
START_TEST(dies_in_the_midst_of_a_commit)
{
    begin_transaction();
    stuff_method(&hostile, 1, (struct method){.id = METHOD_tx_commit});
    turn();
    turn();
    ck_assert(server.giving.committing);
    fakenet_client_reset(hostile.link);
    run();
    ck_assert(!server.giving.committing);
    ck_assert_uint_eq(queue_ready(queue("q")), 2 * COUNT + YOUNGER);
    hear(&other);
    check_order(COUNT);
    hang_up(&hostile), hang_up(&other);
}
END_TEST

static void publish_durable(struct client *client, int count)
{
    struct buf out = {0};
    for (int i = 0; i < count; i++) {
        uint8_t header[15];
        struct writer w = writer_of(header, sizeof(header));
        struct method m = {.id = METHOD_basic_publish};
        m.basic_publish.routing_key = SLICE("q");
        add_method(&out, 1, &m);
        write_u32(&w, METHOD_basic_publish >> 16 << 16);
        write_u64(&w, 0);
        write_u16(&w, 0x1000); /* delivery_mode */
        write_u8(&w, 2);
        add_frame(&out, FRAME_HEADER, 1, slice_of(header, sizeof(header)));
    }
    flush(client, &out);
}

/* A large transaction is in one batch: nothing of it is on disk before all is, and a crash leaves none
 * of it. */
START_TEST(commit_is_all_or_nothing)
{
    connect_client(&hostile, true, 0);
    connect_client(&other, true, 0);
    declare_it(&hostile, true, NULL, 0);
    send(&hostile, 1, &(struct method){.id = METHOD_tx_select});
    hear(&hostile);
    for (int i = 0; i < COUNT; i += 500)
        publish_durable(&hostile, 500);
    size_t count = uncommitted();
    uint64_t batch = store_open_batch(server.store);
    stuff_method(&hostile, 1, (struct method){.id = METHOD_tx_commit});
    turn();
    turn();
    ck_assert(server.giving.committing);
    size_t so_far = queue_ready(queue("q"));
    ck_assert(so_far > 0 && so_far < count);
    publish_durable(&other, 1);
    ck_assert_uint_eq(queue_ready(queue("q")), count + 1);
    ck_assert_uint_ge(store_durable(server.store), batch);
    ck_assert_str_eq(hear(&hostile), "tx.commit_ok");

    for (int i = 0; i < COUNT; i += 500)
        publish_durable(&hostile, 500);
    stuff_method(&hostile, 1, (struct method){.id = METHOD_tx_commit});
    turn();
    turn();
    ck_assert(server.giving.committing);
    ck_assert_uint_gt(queue_ready(queue("q")), count + 1);
    fakedisk_crash(disk, FAKEDISK_LOSE_ALL);
    server_abandon(&server);
    open_server();
    ck_assert_uint_eq(queue_ready(queue("q")), count + 1);
    fakenet_client_close(&hostile.link), fakenet_client_close(&other.link);
    buf_free(&hostile.in), buf_free(&hostile.heard);
    buf_free(&other.in), buf_free(&other.heard);
}
END_TEST

/* Two large ones after each other: in between the batch goes to the disk. */
START_TEST(commits_take_turns)
{
    struct client *both[] = {&hostile, &other};
    set("connection_unacked_max", "0");
    for (int i = 0; i < 2; i++)
        connect_client(both[i], true, 0);
    declare_it(&hostile, true, NULL, 0);
    for (int i = 0; i < 2; i++) {
        send(both[i], 1, &(struct method){.id = METHOD_tx_select});
        hear(both[i]);
        for (int n = 0; n < COUNT; n += 500)
            publish_durable(both[i], 500);
    }
    for (int i = 0; i < 2; i++)
        stuff_method(both[i], 1, (struct method){.id = METHOD_tx_commit});
    turn();
    turn();
    ck_assert(server.giving.committing && !list_empty(&server.giving.commits));
    uint64_t first = store_open_batch(server.store);
    while (server.giving.committing == channel(&hostile))
        turn();
    while (!list_empty(&server.giving.commits))
        turn();
    ck_assert_uint_gt(store_open_batch(server.store), first);
    run();
    ck_assert_str_eq(hear(&hostile), "tx.commit_ok");
    ck_assert_str_eq(hear(&other), "tx.commit_ok");
    hang_up(&hostile), hang_up(&other);
}
END_TEST

/* The vhost goes while a channel without a connection goes on in it. */
START_TEST(vhost_deleted_in_the_midst)
{
    struct vhost *v;
    begin_transaction();
    stuff_method(&hostile, 1, (struct method){.id = METHOD_tx_commit});
    turn();
    turn();
    ck_assert(server.giving.committing);
    v = server_find_vhost(&server, SLICE("/"));
    while (!list_empty(&v->connections))
        connection_force_close(list_first(&v->connections, struct connection, login.of_vhost), "gone");
    ck_assert_uint_eq(v->detached, 1);
    vhost_delete(&v);
    ck_assert(!list_empty(&server.ending));
    run();
    ck_assert(list_empty(&server.ending) && !giveback_is_busy(&server.giving));
    hang_up(&hostile), hang_up(&other);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {requeue,
                                  consumer_of_what_is_requeued,
                                  consumer_of_what_a_channel_had,
                                  get_waits_for_the_oldest,
                                  get_from_a_queue_that_goes_with_another_get,
                                  recover,
                                  recover_is_answered_before_more_is_handed_out,
                                  connection_that_dies,
                                  connection_that_dies_in_the_midst_of_it,
                                  closes_are_answered_last,
                                  close_of_a_connection_is_answered_last,
                                  soft_error,
                                  queue_deleted_in_the_midst,
                                  queue_purged_in_the_midst,
                                  commit,
                                  rollback,
                                  dies_in_the_midst_of_a_commit,
                                  commit_is_all_or_nothing,
                                  commits_take_turns,
                                  vhost_deleted_in_the_midst};
    return run_suite("giveback", tests, array_size(tests), NULL, 0);
}
