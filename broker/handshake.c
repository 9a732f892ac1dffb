/* handshake.c - from the protocol header to connection.open-ok (semantics 1.1), and what class connection
 * allows later. */
#include <stdio.h>

#include "broker/connection_info.h"
#include "broker/consume.h"
#include "broker/json_in.h"
#include "broker/parameters.h"
#include "broker/vhost.h"
#include "protocol/table.h"

/* A bad login is answered late, so that guessing is slow (K04). */
enum { SILENT_CLOSE_DELAY_MS = 3000, REFUSAL_DELAY_MS = 500 };

static const uint8_t header_0_9_1[8] = {'A', 'M', 'Q', 'P', 0, 0, 9, 1};
static const uint8_t header_0_9[8] = {'A', 'M', 'Q', 'P', 1, 1, 0, 9};

/* The global parameter cluster_name, as in RabbitMQ, or the node's name. A parameter may be any JSON of any
 * size: what is no name, or longer than names are, is not told to everybody who connects. */
static void put_cluster_name(const struct server *s, struct buf *properties)
{
    enum { JSON_MAX = 2 + 6 * 255 }; /* every byte escaped, and the quotes */
    char node[SERVER_NODE_SIZE], error[64];
    const struct parameter *set =
        parameters_find(s, SLICE(""), SLICE("global"), SLICE("cluster_name"));
    bool short_enough = set && set->value.len <= JSON_MAX;
    json_t *value = short_enough ? json_in_parse(set->value, error, sizeof(error)) : NULL;
    server_node(node);
    bool named = json_is_string(value) && json_string_length(value) <= UINT8_MAX;
    const char *name = named ? json_string_value(value) : node;
    table_put_string(properties, "cluster_name", slice_of_string(name));
    json_decref(value);
}

static void send_start(struct connection *conn)
{
    static const char *const capabilities[] = {
        "publisher_confirms", "exchange_exchange_bindings", "basic.nack", "consumer_cancel_notify",
        "connection.blocked", "consumer_priorities", "authentication_failure_close", "per_consumer_qos",
        "direct_reply_to",
    };
    struct buf granted = {0}, properties = {0};
    for (size_t i = 0; i < array_size(capabilities); i++)
        table_put_bool(&granted, capabilities[i], true);
    table_put_table(&properties, "capabilities", buf_slice(&granted));
    put_cluster_name(conn->server, &properties);
    table_put_string(&properties, "copyright", SLICE("The Leveret authors"));
    table_put_string(&properties, "information", SLICE("An AMQP 0-9-1 push broker"));
    table_put_string(&properties, "platform", SLICE("C17"));
    table_put_string(&properties, "product", SLICE("Leveret"));
    table_put_string(&properties, "version", SLICE(LEVERET_VERSION));
    char mechanisms[64];
    struct method m = {.id = METHOD_connection_start};
    m.connection_start.version_major = 0;
    m.connection_start.version_minor = 9;
    m.connection_start.server_properties = buf_slice(&properties);
    m.connection_start.mechanisms = login_mechanisms(conn, mechanisms);
    m.connection_start.locales = SLICE("en_US");
    connection_send(conn, 0, &m);
    buf_free(&granted);
    buf_free(&properties);
}

/* What a peer that does not speak AMQP 0-9-1 probably is, for the log (K02). */
static const char *guess_protocol(struct slice in)
{
    if (in.len >= 4 && (slice_starts_with(in, "GET ") || slice_starts_with(in, "POST") ||
                        slice_starts_with(in, "HEAD") || slice_starts_with(in, "PUT ")))
        return "an HTTP request";
    if (in.len >= 2 && in.at[0] == 0x16 && in.at[1] == 3)
        return "a TLS hello: this listener is not a TLS one";
    if (slice_starts_with(in, "AMQP"))
        return "another version of AMQP";
    if (in.len >= 8 && in.at[0] == 0x10 && memcmp(in.at + 4, "MQTT", 4) == 0)
        return "MQTT";
    return "no protocol that is known here";
}

size_t connection_protocol_header(struct connection *conn, struct slice in)
{
    struct server *s = conn->server;
    size_t have = in.len < 8 ? in.len : 8;
    bool right = memcmp(in.at, header_0_9_1, have) == 0 || memcmp(in.at, header_0_9, have) == 0;
    if (right && have < 8)
        return 0;
    if (right) {
        conn->state = CONNECTION_STARTED;
        send_start(conn);
        return 8;
    }
    chatter_line(s, conn->peer->peer_host, LOG_ERROR, conn->id,
             "closing AMQP connection (%s): bad header, it looks like %s", conn->name,
             guess_protocol(in));
    stream_write(&conn->stream, slice_of(header_0_9_1, 8));
    connection_hang_up(conn);
    return in.len;
}

static void read_capabilities(struct connection *conn, struct slice properties)
{
    struct field field;
    if (!table_find(properties, "capabilities", &field) || field.type != 'F')
        return;
    const struct {
        const char *name;
        bool *flag;
    } known[] = {
        {"consumer_cancel_notify", &conn->capabilities.consumer_cancel_notify},
        {"connection.blocked", &conn->capabilities.connection_blocked},
        {"authentication_failure_close", &conn->capabilities.authentication_failure_close},
    };
    struct slice table = field.bytes;
    for (size_t i = 0; i < array_size(known); i++)
        if (table_find(table, known[i].name, &field))
            field_bool(&field, known[i].flag);
}

static void silent_close(struct timer *timer)
{
    connection_hang_up(container_of(timer, struct connection, timer));
}

/* Says nothing of the reason (K03). */
static void tell_refused(struct timer *timer)
{
    struct connection *conn = container_of(timer, struct connection, timer);
    struct fault f = {0};
    fault(&f, ACCESS_REFUSED,
          "Login was refused using authentication mechanism %s. For details see the broker logfile.",
          conn->login.mechanism);
    conn->state = CONNECTION_STARTED;
    connection_fail(conn, &f);
}

/* Whatever was wrong, the answer comes after the same time (K03, K04). */
static void refuse_login(struct connection *conn, const char *why)
{
    struct server *s = conn->server;
    bool tells = conn->capabilities.authentication_failure_close;
    struct slice name = login_name(conn);
    chatter_line(s, conn->peer->peer_host, LOG_ERROR, conn->id,
                 "Error on AMQP connection (%s, state: starting): %s login refused: user '%.*s' - %s",
                 conn->name, conn->login.mechanism, SLICE_ARG(name), why);
    s->logins.refused++;
    conn->state = CONNECTION_SILENT;
    conn->timer.fire = tells ? tell_refused : silent_close;
    timer_set(&s->timers, &conn->timer,
              server_now_ms(s) + (tells ? REFUSAL_DELAY_MS : SILENT_CLOSE_DELAY_MS));
}

static void send_tune(struct connection *conn)
{
    const struct config *config = conn->server->config;
    struct method m = {.id = METHOD_connection_tune};
    m.connection_tune.channel_max = (uint16_t)config->channel_max;
    m.connection_tune.frame_max = config->frame_max;
    m.connection_tune.heartbeat = (uint16_t)config->heartbeat_s;
    connection_send(conn, 0, &m);
}

void connection_logged_in(struct connection *conn, bool passed, const char *why)
{
    event_login(conn, login_name(conn), slice_of_string(conn->login.mechanism), passed ? NULL : why);
    if (!passed) {
        refuse_login(conn, why);
        return;
    }
    conn->server->logins.passed++;
    conn->state = CONNECTION_TUNED;
    send_tune(conn);
}

static bool start_ok(struct connection *conn, const struct amqp_connection_start_ok *ok)
{
    const char *why = NULL;
    read_capabilities(conn, ok->client_properties);
    connection_describe(conn, ok->mechanism, ok->client_properties);
    bool known = ok->mechanism.len < sizeof(conn->login.mechanism); /* else the text would be cut */
    snprintf(conn->login.mechanism, sizeof(conn->login.mechanism), "%.*s",
             known ? (int)ok->mechanism.len : 0, (const char *)ok->mechanism.at);
    conn->state = CONNECTION_AUTHENTICATING;
    enum login_result result = login_start(conn, ok->mechanism, ok->response, &why);
    if (result != LOGIN_WAITS)
        connection_logged_in(conn, result == LOGIN_PASSED, why);
    return true;
}

/* Semantics 1.1, tune-ok limits (K07, K08). */
static bool check_negotiated(const char *field, uint32_t value, uint32_t min, uint32_t max,
                             struct fault *f)
{
    if (value != 0 && value < min)
        return fault(f, NOT_ALLOWED,
                     "negotiated %s = %u is lower than the minimum allowed value (%u)", field,
                     value, min);
    if (value == 0 || value > max)
        return fault(f, NOT_ALLOWED,
                     "negotiated %s = %u%s is higher than the maximum allowed value (%u)", field,
                     value, value ? "" : " (no limit)", max);
    return true;
}

static bool tune_ok(struct connection *conn, const struct amqp_connection_tune_ok *ok,
                    struct fault *f)
{
    const struct config *config = conn->server->config;
    if (!check_negotiated("frame_max", ok->frame_max, FRAME_MIN_SIZE, config->frame_max, f) ||
        !check_negotiated("channel_max", ok->channel_max, 1, config->channel_max, f))
        return false;
    conn->frame_max = ok->frame_max;
    conn->channel_max = ok->channel_max;
    conn->heartbeat.interval_s = ok->heartbeat;
    conn->state = CONNECTION_OPENING;
    return true;
}

static bool open_vhost(struct connection *conn, struct slice name, struct fault *f)
{
    struct server *s = conn->server;
    struct vhost *v = server_find_vhost(s, name);
    if (!v)
        return fault(f, NOT_ALLOWED, "vhost %.*s not found", SLICE_ARG(name));
    if (!login_enter(conn, v, f) || !gate_admit(conn, f))
        return false;
    conn->state = CONNECTION_OPEN;
    connection_send(conn, 0, &(struct method){.id = METHOD_connection_open_ok});
    connection_start_heartbeat(conn);
    conn->announced = true;
    event_connection(conn, "connection.created");
    struct slice own = connection_info_name(conn->login.info);
    chatter_line(s, conn->peer->peer_host, LOG_INFO, conn->id,
                 "connection (%s%s%.*s): user '%.*s' authenticated and granted access to vhost '%.*s'",
                 conn->name, own.len ? " - " : "", SLICE_ARG(own), SLICE_ARG(conn->user->name),
                 SLICE_ARG(name));
    return true;
}

void connection_renewed(struct connection *conn, const char *why)
{
    struct server *s = conn->server;
    struct fault f = {0};
    if (why) {
        chatter_line(s, conn->peer->peer_host, LOG_ERROR, conn->id,
                     "secret update was refused for user '%.*s': %s", SLICE_ARG(conn->user->name), why);
        fault(&f, NOT_ALLOWED, "New secret was refused by one of the backends");
        f.class_id = METHOD_connection_update_secret >> 16;
        f.method_id = (uint16_t)METHOD_connection_update_secret;
        connection_fail(conn, &f);
        return;
    }
    /* Only a token's rights can have become less by this. */
    for (size_t i = 0; conn->login.grant && i < conn->channels.capacity; i++)
        if (conn->channels.slots[i])
            consume_revoke(conn->channels.slots[i]);
    chatter_line(s, conn->peer->peer_host, LOG_INFO, conn->id,
                 "connection (%s): user '%.*s' updated secret", conn->name, SLICE_ARG(conn->user->name));
    connection_send(conn, 0, &(struct method){.id = METHOD_connection_update_secret_ok});
}

static bool update_secret(struct connection *conn, struct slice secret)
{
    const char *why = NULL;
    enum login_result result = login_renew(conn, secret, &why);
    if (result != LOGIN_WAITS)
        connection_renewed(conn, why);
    return true;
}

/* RabbitMQ's word for a state, for texts. */
static const char *state_word(enum connection_state state)
{
    switch (state) {
    case CONNECTION_STARTED: return "starting";
    case CONNECTION_AUTHENTICATING: return "securing";
    case CONNECTION_TUNED: return "tuning";
    case CONNECTION_OPENING: return "opening";
    case CONNECTION_OPEN: return "running";
    default: return "closing";
    }
}

bool connection_handshake(struct connection *conn, const struct method *m, struct fault *f)
{
    if (m->id == METHOD_connection_start_ok && conn->state == CONNECTION_STARTED)
        return start_ok(conn, &m->connection_start_ok);
    if (m->id == METHOD_connection_tune_ok && conn->state == CONNECTION_TUNED)
        return tune_ok(conn, &m->connection_tune_ok, f);
    if (m->id == METHOD_connection_open && conn->state == CONNECTION_OPENING)
        return open_vhost(conn, m->connection_open.virtual_host, f);
    if (m->id == METHOD_connection_update_secret && conn->state == CONNECTION_OPEN)
        return update_secret(conn, m->connection_update_secret.new_secret);
    bool is_blocked = m->id == METHOD_connection_blocked || m->id == METHOD_connection_unblocked;
    if (is_blocked && conn->state == CONNECTION_OPEN)
        return true;
    return fault(f, CHANNEL_ERROR, "unexpected method in connection state %s", state_word(conn->state));
}
