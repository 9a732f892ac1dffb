/* channel_access.c - may the user of this channel do that? (semantics 3, operation -> permission)
 *
 * Our own users' permissions are looked up each time, so that a change holds from the next operation on.
 * What a channel remembers of publishing (exchange_memo) ends with the vhost's routing generation, which
 * a change of permissions raises. Users of other backends have a token with their rights, or the backend
 * is asked: then a check returns false without a fault, and the method is handled again when the answer
 * is there (ask.c). */
#include "auth/pattern.h"
#include "base/mem.h"
#include "broker/channel.h"

static struct slice shown_name(struct slice resource)
{
    return resource.len ? resource : SLICE("amq.default");
}

static struct slice word(enum access access)
{
    return access == ACCESS_CONFIGURE ? SLICE("configure")
           : access == ACCESS_WRITE   ? SLICE("write")
                                      : SLICE("read");
}

static enum answer_kind yes_or_no(bool yes)
{
    return yes ? ANSWER_YES : ANSWER_NO;
}

static enum answer_kind may(struct connection *conn, enum access access, const char *what,
                            struct slice name)
{
    if (conn->permission)
        return yes_or_no(permission_allows(conn->permission, access, name));
    if (conn->login.grant)
        return yes_or_no(grant_allows(conn->login.grant, access, conn->vhost->name, name));
    if (conn->login.authz == CONFIG_INTERNAL)
        return ANSWER_NO; /* his permissions were taken away */
    return ask_access(conn, &(struct inquiry){.kind = QUESTION_RESOURCE,
                                              .user = conn->user->name,
                                              .tags = conn->user->tags,
                                              .vhost = conn->vhost->name,
                                              .resource = slice_of_string(what),
                                              .name = name,
                                              .permission = word(access)});
}

/* Else an administrator would look for the reason in a pattern that is right. */
static void tell_given_up(const struct connection *conn, const char *kind, struct pattern *const *patterns,
                          size_t count, struct slice name)
{
    bool gave_up = false;
    for (size_t i = 0; i < count; i++)
        gave_up = (patterns[i] && pattern_gave_up(patterns[i])) || gave_up;
    if (gave_up)
        chatter_line(conn->server, conn->peer->peer_host, LOG_WARNING, conn->id,
                     "%s of user '%.*s' in vhost '%.*s': the match with '%.*s' was given up after %d steps, "
                     "which refuses access: simplify the pattern",
                     kind, SLICE_ARG(conn->user->name), SLICE_ARG(conn->vhost->name), SLICE_ARG(name),
                     PATTERN_STEPS_MAX);
}

static bool refuse(const struct connection *conn, const char *what, struct slice name, struct fault *f)
{
    if (conn->permission)
        tell_given_up(conn, "permission", conn->permission->compiled,
                      array_size(conn->permission->compiled), name);
    return fault(f, ACCESS_REFUSED, "access to %s '%.*s' in vhost '%.*s' refused for user '%.*s'%s%.*s", what,
                 SLICE_ARG(name), SLICE_ARG(conn->vhost->name), SLICE_ARG(conn->user->name),
                 login_said_by(conn), SLICE_ARG(conn->login.said));
}

bool channel_permits(struct channel *ch, enum access access, struct slice resource, const char *what,
                     struct fault *f)
{
    struct slice name = shown_name(resource);
    enum answer_kind answer = may(ch->conn, access, what, name);
    return answer == ANSWER_YES || (answer == ANSWER_NO && refuse(ch->conn, what, name, f));
}

bool channel_permits_any(struct channel *ch, struct slice resource, const char *what, struct fault *f)
{
    struct slice name = shown_name(resource);
    for (int access = ACCESS_READ; access >= ACCESS_CONFIGURE; access--) {
        enum answer_kind answer = may(ch->conn, (enum access)access, what, name);
        if (answer != ANSWER_NO)
            return answer == ANSWER_YES;
    }
    return refuse(ch->conn, what, name, f);
}

/* --- routing keys of topic exchanges --- */

static bool is_topic(const struct exchange *x)
{
    return strcmp(x->type->name, "topic") == 0;
}

static enum answer_kind may_use_key(struct connection *conn, enum access access, const struct exchange *x,
                                    struct slice key)
{
    if (conn->login.authz == CONFIG_INTERNAL) {
        const struct topic_permission *permission =
            user_topic_permission(conn->user, conn->vhost->name, x->name);
        return yes_or_no(!permission || topic_permission_allows(permission, access, key));
    }
    if (conn->login.grant)
        return yes_or_no(grant_allows_key(conn->login.grant, access, conn->vhost->name, x->name, key));
    return ask_access(conn, &(struct inquiry){.kind = QUESTION_TOPIC,
                                              .user = conn->user->name,
                                              .tags = conn->user->tags,
                                              .vhost = conn->vhost->name,
                                              .resource = SLICE("topic"),
                                              .name = x->name,
                                              .permission = word(access),
                                              .key = key});
}

bool channel_permits_key(struct channel *ch, enum access access, const struct exchange *x,
                         struct slice key, struct fault *f)
{
    struct connection *conn = ch->conn;
    if (!is_topic(x))
        return true;
    enum answer_kind answer = may_use_key(conn, access, x, key);
    if (answer != ANSWER_NO)
        return answer == ANSWER_YES;
    const struct topic_permission *permission =
        conn->login.authz == CONFIG_INTERNAL ? user_topic_permission(conn->user, conn->vhost->name, x->name)
                                             : NULL;
    if (permission)
        tell_given_up(conn, "topic permission", permission->compiled, array_size(permission->compiled), key);
    return fault(f, ACCESS_REFUSED,
                 "access to topic '%.*s' in exchange '%.*s' in vhost '%.*s' refused for user '%.*s'%s%.*s",
                 SLICE_ARG(key), SLICE_ARG(x->name), SLICE_ARG(conn->vhost->name),
                 SLICE_ARG(conn->user->name), login_said_by(conn), SLICE_ARG(conn->login.said));
}

bool channel_remembers(const struct channel *ch, const struct exchange *x)
{
    const struct connection *conn = ch->conn;
    if (conn->login.authz == CONFIG_INTERNAL)
        return !is_topic(x) || !user_topic_permission(conn->user, conn->vhost->name, x->name);
    return conn->login.grant && !is_topic(x);
}
