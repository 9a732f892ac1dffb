/* admin_permission.c - permissions and topic permissions, changed by an administrator. */
#include "broker/admin.h"
#include "broker/connection.h"
#include "broker/vhost.h"

bool admin_set_permissions(struct server *s, struct slice vhost, struct slice name,
                           const struct slice patterns[3], struct admin_error *e)
{
    char error[300];
    struct user *user = admin_find_user(s, name, e);
    struct vhost *v = user ? admin_find_vhost(s, vhost, e) : NULL;
    if (!v)
        return false;
    if (!user_permit(user, v->name, patterns[ACCESS_CONFIGURE], patterns[ACCESS_WRITE],
                     patterns[ACCESS_READ], error, sizeof(error)))
        return admin_fail(e, ADMIN_INVALID, "%s", error);
    admin_define(s, &(struct definition){.kind = DEFINITION_PERMISSION,
                                         .name = user->name,
                                         .vhost = v->name,
                                         .configure = patterns[ACCESS_CONFIGURE],
                                         .write = patterns[ACCESS_WRITE],
                                         .read = patterns[ACCESS_READ]});
    admin_permissions_changed(s, user, v->name);
    log_line(&s->log, LOG_INFO, 0, "set permissions of user '%.*s' in vhost '%.*s'",
             SLICE_ARG(user->name), SLICE_ARG(v->name));
    event(s, "permission.created", EVENT_TEXT("user", user->name), EVENT_TEXT("vhost", v->name),
          EVENT_TEXT("configure", patterns[ACCESS_CONFIGURE]), EVENT_TEXT("write", patterns[ACCESS_WRITE]),
          EVENT_TEXT("read", patterns[ACCESS_READ]));
    return true;
}

bool admin_clear_permissions(struct server *s, struct slice vhost, struct slice name,
                             struct admin_error *e)
{
    struct user *user = admin_find_user(s, name, e);
    struct vhost *v = user ? admin_find_vhost(s, vhost, e) : NULL;
    if (!v)
        return false;
    if (!user_forbid(user, v->name))
        return true;
    admin_undefine(s, &(struct definition){
                          .kind = DEFINITION_PERMISSION, .name = user->name, .vhost = v->name});
    admin_permissions_changed(s, user, v->name);
    log_line(&s->log, LOG_INFO, 0, "cleared permissions of user '%.*s' in vhost '%.*s'",
             SLICE_ARG(user->name), SLICE_ARG(v->name));
    event(s, "permission.deleted", EVENT_TEXT("user", user->name), EVENT_TEXT("vhost", v->name));
    return true;
}

bool admin_set_topic_permissions(struct server *s, struct slice vhost, struct slice name,
                                 struct slice exchange, const struct slice patterns[3],
                                 struct admin_error *e)
{
    char error[300];
    struct user *user = admin_find_user(s, name, e);
    struct vhost *v = user ? admin_find_vhost(s, vhost, e) : NULL;
    if (!v)
        return false;
    if (exchange.len > 255)
        return admin_fail(e, ADMIN_INVALID, "the name of an exchange has at most 255 bytes");
    if (!user_permit_topic(user, v->name, exchange, patterns[ACCESS_WRITE], patterns[ACCESS_READ],
                           error, sizeof(error)))
        return admin_fail(e, ADMIN_INVALID, "%s", error);
    admin_define(s, &(struct definition){.kind = DEFINITION_TOPIC_PERMISSION,
                                         .name = user->name,
                                         .vhost = v->name,
                                         .source = exchange,
                                         .write = patterns[ACCESS_WRITE],
                                         .read = patterns[ACCESS_READ]});
    admin_permissions_changed(s, user, v->name);
    log_line(&s->log, LOG_INFO, 0,
             "set topic permissions of user '%.*s' on exchange '%.*s' in vhost '%.*s'",
             SLICE_ARG(user->name), SLICE_ARG(exchange), SLICE_ARG(v->name));
    event(s, "topic.permission.created", EVENT_TEXT("user", user->name), EVENT_TEXT("vhost", v->name),
          EVENT_TEXT("exchange", exchange), EVENT_TEXT("write", patterns[ACCESS_WRITE]),
          EVENT_TEXT("read", patterns[ACCESS_READ]));
    return true;
}

static void clear_topic(struct server *s, struct user *user, const struct vhost *v,
                        struct slice exchange)
{
    admin_undefine(s, &(struct definition){.kind = DEFINITION_TOPIC_PERMISSION,
                                           .name = user->name,
                                           .vhost = v->name,
                                           .source = exchange});
    event(s, "topic.permission.deleted", EVENT_TEXT("user", user->name), EVENT_TEXT("vhost", v->name),
          EVENT_TEXT("exchange", exchange));
    bool there = user_forbid_topic(user, v->name, exchange);
    assert(there);
}

/* One walk over all; what moves to another slot meanwhile may be missed. True when it removed something. */
static bool clear_topics(struct server *s, struct user *user, const struct vhost *v)
{
    const struct map *all = &user->topic_permissions;
    bool removed = false;
    for (size_t i = all->capacity; i-- > 0;) {
        const struct topic_permission *permission = all->slots[i].value;
        if (!permission || !slice_equal(permission->vhost, v->name))
            continue;
        struct slice exchange = slice_copy(permission->exchange);
        clear_topic(s, user, v, exchange);
        slice_free(&exchange);
        removed = true;
    }
    return removed;
}

bool admin_clear_topic_permissions(struct server *s, struct slice vhost, struct slice name,
                                   struct slice exchange, struct admin_error *e)
{
    struct user *user = admin_find_user(s, name, e);
    struct vhost *v = user ? admin_find_vhost(s, vhost, e) : NULL;
    if (!v)
        return false;
    if (exchange.len && user_topic_permission(user, v->name, exchange))
        clear_topic(s, user, v, exchange);
    while (exchange.len == 0 && clear_topics(s, user, v))
        ;
    admin_permissions_changed(s, user, v->name);
    return true;
}
