/* librabbitmq_client.c - the core job with librabbitmq: librabbitmq_client HOST PORT.
 * Prints `ok NAME` or `FAIL NAME: why` for each check; the status is 1 when one failed. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include <amqp.h>
#include <amqp_tcp_socket.h>

enum { MAIN = 1, PUBLISHER = 2, TX = 3, BROKEN = 4, LARGE_SIZE = 300000 };

struct client {
    amqp_connection_state_t connection;
    char names[6][64];
    char why[512];
};

enum { DIRECT, FANOUT, TOPIC, HEADERS, DURABLE, NOBODY };
static const char *const kinds[] = {"direct", "fanout", "topic", "headers", "durable", "nobody"};
static const struct timeval patience = {.tv_sec = 10};

/* A check that failed: remembers why. */
static bool wrong(struct client *c, const char *what)
{
    snprintf(c->why, sizeof(c->why), "%s", what);
    return false;
}

/* True when the last synchronous call was answered as it should be. */
static bool answered(struct client *c, const char *what)
{
    amqp_rpc_reply_t reply = amqp_get_rpc_reply(c->connection);
    if (reply.reply_type == AMQP_RESPONSE_NORMAL)
        return true;
    if (reply.reply_type == AMQP_RESPONSE_SERVER_EXCEPTION && reply.reply.id == AMQP_CHANNEL_CLOSE_METHOD) {
        amqp_channel_close_t *closed = reply.reply.decoded;
        snprintf(c->why, sizeof(c->why), "%s: %d %.*s", what, closed->reply_code,
                 (int)closed->reply_text.len, (char *)closed->reply_text.bytes);
        return false;
    }
    snprintf(c->why, sizeof(c->why), "%s: %s", what, amqp_error_string2(reply.library_error));
    return false;
}

static bool is(amqp_bytes_t bytes, const char *text)
{
    return bytes.len == strlen(text) && memcmp(bytes.bytes, text, bytes.len) == 0;
}

static bool publish(struct client *c, int channel, const char *exchange, amqp_bytes_t key, const char *body)
{
    amqp_table_entry_t entry = {.key = amqp_cstring_bytes("colour"),
                                .value = {.kind = AMQP_FIELD_KIND_UTF8,
                                          .value.bytes = amqp_cstring_bytes("red")}};
    amqp_basic_properties_t properties = {
        ._flags = AMQP_BASIC_DELIVERY_MODE_FLAG | AMQP_BASIC_CONTENT_TYPE_FLAG | AMQP_BASIC_HEADERS_FLAG,
        .delivery_mode = 2,
        .content_type = amqp_cstring_bytes("text/plain"),
        .headers = {.num_entries = 1, .entries = &entry}};
    int status = amqp_basic_publish(c->connection, (amqp_channel_t)channel, amqp_cstring_bytes(exchange), key,
                                    true, false, &properties, amqp_cstring_bytes(body));
    return status == AMQP_STATUS_OK || wrong(c, amqp_error_string2(status));
}

/* A queue of this connection; the caller frees the name. */
static bool fresh_queue(struct client *c, amqp_bytes_t *queue)
{
    amqp_queue_declare_ok_t *ok = amqp_queue_declare(c->connection, MAIN, amqp_empty_bytes, false, false,
                                                     true, true, amqp_empty_table);
    if (!ok)
        return answered(c, "queue.declare");
    *queue = amqp_bytes_malloc_dup(ok->queue);
    return true;
}

/* The next delivery has this body and flag; it is acked, rejected or requeued: 'a', 'r', 'q'. */
static bool expect_delivery(struct client *c, const char *body, bool redelivered, char answer)
{
    amqp_envelope_t envelope;
    amqp_maybe_release_buffers(c->connection);
    amqp_rpc_reply_t reply = amqp_consume_message(c->connection, &envelope, &patience, 0);
    if (reply.reply_type != AMQP_RESPONSE_NORMAL)
        return wrong(c, "no delivery");
    bool same = is(envelope.message.body, body) && envelope.redelivered == redelivered &&
                is(envelope.message.properties.content_type, "text/plain");
    uint64_t tag = envelope.delivery_tag;
    amqp_destroy_envelope(&envelope);
    int status = answer == 'a' ? amqp_basic_ack(c->connection, MAIN, tag, false)
                               : amqp_basic_nack(c->connection, MAIN, tag, false, answer == 'q');
    return (same && status == AMQP_STATUS_OK) || wrong(c, "another delivery than expected");
}

static bool consume(struct client *c, amqp_bytes_t queue, const char *tag)
{
    amqp_basic_consume(c->connection, MAIN, queue, amqp_cstring_bytes(tag), false, false, false,
                       amqp_empty_table);
    return answered(c, "basic.consume");
}

static bool cancel(struct client *c, const char *tag)
{
    amqp_basic_cancel(c->connection, MAIN, amqp_cstring_bytes(tag));
    return answered(c, "basic.cancel");
}

/* The next frame of the publisher's channel is this method; acks may say several at once. */
static bool expect_method(struct client *c, amqp_method_number_t id, amqp_frame_t *frame)
{
    int status = amqp_simple_wait_frame_noblock(c->connection, frame, &patience);
    if (status != AMQP_STATUS_OK)
        return wrong(c, amqp_error_string2(status));
    return (frame->frame_type == AMQP_FRAME_METHOD && frame->payload.method.id == id) ||
           wrong(c, amqp_method_name(frame->payload.method.id));
}

static bool declare(struct client *c)
{
    for (int i = DIRECT; i <= HEADERS; i++) {
        amqp_exchange_declare(c->connection, MAIN, amqp_cstring_bytes(c->names[i]),
                              amqp_cstring_bytes(kinds[i]), false, true, false, false, amqp_empty_table);
        if (!answered(c, "exchange.declare"))
            return false;
    }
    amqp_bytes_t queue = amqp_cstring_bytes(c->names[DURABLE]);
    amqp_queue_declare_ok_t *ok = amqp_queue_declare(c->connection, MAIN, queue, false, true, false, false,
                                                     amqp_empty_table);
    return ok ? ok->message_count == 0 && ok->consumer_count == 0 : answered(c, "queue.declare");
}

static bool route_by_each_type(struct client *c)
{
    amqp_bytes_t queue;
    static const char *const keys[] = {"key", "", "a.#", ""};
    amqp_table_entry_t entry = {.key = amqp_cstring_bytes("colour"),
                                .value = {.kind = AMQP_FIELD_KIND_UTF8,
                                          .value.bytes = amqp_cstring_bytes("red")}};
    amqp_table_t arguments = {.num_entries = 1, .entries = &entry};
    if (!fresh_queue(c, &queue))
        return false;
    for (int i = DIRECT; i <= HEADERS; i++) {
        amqp_queue_bind(c->connection, MAIN, queue, amqp_cstring_bytes(c->names[i]),
                        amqp_cstring_bytes(keys[i]), i == HEADERS ? arguments : amqp_empty_table);
        if (!answered(c, "queue.bind"))
            return false;
        amqp_bytes_t key = amqp_cstring_bytes(i == TOPIC ? "a.b.c" : keys[i]);
        if (!publish(c, MAIN, c->names[i], key, kinds[i]))
            return false;
    }
    bool good = consume(c, queue, "route");
    for (int i = DIRECT; good && i <= HEADERS; i++)
        good = expect_delivery(c, kinds[i], false, 'a');
    amqp_bytes_free(queue);
    return good && cancel(c, "route");
}

static bool publish_with_confirms(struct client *c)
{
    amqp_confirm_select(c->connection, PUBLISHER);
    if (!answered(c, "confirm.select"))
        return false;
    amqp_bytes_t key = amqp_cstring_bytes(c->names[DURABLE]);
    for (int i = 1; i <= 20; i++) {
        char body[16];
        snprintf(body, sizeof(body), "%d", i);
        if (!publish(c, PUBLISHER, "", key, body))
            return false;
    }
    uint64_t confirmed = 0, singles = 0;
    while (confirmed + singles < 20) {
        amqp_frame_t frame;
        if (!expect_method(c, AMQP_BASIC_ACK_METHOD, &frame))
            return false;
        amqp_basic_ack_t *ack = frame.payload.method.decoded;
        if (ack->multiple)
            confirmed = ack->delivery_tag, singles = 0;
        else
            singles += ack->delivery_tag > confirmed;
    }
    return true;
}

static bool consume_and_ack(struct client *c)
{
    amqp_basic_qos(c->connection, MAIN, 0, 3, false);
    if (!answered(c, "basic.qos") || !consume(c, amqp_cstring_bytes(c->names[DURABLE]), "durable"))
        return false;
    for (int i = 1; i <= 20; i++) {
        char body[16];
        snprintf(body, sizeof(body), "%d", i);
        if (!expect_delivery(c, body, false, 'a'))
            return false;
    }
    return cancel(c, "durable");
}

static bool nack_requeues_as_redelivered(struct client *c)
{
    amqp_bytes_t queue;
    if (!fresh_queue(c, &queue))
        return false;
    bool good = publish(c, MAIN, "", queue, "again") && consume(c, queue, "requeue") &&
                expect_delivery(c, "again", false, 'q') && expect_delivery(c, "again", true, 'q') &&
                expect_delivery(c, "again", true, 'r') && cancel(c, "requeue");
    amqp_bytes_free(queue);
    return good;
}

static bool mandatory_is_returned(struct client *c)
{
    amqp_frame_t frame;
    amqp_message_t message;
    if (!publish(c, PUBLISHER, "", amqp_cstring_bytes(c->names[NOBODY]), "back") ||
        !expect_method(c, AMQP_BASIC_RETURN_METHOD, &frame))
        return false;
    int code = ((amqp_basic_return_t *)frame.payload.method.decoded)->reply_code;
    amqp_rpc_reply_t reply = amqp_read_message(c->connection, PUBLISHER, &message, 0);
    if (reply.reply_type != AMQP_RESPONSE_NORMAL)
        return wrong(c, "no content after the return");
    bool same = is(message.body, "back") && code == 312;
    amqp_destroy_message(&message);
    return expect_method(c, AMQP_BASIC_ACK_METHOD, &frame) && (same || wrong(c, "another message"));
}

static bool expect_get(struct client *c, amqp_bytes_t queue, size_t size)
{
    amqp_message_t message;
    amqp_rpc_reply_t reply = amqp_basic_get(c->connection, MAIN, queue, true);
    if (reply.reply_type != AMQP_RESPONSE_NORMAL)
        return wrong(c, "basic.get failed");
    if (reply.reply.id == AMQP_BASIC_GET_EMPTY_METHOD)
        return size == 0 || wrong(c, "the queue is empty");
    reply = amqp_read_message(c->connection, MAIN, &message, 0);
    if (reply.reply_type != AMQP_RESPONSE_NORMAL)
        return wrong(c, "no content after get-ok");
    size_t got = message.body.len;
    amqp_destroy_message(&message);
    return got == size || wrong(c, "a body of another size");
}

static bool transactions(struct client *c)
{
    amqp_bytes_t queue;
    if (!fresh_queue(c, &queue))
        return false;
    amqp_tx_select(c->connection, TX);
    bool good = answered(c, "tx.select") && publish(c, TX, "", queue, "lost");
    amqp_tx_rollback(c->connection, TX);
    good = good && answered(c, "tx.rollback") && publish(c, TX, "", queue, "kept") && expect_get(c, queue, 0);
    amqp_tx_commit(c->connection, TX);
    good = good && answered(c, "tx.commit") && expect_get(c, queue, 4) && expect_get(c, queue, 0);
    amqp_bytes_free(queue);
    return good;
}

static bool get_large(struct client *c)
{
    static char large[LARGE_SIZE + 1];
    amqp_bytes_t queue;
    memset(large, 'L', LARGE_SIZE);
    bool good = fresh_queue(c, &queue) && publish(c, MAIN, "", queue, large) &&
                expect_get(c, queue, LARGE_SIZE) && expect_get(c, queue, 0);
    amqp_bytes_free(queue);
    return good;
}

/* The reply code of a channel that the server closed; 0 when it did not. The channel is opened anew. */
static int reopen(struct client *c)
{
    amqp_rpc_reply_t reply = amqp_get_rpc_reply(c->connection);
    if (reply.reply_type != AMQP_RESPONSE_SERVER_EXCEPTION || reply.reply.id != AMQP_CHANNEL_CLOSE_METHOD)
        return 0;
    int code = ((amqp_channel_close_t *)reply.reply.decoded)->reply_code;
    amqp_channel_close_ok_t ok = {0};
    amqp_send_method(c->connection, BROKEN, AMQP_CHANNEL_CLOSE_OK_METHOD, &ok);
    amqp_channel_open(c->connection, BROKEN);
    return answered(c, "channel.open") ? code : 0;
}

static bool channel_errors_leave_the_connection(struct client *c)
{
    amqp_queue_declare(c->connection, BROKEN, amqp_cstring_bytes(c->names[NOBODY]), true, false, false, false,
                       amqp_empty_table);
    if (reopen(c) != 404)
        return wrong(c, "no 404");
    amqp_queue_declare(c->connection, BROKEN, amqp_cstring_bytes(c->names[DURABLE]), false, false, false,
                       false, amqp_empty_table);
    if (reopen(c) != 406)
        return wrong(c, "no 406");
    amqp_queue_purge(c->connection, BROKEN, amqp_cstring_bytes(c->names[DURABLE]));
    return answered(c, "queue.purge");
}

static bool clean_up(struct client *c)
{
    amqp_queue_delete(c->connection, MAIN, amqp_cstring_bytes(c->names[DURABLE]), false, false);
    bool good = answered(c, "queue.delete");
    for (int i = DIRECT; i <= HEADERS; i++) {
        amqp_exchange_delete(c->connection, MAIN, amqp_cstring_bytes(c->names[i]), false);
        good = good && answered(c, "exchange.delete");
    }
    amqp_rpc_reply_t reply = amqp_connection_close(c->connection, AMQP_REPLY_SUCCESS);
    return good && reply.reply_type == AMQP_RESPONSE_NORMAL;
}

static bool log_in(struct client *c, const char *host, int port)
{
    c->connection = amqp_new_connection();
    amqp_socket_t *socket = amqp_tcp_socket_new(c->connection);
    if (!socket || amqp_socket_open(socket, host, port) != AMQP_STATUS_OK)
        return wrong(c, "cannot connect");
    amqp_rpc_reply_t reply = amqp_login(c->connection, "/", 0, 131072, 30, AMQP_SASL_METHOD_PLAIN, "guest",
                                        "guest");
    if (reply.reply_type != AMQP_RESPONSE_NORMAL)
        return wrong(c, "cannot log in");
    for (amqp_channel_t channel = MAIN; channel <= BROKEN; channel++) {
        amqp_channel_open(c->connection, channel);
        if (!answered(c, "channel.open"))
            return false;
    }
    return true;
}

static const struct {
    const char *name;
    bool (*check)(struct client *c);
} checks[] = {
    {"declare", declare},
    {"route by each type", route_by_each_type},
    {"publish with confirms", publish_with_confirms},
    {"consume and ack", consume_and_ack},
    {"nack requeues as redelivered", nack_requeues_as_redelivered},
    {"mandatory is returned", mandatory_is_returned},
    {"transactions", transactions},
    {"get large", get_large},
    {"channel errors leave the connection", channel_errors_leave_the_connection},
    {"clean up", clean_up},
};

int main(int argc, char **argv)
{
    struct client c = {0};
    int failed = 0;
    if (argc != 3)
        return fprintf(stderr, "usage: %s HOST PORT\n", argv[0]), 2;
    for (size_t i = 0; i < sizeof(c.names) / sizeof(*c.names); i++)
        snprintf(c.names[i], sizeof(c.names[i]), "librabbitmq.%d.%s", (int)getpid(), kinds[i]);
    if (!log_in(&c, argv[1], atoi(argv[2])))
        return printf("FAIL log in: %s\n", c.why), 1;
    for (size_t i = 0; i < sizeof(checks) / sizeof(*checks); i++) {
        c.why[0] = '\0';
        bool good = checks[i].check(&c);
        printf(good ? "ok %s\n" : "FAIL %s: %s\n", checks[i].name, c.why);
        failed += !good;
    }
    amqp_destroy_connection(c.connection);
    return failed != 0;
}
