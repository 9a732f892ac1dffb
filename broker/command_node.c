/* command_node.c - requests about the server itself. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "broker/commands.h"
#include "broker/connection.h"
#include "broker/trace.h"

static json_t *text(const char *string)
{
    json_t *value = json_string(string);
    assertf(value, "'%s' is no UTF-8", string);
    return value;
}

void command_ping(struct request *r)
{
    char node[SERVER_NODE_SIZE];
    server_node(node);
    request_result(r, "node", text(node));
}

/* In the order in which the gate has opened them: plain ones, then TLS. */
static json_t *listeners_of(const struct server *s)
{
    json_t *listeners = json_array();
    size_t plain = s->config->listeners.count;
    for (size_t i = 0; i < s->gate.listener_count; i++) {
        bool tls = i >= plain;
        const struct listen_address *at =
            tls ? &s->config->tls.listeners.at[i - plain] : &s->config->listeners.at[i];
        json_array_append_new(listeners,
                              json_pack("{s:s, s:s, s:i}", "protocol", tls ? "amqp/ssl" : "amqp", "address",
                                        at->host[0] ? at->host : "[::]", "port",
                                        (int)listener_port(s->gate.listeners[i])));
    }
    return listeners;
}

static json_t *totals_of(const struct server *s)
{
    size_t queues = 0, exchanges = 0;
    map_each (&s->vhosts, i) {
        const struct vhost *v = s->vhosts.slots[i].value;
        queues += v->queues.size;
        exchanges += v->exchanges.size;
    }
    const struct server_counters *counters = &s->counters;
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "connections",
                     (json_int_t)(counters->connections_opened - counters->connections_closed), "channels",
                     (json_int_t)(counters->channels_opened - counters->channels_closed), "vhosts",
                     (json_int_t)s->vhosts.size, "users", (json_int_t)s->users.by_name.size, "queues",
                     (json_int_t)queues, "exchanges", (json_int_t)exchanges);
}

static json_t *store_of(const struct server *s)
{
    struct store_stats stats;
    store_stats(s->store, &stats);
    return json_pack("{s:I, s:I, s:I, s:I, s:b}", "journal_bytes", (json_int_t)stats.journal_bytes,
                     "page_bytes", (json_int_t)stats.page_bytes, "live_messages",
                     (json_int_t)stats.live_messages, "syncs", (json_int_t)stats.syncs, "full",
                     store_full(s->store));
}

void command_status(struct request *r)
{
    const struct server *s = r->server;
    const struct alarms *alarms = &s->alarms;
    char node[SERVER_NODE_SIZE];
    server_node(node);
    request_result(r, "node", text(node));
    request_result(r, "product", text("Leveret"));
    request_result(r, "version", text(LEVERET_VERSION));
    request_result(r, "os_pid", json_integer(getpid()));
    request_result(r, "uptime_seconds",
                   json_integer((json_int_t)((server_now_ms(s) - s->control.began_ms) / 1000)));
    request_result(r, "data_dir", text(s->config->data_dir));
    request_result(r, "log_file", text(s->config->log_file));
    request_result(r, "listeners", listeners_of(s));
    request_result(r, "totals", totals_of(s));
    request_result(r, "store", store_of(s));
    request_result(r, "memory_used", json_integer((json_int_t)alarms->memory_used));
    request_result(r, "memory_limit", json_integer((json_int_t)alarms->memory_limit));
    request_result(r, "disk_free", json_integer((json_int_t)alarms->disk_free));
    request_result(r, "disk_free_limit", json_integer((json_int_t)alarms->disk_limit));
    json_t *raised = json_array();
    if (alarms->on & ALARM_MEMORY)
        json_array_append_new(raised, text("memory"));
    if (alarms->on & ALARM_DISK)
        json_array_append_new(raised, text("disk"));
    request_result(r, "alarms", raised);
}

void command_environment(struct request *r)
{
    char *at = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&at, &size);
    if (!out) {
        request_fail(r, REQUEST_INVALID, "no memory for the configuration");
        return;
    }
    config_print(r->server->config, out);
    fclose(out);
    request_result(r, "configuration", json_stringn(at, size));
    free(at);
}

void command_stop(struct request *r)
{
    struct server *s = r->server;
    log_line(&s->log, LOG_INFO, 0, "stopping: asked to by the control socket");
    request_result(r, "os_pid", json_integer(getpid()));
    server_stop(s);
}

void command_list_commands(struct request *r)
{
    json_t *verbs = json_object();
    for (size_t i = 0; i < command_count(); i++)
        json_object_set_new(verbs, command_at(i)->verb, text(command_at(i)->arguments));
    request_result(r, "verbs", verbs);
}

static void trace(struct request *r, bool on)
{
    struct vhost *v = request_vhost(r);
    if (v)
        trace_set(v, on);
}

void command_trace_on(struct request *r)
{
    trace(r, true);
}

void command_trace_off(struct request *r)
{
    trace(r, false);
}
