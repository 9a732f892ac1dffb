/* handshake.c - from the protocol header to connection.open-ok (semantics 1.1), and what class connection
 * allows later. */
#include <stdio.h>

#include "broker/connection.h"
#include "broker/connection_info.h"
#include "broker/vhost.h"
#include "protocol/table.h"

/* A bad login is answered late, so that guessing is slow (K04). */
enum { SILENT_CLOSE_DELAY_MS = 3000 };

static const uint8_t header_0_9_1[8] = {'A', 'M', 'Q', 'P', 0, 0, 9, 1};
static const uint8_t header_0_9[8] = {'A', 'M', 'Q', 'P', 1, 1, 0, 9};

static void send_start(struct connection *conn)
{
    static const char *const capabilities[] = {
        "publisher_confirms", "exchange_exchange_bindings", "basic.nack", "consumer_cancel_notify",
        "connection.blocked", "authentication_failure_close", "per_consumer_qos",
        "direct_reply_to",
    };
    struct buf granted = {0}, properties = {0};
    char cluster[SERVER_NODE_SIZE];
    server_node(cluster);
    for (size_t i = 0; i < array_size(capabilities); i++)
        table_put_bool(&granted, capabilities[i], true);
    table_put_table(&properties, "capabilities", buf_slice(&granted));
    table_put_string(&properties, "cluster_name", slice_of_string(cluster));
    table_put_string(&properties, "copyright", SLICE("The Leveret authors"));
    table_put_string(&properties, "information", SLICE("An AMQP 0-9-1 push broker"));
    table_put_string(&properties, "platform", SLICE("C17"));
    table_put_string(&properties, "product", SLICE("Leveret"));
    table_put_string(&properties, "version", SLICE(LEVERET_VERSION));
    const struct config *config = conn->server->config;
    struct method m = {.id = METHOD_connection_start};
    m.connection_start.version_major = 0;
    m.connection_start.version_minor = 9;
    m.connection_start.server_properties = buf_slice(&properties);
    m.connection_start.mechanisms = config->mechanism_plain && config->mechanism_amqplain
                                        ? SLICE("AMQPLAIN PLAIN")
                                    : config->mechanism_plain ? SLICE("PLAIN")
                                                              : SLICE("AMQPLAIN");
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
    log_line(&s->log, LOG_ERROR, conn->id,
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

/* Says nothing of the reason to the client (K03, K04). */
static bool refuse_login(struct connection *conn, struct slice mechanism, const char *why,
                         struct fault *f)
{
    struct server *s = conn->server;
    log_line(&s->log, LOG_ERROR, conn->id,
             "Error on AMQP connection (%s, state: starting): %.*s login refused: %s", conn->name,
             SLICE_ARG(mechanism), why);
    if (conn->capabilities.authentication_failure_close) {
        *f = (struct fault){0};
        fault(f, ACCESS_REFUSED,
              "Login was refused using authentication mechanism %.*s. "
              "For details see the broker logfile.",
              SLICE_ARG(mechanism));
        return false;
    }
    conn->state = CONNECTION_SILENT;
    conn->timer.fire = silent_close;
    timer_set(&s->timers, &conn->timer, server_now_ms(s) + SILENT_CLOSE_DELAY_MS);
    return true;
}

/* AMQPLAIN: a field table without its length prefix, with LOGIN and PASSWORD. */
static bool sasl_amqplain(struct slice response, struct slice *name, struct slice *password)
{
    struct field field;
    return table_check(response) && table_find(response, "LOGIN", &field) &&
           field_string(&field, name) && table_find(response, "PASSWORD", &field) &&
           field_string(&field, password);
}

/* The user behind a SASL response, NULL and the reason otherwise. */
static struct user *login(struct connection *conn, struct slice mechanism, struct slice response,
                          const char **why)
{
    const struct config *config = conn->server->config;
    struct slice name, password;
    bool parsed;
    if (slice_is(mechanism, "PLAIN") && config->mechanism_plain) {
        parsed = sasl_plain(response, &name, &password);
    } else if (slice_is(mechanism, "AMQPLAIN") && config->mechanism_amqplain) {
        parsed = sasl_amqplain(response, &name, &password);
    } else {
        *why = "this mechanism is not offered";
        return NULL;
    }
    *why = "malformed response";
    if (!parsed)
        return NULL;
    struct user *user = user_authenticate(&conn->server->users, name, password);
    *why = "invalid credentials";
    if (user && user->loopback_only && !conn->peer->loopback) {
        *why = "this user can only connect from localhost";
        return NULL;
    }
    return user;
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

/* Who it said it is, "" when that cannot be read. */
static struct slice attempted_name(const struct amqp_connection_start_ok *ok)
{
    struct slice name = {0}, password;
    bool plain = slice_is(ok->mechanism, "PLAIN");
    bool parsed = plain ? sasl_plain(ok->response, &name, &password)
                        : sasl_amqplain(ok->response, &name, &password);
    return parsed ? name : SLICE("");
}

static bool start_ok(struct connection *conn, const struct amqp_connection_start_ok *ok,
                     struct fault *f)
{
    const char *why;
    read_capabilities(conn, ok->client_properties);
    connection_describe(conn, ok->mechanism, ok->client_properties);
    struct user *user = login(conn, ok->mechanism, ok->response, &why);
    event_login(conn, attempted_name(ok), ok->mechanism, user ? NULL : why);
    if (!user)
        return refuse_login(conn, ok->mechanism, why, f);
    login_as(conn, user);
    conn->state = CONNECTION_TUNED;
    send_tune(conn);
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
    if (!gate_admit(conn, f) || !login_enter(conn, v, f))
        return false;
    conn->state = CONNECTION_OPEN;
    connection_send(conn, 0, &(struct method){.id = METHOD_connection_open_ok});
    connection_start_heartbeat(conn);
    conn->announced = true;
    event_connection(conn, "connection.created");
    log_line(&s->log, LOG_INFO, conn->id,
             "connection (%s): user '%.*s' authenticated and granted access to vhost '%.*s'",
             conn->name, SLICE_ARG(conn->user->name), SLICE_ARG(name));
    return true;
}

bool connection_handshake(struct connection *conn, const struct method *m, struct fault *f)
{
    if (m->id == METHOD_connection_start_ok && conn->state == CONNECTION_STARTED)
        return start_ok(conn, &m->connection_start_ok, f);
    if (m->id == METHOD_connection_tune_ok && conn->state == CONNECTION_TUNED)
        return tune_ok(conn, &m->connection_tune_ok, f);
    if (m->id == METHOD_connection_open && conn->state == CONNECTION_OPENING)
        return open_vhost(conn, m->connection_open.virtual_host, f);
    if (m->id == METHOD_connection_update_secret && conn->state == CONNECTION_OPEN) {
        /* As RabbitMQ's internal backend: its users' sessions do not expire, so there is nothing to renew. */
        connection_send(conn, 0, &(struct method){.id = METHOD_connection_update_secret_ok});
        return true;
    }
    if (m->id == METHOD_connection_blocked || m->id == METHOD_connection_unblocked)
        return conn->state == CONNECTION_OPEN ||
               fault(f, COMMAND_INVALID, "%s is not for the server", method_name(m->id));
    return fault(f, COMMAND_INVALID, "%s was not expected now", method_name(m->id));
}
