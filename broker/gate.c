/* gate.c - how clients come in.
 *
 * Owner: the server. The loop reads no file: after the start certificates are read by the worker, and only
 * when all of them are good do new connections get them. */
#include "broker/gate.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/mem.h"
#include "broker/connection.h"
#include "broker/server.h"

enum { WORKERS_MAX = 4, ERROR_SIZE = 2048 };

void gate_init(struct gate *gate)
{
    *gate = (struct gate){0};
    list_init(&gate->shaking);
}

/* ---- TLS ---- */

static struct tls_context *make_context(const struct config_tls *tls, char *error, size_t error_size)
{
    struct tls_pair names[CONFIG_SNI_MAX];
    char ciphers[CONFIG_CIPHERS_MAX];
    config_join_items(tls->ciphers, ':', ciphers, sizeof(ciphers));
    for (size_t i = 0; i < tls->sni.count; i++) {
        const struct config_sni_name *name = &tls->sni.at[i];
        names[i] = (struct tls_pair){name->name, name->certfile, name->keyfile, name->password};
    }
    struct tls_options options = {
        .main = {NULL, tls->certfile, tls->keyfile, tls->password},
        .sni = names,
        .sni_count = tls->sni.count,
        .cacertfile = tls->cacertfile,
        .crlfile = tls->crlfile,
        .ciphers = ciphers,
        .crl_check = (enum tls_crl_check)tls->crl_check,
        .verify_peer = tls->verify_peer,
        .fail_if_no_peer_cert = tls->fail_if_no_peer_cert,
        .tls_1_2 = config_has_item(tls->versions, "tlsv1.2"),
        .tls_1_3 = config_has_item(tls->versions, "tlsv1.3"),
        .honor_cipher_order = tls->honor_cipher_order,
        .reuse_sessions = tls->reuse_sessions,
        .depth = tls->depth,
    };
    return tls_context_new(&options, error, error_size);
}

static void wake_loop(void *arg)
{
    struct server *s = arg;
    loop_wake(s->loop);
}

/* Half of the processors may be busy with handshakes: the others are for those who are through. */
static bool open_tls(struct server *s)
{
    struct gate *gate = &s->gate;
    char error[ERROR_SIZE];
    if (s->config->tls.listeners.count == 0)
        return true;
    gate->tls = make_context(&s->config->tls, error, sizeof(error));
    if (!gate->tls) {
        log_line(&s->log, LOG_CRITICAL, 0, "%s", error);
        return false;
    }
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    long threads = processors / 2 < 1 ? 1 : processors / 2 > WORKERS_MAX ? WORKERS_MAX : processors / 2;
    gate->worker = s->net.worker = worker_new((unsigned)threads, wake_loop, s);
    return true;
}

struct reload {
    struct work work;
    struct server *server;
    struct tls_context *context;
    char error[ERROR_SIZE];
};

static void run_reload(struct work *work)
{
    struct reload *reload = container_of(work, struct reload, work);
    /* The configuration does not change after the start. */
    reload->context = make_context(&reload->server->config->tls, reload->error, sizeof(reload->error));
}

static void reload_done(struct work *work)
{
    struct reload *reload = container_of(work, struct reload, work);
    struct server *s = reload->server;
    struct gate *gate = &s->gate;
    if (reload->context) {
        tls_context_unref(&gate->tls);
        gate->tls = reload->context;
        log_line(&s->log, LOG_NOTICE, 0, "TLS: certificates and keys were read again, for new connections");
    } else {
        log_line(&s->log, LOG_ERROR, 0, "TLS: the old certificates stay in use: %s", reload->error);
    }
    mem_free(reload);
    gate->reloading = false;
    if (gate->reload_again && !s->stopping)
        gate_reload(s);
}

void gate_reload(struct server *s)
{
    struct gate *gate = &s->gate;
    if (!gate->worker)
        return;
    gate->reload_again = gate->reloading; /* the files may have changed since that one read them */
    if (gate->reloading)
        return;
    struct reload *reload = mem_zalloc(sizeof(*reload));
    gate->reloading = true;
    reload->server = s;
    reload->work = (struct work){.run = run_reload, .done = reload_done};
    worker_post(gate->worker, &reload->work);
}

/* ---- listeners ---- */

static void on_accept(void *arg, const struct transport *transport, void *io,
                      const struct peer *peer)
{
    struct connection *conn = server_accept(arg, transport, io, peer);
    tcp_attach(io, &conn->stream);
}

static void on_refuse(void *arg, const struct peer *peer, const char *why, bool harmless)
{
    struct server *s = arg;
    chatter_line(s, peer->peer_host, harmless ? LOG_DEBUG : LOG_ERROR, 0,
                 "refusing connection (%s:%u -> %s:%u): %s", peer->peer_host, peer->peer_port,
                 peer->host, peer->port, why);
}

static void on_pause(void *arg, int error)
{
    struct server *s = arg;
    log_line(&s->log, LOG_WARNING, 0, "not accepting clients for now: %s", strerror(-error));
}

static void read_sources(struct gate *gate, const char *list)
{
    struct slice value;
    while (gate->source_count < GATE_SOURCES_MAX && config_next_item(&list, &value)) {
        char text[64];
        assert(value.len < sizeof(text));
        snprintf(text, sizeof(text), "%.*s", SLICE_ARG(value));
        bool good = address_range_read(text, &gate->sources[gate->source_count++]);
        assertf(good, "the configuration let '%s' pass", text);
    }
}

static struct listener_options listener_options(struct server *s, bool tls)
{
    const struct config *config = s->config;
    const struct config_tcp *tcp = &config->tcp;
    return (struct listener_options){
        .tcp = {.backlog = (int)tcp->backlog,
                .sndbuf = (int)tcp->sndbuf,
                .recbuf = (int)tcp->recbuf,
                .nodelay = tcp->nodelay,
                .keepalive = tcp->keepalive,
                .linger = tcp->linger,
                .linger_s = (int)tcp->linger_s},
        .tls = tls ? &s->gate.tls : NULL,
        .worker = s->gate.worker,
        .proxy = tcp->proxy_protocol,
        .proxy_sources = s->gate.sources,
        .proxy_source_count = s->gate.source_count,
        .arrival_ms = tls ? config->tls.handshake_timeout_ms : config->handshake_timeout_ms,
        .arrivals_max = tcp->handshakes_max,
        .on_accept = on_accept,
        .on_refuse = on_refuse,
        .arg = s,
    };
}

static bool refuse(struct server *s, const char *error, bool tls)
{
    const char *family = tls ? "ssl" : "tcp";
    log_line(&s->log, LOG_CRITICAL, 0, "%s (the keys listeners.%s.* say where to listen)", error, family);
    return false;
}

static bool bind_at(struct server *s, const struct listen_address *address, bool tls)
{
    struct gate *gate = &s->gate;
    struct listener_options options = listener_options(s, tls);
    char error[256];
    options.host = address->host;
    options.port = address->port;
    assert(gate->bound_count < array_size(gate->bound));
    int fd = listener_bind(&options, error, sizeof(error));
    if (fd < 0)
        return refuse(s, error, tls);
    gate->bound[gate->bound_count++] = fd;
    return true;
}

static bool listen_at(struct server *s, const struct listen_address *address, bool tls)
{
    struct gate *gate = &s->gate;
    struct listener_options options = listener_options(s, tls);
    struct listener **listener = &gate->listeners[gate->listener_count];
    char error[256];
    options.host = address->host;
    options.port = address->port;
    options.fd = gate->bound[gate->listener_count];
    assert(gate->listener_count < gate->bound_count && options.fd > 0);
    gate->bound[gate->listener_count] = 0;
    if (listener_open(listener, s->loop, &options, error, sizeof(error)) < 0)
        return refuse(s, error, tls);
    gate->listener_count++;
    listener_on_pause(*listener, on_pause);
    log_line(&s->log, LOG_INFO, 0, "started %s listener on %s:%u", tls ? "TLS" : "TCP",
             address->host[0] ? address->host : "[::]", listener_port(*listener));
    return true;
}

static bool each_address(struct server *s,
                         bool (*go)(struct server *s, const struct listen_address *address, bool tls))
{
    const struct listen_list *tcp = &s->config->listeners, *ssl = &s->config->tls.listeners;
    bool good = true;
    for (size_t i = 0; good && i < tcp->count; i++)
        good = go(s, &tcp->at[i], false);
    for (size_t i = 0; good && i < ssl->count; i++)
        good = go(s, &ssl->at[i], true);
    return good;
}

bool gate_bind(struct server *s)
{
    return open_tls(s) && each_address(s, bind_at);
}

bool gate_open(struct server *s)
{
    read_sources(&s->gate, s->config->tcp.proxy_sources);
    return each_address(s, listen_at);
}

void gate_close(struct server *s)
{
    struct gate *gate = &s->gate;
    for (size_t i = 0; i < gate->bound_count; i++)
        if (gate->bound[i])
            close(gate->bound[i]);
    gate->bound_count = 0;
    while (gate->listener_count > 0)
        listener_close(&gate->listeners[--gate->listener_count]);
}

void gate_free(struct server *s)
{
    struct gate *gate = &s->gate;
    assert(gate->listener_count == 0 && list_empty(&gate->shaking) && gate->open_count == 0);
    gate->reload_again = false;
    s->net.worker = NULL;
    worker_free(&gate->worker);
    tls_context_unref(&gate->tls);
}

/* ---- how many ---- */

void gate_enter(struct connection *conn)
{
    struct server *s = conn->server;
    struct gate *gate = &s->gate;
    list_push_back(&gate->shaking, &conn->admission.shaking);
    gate->shaking_count++;
    if (gate->shaking_count <= s->config->tcp.handshakes_max)
        return;
    struct connection *oldest = list_first(&gate->shaking, struct connection, admission.shaking);
    chatter_line(s, oldest->peer->peer_host, LOG_ERROR, oldest->id,
             "closing AMQP connection (%s): handshakes_max = %u connections are in their handshake, this is "
             "the oldest",
             oldest->name, s->config->tcp.handshakes_max);
    stream_abort(&oldest->stream, 0);
}

static void stop_shaking(struct connection *conn)
{
    struct gate *gate = &conn->server->gate;
    if (!list_linked(&conn->admission.shaking))
        return;
    list_remove(&conn->admission.shaking);
    assert(gate->shaking_count > 0);
    gate->shaking_count--;
}

bool gate_admit(struct connection *conn, struct fault *f)
{
    struct gate *gate = &conn->server->gate;
    uint64_t max = conn->server->config->tcp.connection_max;
    assert(!conn->admission.open);
    if (gate->open_count >= max)
        return fault(f, NOT_ALLOWED, "connection refused: node connection limit (%llu) is reached",
                     (unsigned long long)max);
    stop_shaking(conn);
    conn->admission.open = true;
    gate->open_count++;
    return true;
}

void gate_leave(struct connection *conn)
{
    struct gate *gate = &conn->server->gate;
    stop_shaking(conn);
    if (!conn->admission.open)
        return;
    conn->admission.open = false;
    assert(gate->open_count > 0);
    gate->open_count--;
}
