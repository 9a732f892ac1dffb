/* channel_access.c - may the user of this channel do that? (semantics 3, operation -> permission)
 *
 * Permissions are looked up in the user each time, so that a change holds from the next operation on. What a
 * channel remembers of publishing (exchange_memo) ends with the vhost's routing generation, which a change of
 * permissions raises. */
#include "broker/channel.h"

static struct slice shown_name(struct slice resource)
{
    return resource.len ? resource : SLICE("amq.default");
}

static bool allows(const struct connection *conn, enum access access, struct slice name)
{
    return conn->permission && permission_allows(conn->permission, access, name);
}

static bool refuse(const struct connection *conn, const char *what, struct slice name, struct fault *f)
{
    return fault(f, ACCESS_REFUSED, "access to %s '%.*s' in vhost '%.*s' refused for user '%.*s'", what,
                 SLICE_ARG(name), SLICE_ARG(conn->vhost->name), SLICE_ARG(conn->user->name));
}

bool channel_permits(struct channel *ch, enum access access, struct slice resource, const char *what,
                     struct fault *f)
{
    struct slice name = shown_name(resource);
    return allows(ch->conn, access, name) || refuse(ch->conn, what, name, f);
}

bool channel_permits_any(struct channel *ch, struct slice resource, const char *what, struct fault *f)
{
    struct slice name = shown_name(resource);
    for (int access = ACCESS_READ; access >= ACCESS_CONFIGURE; access--)
        if (allows(ch->conn, (enum access)access, name))
            return true;
    return refuse(ch->conn, what, name, f);
}

bool channel_checks_keys(const struct channel *ch, const struct exchange *x)
{
    return strcmp(x->type->name, "topic") == 0 &&
           user_topic_permission(ch->conn->user, ch->conn->vhost->name, x->name);
}

bool channel_permits_key(struct channel *ch, enum access access, const struct exchange *x,
                         struct slice key, struct fault *f)
{
    struct connection *conn = ch->conn;
    if (!channel_checks_keys(ch, x))
        return true;
    const struct topic_permission *permission =
        user_topic_permission(conn->user, conn->vhost->name, x->name);
    if (topic_permission_allows(permission, access, key))
        return true;
    return fault(f, ACCESS_REFUSED,
                 "access to topic '%.*s' in exchange '%.*s' in vhost '%.*s' refused for user '%.*s'",
                 SLICE_ARG(key), SLICE_ARG(x->name), SLICE_ARG(conn->vhost->name),
                 SLICE_ARG(conn->user->name));
}
