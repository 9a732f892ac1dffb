/* command_object.c - requests that end connections, and purge or delete queues.
 *
 * Ending many connections is done in slices of a turn, as listing them is. */
#include <inttypes.h>
#include <stdio.h>

#include "broker/commands.h"
#include "broker/connection.h"

static void force_close(struct request *r, struct connection *conn)
{
    struct slice reason = request_text(r, "reason");
    char text[2 * FAULT_TEXT_MAX]; /* what is too long for a reply is cut there, between two characters */
    if (reason.len == 0)
        reason = SLICE("Closed by control");
    snprintf(text, sizeof(text), "%.*s", SLICE_ARG(reason));
    connection_force_close(conn, text);
}

/* "<leveret@host.12.0>" or RabbitMQ's shape "<0.12.0>": the number before the last. */
static uint64_t id_of_pid(struct slice pid)
{
    uint64_t parts[2] = {0};
    if (pid.len < 3 || pid.at[0] != '<' || pid.at[pid.len - 1] != '>')
        return 0;
    size_t at = pid.len - 1;
    for (int i = 0; i < 2; i++) {
        uint64_t scale = 1;
        for (; at > 0 && pid.at[at - 1] >= '0' && pid.at[at - 1] <= '9' && scale < UINT64_MAX / 100; at--) {
            parts[i] += (uint64_t)(pid.at[at - 1] - '0') * scale;
            scale *= 10;
        }
        if (at == 0 || pid.at[at - 1] != '.')
            return 0;
        at--;
    }
    return parts[1];
}

static bool is_named(const struct connection *conn, struct slice name, uint64_t id)
{
    return (id && conn->id == id) || slice_is(name, conn->name);
}

/* What a walk over the connections looks for. */
static bool is_meant(struct request *r, const struct connection *conn)
{
    struct slice user = request_text(r, "user"), vhost = request_text(r, "vhost");
    if (json_object_get(r->args, "connection")) {
        struct slice name = request_text(r, "connection");
        return is_named(conn, name, id_of_pid(name));
    }
    if (json_object_get(r->args, "user") && !(conn->user && slice_equal(conn->user->name, user)))
        return false;
    return !json_object_get(r->args, "vhost") || (conn->vhost && slice_equal(conn->vhost->name, vhost));
}

static void close_step(struct request *r)
{
    struct walk *walk = &r->listing.walk;
    const json_t *limit = json_object_get(r->args, "limit");
    for (int i = 0; i < REQUEST_BATCH_ITEMS; i++) {
        if (walk->at[0] == &r->server->connections ||
            (limit && (json_int_t)r->listing.position >= json_integer_value(limit))) {
            walk_end(walk);
            r->step = NULL;
            if (json_object_get(r->args, "connection") && r->listing.position == 0) {
                request_fail(r, REQUEST_MISSING, "there is no such connection");
                return;
            }
            request_result(r, "closed", json_integer((json_int_t)r->listing.position));
            return;
        }
        struct connection *conn = container_of(walk->at[0], struct connection, link);
        walk->at[0] = walk->at[0]->next;
        if (conn->state < CONNECTION_CLOSING && is_meant(r, conn)) {
            force_close(r, conn);
            r->listing.position++;
        }
    }
}

static void close_connections(struct request *r)
{
    walk_begin(&r->server->control.walks, &r->listing.walk, r->server);
    r->listing.walk.at[0] = r->server->connections.next;
    r->step = close_step;
}

void command_close_connection(struct request *r)
{
    close_connections(r);
}

void command_close_all_connections(struct request *r)
{
    if (!json_object_get(r->args, "vhost") || request_vhost(r))
        close_connections(r);
}

void command_close_all_user_connections(struct request *r)
{
    close_connections(r);
}

static struct queue *find_queue(struct request *r, struct vhost **v)
{
    *v = request_vhost(r);
    if (!*v)
        return NULL;
    struct queue *q = vhost_find_queue(*v, request_text(r, "name"));
    if (!q)
        request_fail(r, REQUEST_MISSING, "Queue not found");
    return q;
}

void command_purge_queue(struct request *r)
{
    struct vhost *v;
    struct queue *q = find_queue(r, &v);
    if (q)
        request_result(r, "messages", json_integer((json_int_t)queue_purge(q)));
}

void command_delete_queue(struct request *r)
{
    struct vhost *v;
    struct queue *q = find_queue(r, &v);
    if (!q)
        return;
    if (json_is_true(json_object_get(r->args, "if_unused")) && q->consumers.count > 0) {
        request_fail(r, REQUEST_REFUSED, "Queue is in use");
        return;
    }
    if (json_is_true(json_object_get(r->args, "if_empty")) && queue_ready(q) > 0) {
        request_fail(r, REQUEST_REFUSED, "Queue is not empty");
        return;
    }
    request_result(r, "messages", json_integer((json_int_t)queue_ready(q)));
    vhost_delete_queue(v, q);
}
