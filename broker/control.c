/* control.c - the control socket.
 *
 * Owner: the server. One request of a client is in hand at a time; its next line is not read before the
 * answer has been written: whoever sends all it has to say and closes its end gets all answers. Rows are made
 * a slice a turn, and none while the client has not read what there is. Failure modes: a line that is too
 * long ends the connection; a client that goes takes its listing with it, but what it asked to be changed
 * stays changed. */
#include "broker/control.h"

#include <stdio.h>

#include "broker/commands.h"
#include "broker/server.h"
#include "net/local.h"

struct control_client {
    struct stream stream;
    struct server *server;
    struct list link, doomed;
    struct request *request; /* NULL = the next line may come */
};

static struct control_client *client_of(struct stream *stream)
{
    return container_of(stream, struct control_client, stream);
}

static void refuse_line(struct control_client *client)
{
    stream_write(&client->stream,
                 SLICE("{\"error\":\"malformed\",\"reason\":\"a request is one line of at most "
                       "524288 bytes\"}\n"));
    stream_close(&client->stream);
}

/* The first line of `in` that says something is begun; how many bytes were taken. */
static size_t on_bytes(struct stream *stream, struct slice in)
{
    struct control_client *client = client_of(stream);
    size_t done = 0;
    while (!client->request) {
        const uint8_t *end = memchr(in.at + done, '\n', in.len - done);
        size_t len = end ? (size_t)(end - (in.at + done)) : in.len - done;
        if (len > CONTROL_LINE_MAX) {
            refuse_line(client);
            return in.len;
        }
        if (!end)
            return done;
        if (len > 0) {
            client->server->events.by_ctl = true;
            client->request = request_new(client->server, slice_of(in.at + done, len));
            client->server->events.by_ctl = false;
        }
        done += len + 1;
    }
    stream_pause(stream);
    return done;
}

static void on_drained(struct stream *stream)
{
    (void)stream; /* control_act looks by itself, each turn */
}

static void on_closed(struct stream *stream, int error)
{
    struct control_client *client = client_of(stream);
    (void)error;
    if (client->request)
        request_free(&client->request);
    list_push_back(&client->server->control.doomed, &client->doomed);
}

static const struct stream_events events = {.bytes = on_bytes, .drained = on_drained, .closed = on_closed};

static void on_accept(void *arg, const struct transport *transport, void *io, const struct peer *peer)
{
    struct server *s = arg;
    (void)peer;
    if (s->control.client_count == CONTROL_CLIENTS_MAX) {
        log_line(&s->log, LOG_WARNING, 0, "control: %d clients are connected, no more are taken",
                 CONTROL_CLIENTS_MAX);
        transport->close(io);
        return;
    }
    struct control_client *client = mem_zalloc(sizeof(*client));
    client->server = s;
    list_push_back(&s->control.clients, &client->link);
    s->control.client_count++;
    stream_init(&client->stream, &s->net, transport, io, &events);
    tcp_attach(io, &client->stream);
}

void control_init(struct control *control)
{
    *control = (struct control){0};
    list_init(&control->clients);
    list_init(&control->doomed);
    list_init(&control->walks);
}

bool control_open(struct server *s)
{
    const struct config *config = s->config;
    s->control.began_ms = server_now_ms(s);
    char path[sizeof(config->data_dir) + sizeof(config->control.socket)], error[512];
    if (strcmp(config->control.socket, "none") == 0)
        return true;
    bool given = strcmp(config->control.socket, "default") != 0;
    snprintf(path, sizeof(path), "%s%s", given ? config->control.socket : config->data_dir,
             given ? "" : "/leveret.sock");
    int status = local_open(&s->control.socket, s->loop, path, on_accept, s, error, sizeof(error));
    if (status == 0)
        log_line(&s->log, LOG_INFO, 0, "started control socket %s", path);
    else if (given)
        log_line(&s->log, LOG_CRITICAL, 0, "%s (control.socket)", error);
    else /* messages matter more: a data directory may have become read-only */
        log_line(&s->log, LOG_ERROR, 0, "%s (control.socket): going on without it", error);
    return status == 0 || !given;
}

static void go_on(struct control_client *client)
{
    struct request *r = client->request;
    if (stream_is_high(&client->stream) || client->stream.state != STREAM_OPEN)
        return;
    client->server->events.by_ctl = true;
    request_step(r);
    client->server->events.by_ctl = false;
    stream_write(&client->stream, buf_slice(&r->out));
    r->out.len = 0;
    if (r->done)
        request_free(&client->request);
}

/* The answer has gone out. */
static bool may_read(const struct control_client *client)
{
    const struct stream *stream = &client->stream;
    return !client->request && stream->state == STREAM_OPEN && stream->paused && stream->output.pending == 0;
}

static void free_client(struct control_client *client)
{
    struct control *control = &client->server->control;
    assert(control->client_count > 0 && !client->request);
    control->client_count--;
    list_remove(&client->link);
    list_unlink(&client->doomed);
    stream_free(&client->stream);
    mem_free(client);
}

void control_act(struct server *s)
{
    list_each (node, &s->control.clients) {
        struct control_client *client = container_of(node, struct control_client, link);
        if (client->request)
            go_on(client);
        else if (may_read(client))
            stream_resume(&client->stream);
    }
    for (struct list *node; (node = list_pop_front(&s->control.doomed));)
        free_client(container_of(node, struct control_client, doomed));
}

bool control_is_busy(const struct server *s)
{
    if (!list_empty(&s->control.doomed))
        return true;
    list_each (node, &s->control.clients) {
        const struct control_client *client = container_of(node, struct control_client, link);
        if (may_read(client) || (client->request && request_is_ready(client->request) &&
                                 !stream_is_high(&client->stream)))
            return true;
    }
    return false;
}

void control_close(struct server *s)
{
    struct control *control = &s->control;
    if (control->socket)
        local_close(&control->socket);
    while (!list_empty(&control->clients)) {
        struct control_client *client = list_first(&control->clients, struct control_client, link);
        if (client->stream.state != STREAM_CLOSED)
            stream_abort(&client->stream, 0);
        free_client(client);
    }
}
