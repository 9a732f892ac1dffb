/* login.c - a connection's user, vhost and limits (semantics 2.3, limits; 3).
 *
 * Owner: the connection holds a reference to its user. It is in the user's list from the login and in the
 * vhost's while it is open, so that deleting either finds it; both lists and their counts end in
 * login_leave. */
#include "broker/login.h"

#include <inttypes.h>

#include "broker/connection.h"
#include "broker/vhost.h"

void login_as(struct connection *conn, struct user *user)
{
    assert(!conn->user && !list_linked(&conn->login.of_user));
    conn->user = user_hold(user);
    list_push_back(&user->connections, &conn->login.of_user);
}

static bool check_limits(const struct user *user, const struct vhost *v, struct fault *f)
{
    if (limits_reached(&v->limits, LIMIT_CONNECTIONS, v->connection_count))
        return fault(f, NOT_ALLOWED,
                     "access to vhost '%.*s' refused for user '%.*s': connection limit (%" PRIu64
                     ") is reached",
                     SLICE_ARG(v->name), SLICE_ARG(user->name), v->limits.max[LIMIT_CONNECTIONS]);
    if (limits_reached(&user->limits, LIMIT_CONNECTIONS, user->connection_count))
        return fault(f, NOT_ALLOWED,
                     "connection refused for user '%.*s': user connection limit (%" PRIu64
                     ") is reached",
                     SLICE_ARG(user->name), user->limits.max[LIMIT_CONNECTIONS]);
    return true;
}

bool login_enter(struct connection *conn, struct vhost *v, struct fault *f)
{
    struct user *user = conn->user;
    assert(user && !conn->vhost && !list_linked(&conn->login.of_vhost));
    if (!check_limits(user, v, f))
        return false;
    conn->permission = user_permission(user, v->name);
    if (!conn->permission)
        return fault(f, NOT_ALLOWED, "access to vhost '%.*s' refused for user '%.*s'",
                     SLICE_ARG(v->name), SLICE_ARG(user->name));
    conn->vhost = v;
    list_push_back(&v->connections, &conn->login.of_vhost);
    v->connection_count++;
    user->connection_count++;
    return true;
}

void login_leave(struct connection *conn)
{
    if (list_linked(&conn->login.of_vhost)) {
        assert(conn->vhost->connection_count > 0 && conn->user->connection_count > 0);
        list_remove(&conn->login.of_vhost);
        conn->vhost->connection_count--;
        conn->user->connection_count--;
    }
    list_unlink(&conn->login.of_user);
    conn->permission = NULL;
}

void login_refresh(struct user *user, const struct vhost *v)
{
    list_each(node, &user->connections) {
        struct connection *conn = container_of(node, struct connection, login.of_user);
        if (!conn->vhost || (v && conn->vhost != v))
            continue;
        conn->permission = user_permission(user, conn->vhost->name);
        router_changed(&conn->vhost->router); /* and with it what channels remember */
    }
}
