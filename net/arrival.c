/* arrival.c - accepted connections that cannot talk yet.
 *
 * Owner: the listener's `arrivals`; while a worker does a step of the handshake it has the arrival too, so
 * one that ends meanwhile is only marked (`gone`) and freed when the worker is done. That is also why
 * the count falls only then: a flood fills the kernel's backlog, not our memory.
 *
 * A connection that says nothing costs its socket and this struct; OpenSSL's part is made when a TLS hello
 * has come. Failure modes: all are the client's; each is told to on_refuse with its reason. */
#include "net/arrival.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>
#include <uv.h>

#include "base/assert.h"
#include "base/buf.h"
#include "base/mem.h"
#include "net/proxy.h"
#include "net/tcp.h"
#include "net/tls.h"
#include "net/worker.h"

enum phase { PHASE_PROXY, PHASE_HELLO, PHASE_SHAKE };

struct arrival {
    struct list link; /* in arrivals.under_way; none when gone */
    struct arrivals *arrivals;
    struct tcp *tcp;
    struct tls *tls;
    struct peer peer;
    union address remote;
    enum phase phase;
    uint64_t deadline_ms;
    struct buf header; /* what has come of a PROXY header */
    struct work work;
    bool working;             /* a worker has it */
    atomic_bool gone;         /* it ended while a worker had it */
    enum tls_status shaken;   /* the worker's result */
};

static void go_on(struct arrival *a);

void arrivals_init(struct arrivals *arrivals, struct loop *loop, const struct listener_options *options)
{
    assert(!options->tls || options->worker);
    *arrivals = (struct arrivals){.loop = loop, .options = *options};
    list_init(&arrivals->under_way);
}

/* ---- ends ---- */

static void free_arrival(struct arrival *a)
{
    struct arrivals *arrivals = a->arrivals;
    assert(!a->working && arrivals->count > 0);
    list_unlink(&a->link);
    tls_free(&a->tls);
    if (a->tcp)
        tcp_transport.close(a->tcp);
    buf_free(&a->header);
    assert(!a->peer.certificate); /* made when the connection is handed over */
    mem_free(a);
    arrivals->count--;
    arrivals->on_leave(arrivals->owner);
}

static void end(struct arrival *a)
{
    list_unlink(&a->link);
    if (a->working)
        atomic_store(&a->gone, true);
    else
        free_arrival(a);
}

static void refuse(struct arrival *a, const char *why, bool harmless)
{
    const struct listener_options *options = &a->arrivals->options;
    if (options->on_refuse)
        options->on_refuse(options->arg, &a->peer, why, harmless);
    end(a);
}

static void accept_it(struct arrival *a)
{
    const struct listener_options *options = &a->arrivals->options;
    const struct transport *transport = a->tls ? &tcp_tls_transport : &tcp_transport;
    struct tcp *tcp = a->tcp;
    struct peer peer = a->peer;
    accept_handler *on_accept = options->on_accept;
    void *arg = options->arg;
    if (a->tls) {
        peer.tls = true;
        peer.tls_version = tls_version(a->tls);
        peer.tls_cipher = tls_cipher(a->tls);
        peer.certificate = tls_certificate(a->tls);
        tcp_secure(tcp, a->tls);
    }
    a->tls = NULL;
    a->tcp = NULL;
    end(a);
    on_accept(arg, transport, tcp, &peer);
}

/* ---- the PROXY header ---- */

static bool is_trusted(const struct arrival *a)
{
    const struct listener_options *options = &a->arrivals->options;
    for (size_t i = 0; i < options->proxy_source_count; i++)
        if (address_range_has(&options->proxy_sources[i], &a->remote))
            return true;
    return false;
}

/* From here on the connection is whose the proxy says. Somebody whom a proxy on this machine cannot name is
 * not from this machine. */
static void believe(struct arrival *a, const struct proxy_header *header)
{
    struct peer *peer = &a->peer;
    peer->loopback = peer->loopback && !header->unknown;
    if (header->local)
        return;
    peer->peer_port = address_text(&header->source, peer->peer_host, sizeof(peer->peer_host));
    peer->port = address_text(&header->destination, peer->host, sizeof(peer->host));
    peer->loopback = address_is_loopback(&header->source);
}

/* A recv that takes nothing away. > 0, or 0 when the arrival waits or has ended. */
static size_t peek(struct arrival *a, void *bytes, size_t size)
{
    ssize_t got = recv(tcp_fd(a->tcp), bytes, size, MSG_PEEK);
    if (got > 0)
        return (size_t)got;
    if (got < 0 && (errno == EWOULDBLOCK || errno == EINTR))
        return 0;
    bool silent = a->header.len == 0 && a->phase != PHASE_SHAKE;
    refuse(a, got == 0 ? "the client closed before it said what it wants" : strerror(errno), silent);
    return 0;
}

static void take(struct arrival *a, size_t size)
{
    uint8_t gone[PROXY_HEADER_MAX];
    assert(size <= sizeof(gone));
    ssize_t got = recv(tcp_fd(a->tcp), gone, size, 0);
    assertf(got == (ssize_t)size, "%zd of %zu peeked bytes", got, size);
}

/* Takes the header, and nothing of what may follow it already. True when it is complete. */
static bool read_header(struct arrival *a)
{
    uint8_t *room = buf_reserve(&a->header, PROXY_HEADER_MAX);
    size_t had = a->header.len;
    assert(had < PROXY_HEADER_MAX);
    size_t got = peek(a, room, PROXY_HEADER_MAX - had);
    if (got == 0)
        return false;
    struct proxy_header header;
    const char *reason;
    size_t used;
    char why[160];
    switch (proxy_parse(slice_of(a->header.at, had + got), &header, &used, &reason)) {
    case PROXY_NEEDS_MORE:
        take(a, got);
        a->header.len += got;
        return false;
    case PROXY_BAD:
        snprintf(why, sizeof(why), "a PROXY header is expected here (proxy_protocol = true), but %s", reason);
        refuse(a, why, false);
        return false;
    case PROXY_COMPLETE:
        assert(used > had);
        take(a, used - had);
        buf_free(&a->header);
        believe(a, &header);
        return true;
    }
    panic("proxy status");
}

/* ---- the TLS hello and handshake ---- */

/* What speaks to a TLS listener without TLS. */
static const char *name_plain(struct slice in)
{
    if (slice_starts_with(in, "AMQP"))
        return "a plain AMQP client: this listener is a TLS one";
    if (slice_starts_with(in, "GET ") || slice_starts_with(in, "POST") || slice_starts_with(in, "HEAD") ||
        slice_starts_with(in, "PUT "))
        return "an HTTP request without TLS: this listener is a TLS one for AMQP";
    if (slice_starts_with(in, "PROX") || slice_starts_with(in, "\r\n\r\n"))
        return "a PROXY header, but proxy_protocol is not set";
    return "no TLS hello, nor anything else that is known here";
}

static bool read_hello(struct arrival *a)
{
    uint8_t first[8];
    size_t got = peek(a, first, sizeof(first));
    if (got == 0)
        return false;
    if (first[0] != 0x16) { /* a record of a handshake */
        refuse(a, name_plain(slice_of(first, got)), false);
        return false;
    }
    a->tls = tls_new(*a->arrivals->options.tls, tcp_fd(a->tcp));
    if (!a->tls)
        refuse(a, "OpenSSL has no memory", false);
    return a->tls != NULL;
}

static void shake(struct work *work)
{
    struct arrival *a = container_of(work, struct arrival, work);
    if (!atomic_load(&a->gone))
        a->shaken = tls_handshake(a->tls);
}

static void on_ready(void *arg)
{
    go_on(arg);
}

static void shaken(struct work *work)
{
    struct arrival *a = container_of(work, struct arrival, work);
    char why[300];
    a->working = false;
    if (atomic_load(&a->gone)) {
        free_arrival(a);
        return;
    }
    switch (a->shaken) {
    case TLS_DONE:
        accept_it(a);
        return;
    case TLS_READ:
    case TLS_WRITE:
        tcp_wait(a->tcp, a->shaken == TLS_READ, a->shaken == TLS_WRITE, on_ready, a);
        return;
    case TLS_FAILED:
        snprintf(why, sizeof(why), "TLS handshake failed: %s", tls_reason(a->tls));
        refuse(a, why, false);
        return;
    }
    panic("TLS status");
}

static void start_shaking(struct arrival *a)
{
    tcp_wait(a->tcp, false, false, on_ready, a);
    a->working = true;
    a->work = (struct work){.run = shake, .done = shaken};
    worker_post(a->arrivals->options.worker, &a->work);
}

/* ---- all together ---- */

/* Does what can be done now. The arrival may be gone afterwards. */
static void go_on(struct arrival *a)
{
    const struct listener_options *options = &a->arrivals->options;
    if (a->phase == PHASE_PROXY) {
        if (!read_header(a))
            return;
        a->phase = PHASE_HELLO;
    }
    if (!options->tls) {
        accept_it(a);
        return;
    }
    if (a->phase == PHASE_HELLO) {
        if (!read_hello(a))
            return;
        a->phase = PHASE_SHAKE;
    }
    start_shaking(a);
}

bool arrivals_make_room(struct arrivals *arrivals)
{
    if (arrivals->count < arrivals->options.arrivals_max)
        return true;
    struct arrival *oldest = list_empty(&arrivals->under_way)
                                 ? NULL
                                 : list_first(&arrivals->under_way, struct arrival, link);
    if (!oldest || oldest->working)
        return false;
    refuse(oldest, "too many connections are in their handshake, this is the oldest", false);
    return true;
}

void arrivals_add(struct arrivals *arrivals, struct tcp *tcp, const struct peer *peer,
                  const union address *remote)
{
    const struct listener_options *options = &arrivals->options;
    struct arrival *a = mem_zalloc(sizeof(*a));
    a->arrivals = arrivals;
    a->tcp = tcp;
    a->peer = *peer;
    a->remote = *remote;
    a->phase = options->proxy ? PHASE_PROXY : PHASE_HELLO;
    a->deadline_ms = uv_now(loop_uv(arrivals->loop)) + options->arrival_ms;
    list_push_back(&arrivals->under_way, &a->link);
    arrivals->count++;
    if (!options->proxy && !options->tls) {
        accept_it(a);
    } else if (options->proxy && !is_trusted(a)) {
        refuse(a, "it comes from no address of proxy_protocol_sources", false);
    } else {
        tcp_wait(tcp, true, false, on_ready, a);
    }
}

uint64_t arrivals_expire(struct arrivals *arrivals)
{
    uint64_t now = uv_now(loop_uv(arrivals->loop));
    while (!list_empty(&arrivals->under_way)) {
        struct arrival *a = list_first(&arrivals->under_way, struct arrival, link);
        if (a->deadline_ms > now)
            return a->deadline_ms - now;
        refuse(a,
               a->phase == PHASE_PROXY   ? "its PROXY header did not come in time (handshake_timeout)"
               : a->phase == PHASE_HELLO ? "its TLS hello did not come in time (ssl_handshake_timeout)"
                                         : "its TLS handshake took too long (ssl_handshake_timeout)",
               false);
    }
    return UINT64_MAX;
}

void arrivals_close(struct arrivals *arrivals)
{
    while (!list_empty(&arrivals->under_way))
        end(list_first(&arrivals->under_way, struct arrival, link));
}
