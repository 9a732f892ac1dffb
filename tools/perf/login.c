/* login.c - from a TCP connect to an open vhost and channel (specification, section 2.2.4). */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/mem.h"
#include "protocol/table.h"
#include "tools/perf/client.h"
#include "tools/perf/secure.h"

enum { FRAME_MAX_WANTED = 131072 };

static int connect_to(const struct addrinfo *place, uint64_t timeout_ms)
{
    int fd = socket(place->ai_family, place->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    int error = 0, on = 1;
    if (connect(fd, place->ai_addr, place->ai_addrlen) < 0 && errno != EINPROGRESS)
        error = errno;
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    socklen_t size = sizeof(error);
    if (!error && poll(&p, 1, (int)timeout_ms) <= 0)
        error = ETIMEDOUT;
    if (!error && getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0)
        error = errno;
    if (!error && setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) < 0)
        error = errno;
    if (!error)
        return fd;
    close(fd);
    return -error;
}

/* Tries every address of the name. */
static bool connect_by_name(struct client *c, const struct uri *uri)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *places = NULL;
    int wrong = getaddrinfo(uri->host, uri->port, &hints, &places);
    if (wrong)
        return client_fail(c, "%s: %s", uri->host, gai_strerror(wrong));
    int fd = -EADDRNOTAVAIL;
    for (struct addrinfo *place = places; place && fd < 0; place = place->ai_next)
        fd = connect_to(place, c->timeout_ms);
    freeaddrinfo(places);
    if (fd < 0)
        return client_fail(c, "cannot connect to %s port %s: %s", uri->host, uri->port, strerror(-fd));
    c->fd = fd;
    return true;
}

static bool receive_on_zero(struct client *c, uint32_t id, struct method *m)
{
    struct frame frame;
    struct fault f;
    if (!client_receive(c, &frame))
        return false;
    if (frame.type != FRAME_METHOD || !method_decode(frame.payload, m, &f) || m->id != id)
        return client_fail_method(c, frame.payload);
    return true;
}

static void note_server(struct client *c, struct slice properties)
{
    struct field product, version;
    struct slice name = SLICE("unknown broker"), number = {0};
    if (table_find(properties, "product", &product))
        field_string(&product, &name);
    if (table_find(properties, "version", &version))
        field_string(&version, &number);
    snprintf(c->server, sizeof(c->server), "%.*s %.*s", SLICE_ARG(name), SLICE_ARG(number));
    for (char *at = c->server; *at; at++)
        if ((unsigned char)*at < ' ' || *at == '"' || *at == '\\')
            *at = '?';
}

static void put_start_ok(struct client *c, const struct uri *uri)
{
    struct buf properties = {0}, capabilities = {0}, response = {0};
    static const char *const names[] = {"publisher_confirms", "consumer_cancel_notify", "basic.nack",
                                        "connection.blocked", "authentication_failure_close"};
    for (size_t i = 0; i < array_size(names); i++)
        table_put_bool(&capabilities, names[i], true);
    table_put_string(&properties, "product", SLICE("leveret-perf"));
    table_put_string(&properties, "version", SLICE(LEVERET_VERSION));
    table_put_table(&properties, "capabilities", buf_slice(&capabilities));
    buf_append(&response, "", 1);
    buf_append(&response, uri->user, strlen(uri->user) + 1);
    buf_append(&response, uri->password, strlen(uri->password));
    struct method m = {.id = METHOD_connection_start_ok,
                       .connection_start_ok = {.client_properties = buf_slice(&properties),
                                               .mechanism = SLICE("PLAIN"),
                                               .response = buf_slice(&response),
                                               .locale = SLICE("en_US")}};
    client_put(c, 0, &m);
    buf_free(&properties);
    buf_free(&capabilities);
    buf_free(&response);
}

bool client_open(struct client *c, const struct uri *uri)
{
    struct method m;
    assert(c->fd < 0);
    if (!connect_by_name(c, uri) || (uri->context && !secure_open(c, uri)))
        return false;
    buf_append(&c->out, "AMQP\0\0\x09\x01", 8);
    if (!client_flush(c) || !receive_on_zero(c, METHOD_connection_start, &m))
        return false;
    note_server(c, m.connection_start.server_properties);
    put_start_ok(c, uri);
    if (!client_flush(c) || !receive_on_zero(c, METHOD_connection_tune, &m))
        return false;
    uint32_t offered = m.connection_tune.frame_max;
    c->frame_max = offered && offered < FRAME_MAX_WANTED ? offered : FRAME_MAX_WANTED;
    struct method tune_ok = {.id = METHOD_connection_tune_ok,
                             .connection_tune_ok = {.channel_max = m.connection_tune.channel_max,
                                                    .frame_max = c->frame_max}};
    client_put(c, 0, &tune_ok);
    struct method open_vhost = {.id = METHOD_connection_open,
                                .connection_open = {.virtual_host = slice_of_string(uri->vhost)}};
    client_put(c, 0, &open_vhost);
    return client_flush(c) && receive_on_zero(c, METHOD_connection_open_ok, &m);
}

bool client_open_channel(struct client *c)
{
    struct method m = {.id = METHOD_channel_open};
    return client_call(c, &m, METHOD_channel_open_ok, NULL);
}
