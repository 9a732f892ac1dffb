/* login_vhost.c - from a login into a vhost, within limits, and out again (semantics 2.3, limits).
 *
 * Owner: a connection is in its user's list from the login and in its vhost's while it is open, so that
 * deleting either finds it; both lists and their counts end in login_leave. */
#include <inttypes.h>

#include "broker/connection.h"
#include "broker/login.h"
#include "broker/vhost.h"

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

static enum answer_kind may_enter(struct connection *conn, const struct vhost *v)
{
    if (conn->login.authz == CONFIG_INTERNAL)
        return user_permission(conn->user, v->name) ? ANSWER_YES : ANSWER_NO;
    if (conn->login.authz == CONFIG_OAUTH2)
        return grant_allows_vhost(conn->login.grant, v->name) ? ANSWER_YES : ANSWER_NO;
    return ask_access(conn, &(struct inquiry){.kind = QUESTION_VHOST,
                                              .user = conn->user->name,
                                              .tags = conn->user->tags,
                                              .vhost = v->name,
                                              .ip = slice_of_string(conn->peer->peer_host)});
}

bool login_enter(struct connection *conn, struct vhost *v, struct fault *f)
{
    struct user *user = conn->user;
    assert(user && !conn->vhost && !list_linked(&conn->login.of_vhost));
    if (!check_limits(user, v, f))
        return false;
    enum answer_kind answer = may_enter(conn, v);
    if (answer == ANSWER_LATER)
        return false;
    if (answer == ANSWER_NO)
        return fault(f, NOT_ALLOWED, "access to vhost '%.*s' refused for user '%.*s'%s%.*s",
                     SLICE_ARG(v->name), SLICE_ARG(user->name), login_said_by(conn),
                     SLICE_ARG(conn->login.said));
    if (conn->login.authz == CONFIG_INTERNAL)
        conn->permission = user_permission(user, v->name);
    conn->vhost = v;
    list_push_back(&v->connections, &conn->login.of_vhost);
    v->connection_count++;
    user->connection_count++;
    return true;
}

const char *login_said_by(const struct connection *conn)
{
    return conn->login.said.len ? " by backend http: " : "";
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
    timer_clear(&conn->server->timers, &conn->login.timer);
    login_drop_attempt(conn);
    ask_forget(conn);
    ask_free_answers(&conn->login.answers);
    slice_free(&conn->login.said);
    conn->login.answers = (struct answer_cache){0};
    grant_drop(&conn->login.grant);
}

void login_refresh(struct user *user, const struct vhost *v)
{
    list_each(node, &user->connections) {
        struct connection *conn = container_of(node, struct connection, login.of_user);
        if (!conn->vhost || (v && conn->vhost != v) || conn->login.authz != CONFIG_INTERNAL)
            continue;
        conn->permission = user_permission(user, conn->vhost->name);
        router_changed(&conn->vhost->router); /* and with it what channels remember */
    }
}
