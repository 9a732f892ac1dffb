/* admin_user.c - users, passwords, tags and limits, changed by an administrator. */
#include <stdio.h>

#include "auth/pattern.h"
#include "broker/admin.h"
#include "broker/connection.h"
#include "broker/vhost.h"
#include "protocol/table.h"

/* The configuration's rules for new passwords (credential_validator.*); says nothing of the password
 * itself. */
static bool check_password(const struct server *s, struct slice password, struct admin_error *e)
{
    const struct config_auth *rules = &s->config->auth;
    if (password.len == 0)
        return admin_fail(e, ADMIN_INVALID, "a password may not be blank");
    if (rules->validation_backend == VALIDATE_LENGTH && password.len < rules->password_length_min)
        return admin_fail(e, ADMIN_INVALID, "minimum required password length is %u",
                          rules->password_length_min);
    if (rules->validation_backend != VALIDATE_REGEXP)
        return true;
    char error[256];
    struct pattern *pattern =
        pattern_compile(slice_of_string(rules->password_regexp), error, sizeof(error));
    assertf(pattern, "%s", error); /* it was compiled when the configuration was read */
    bool fits = pattern_matches(pattern, password);
    pattern_free(&pattern);
    return fits || admin_fail(e, ADMIN_INVALID,
                              "provided password does not match the validator regular expression");
}

static bool check_tags(struct slice tags, struct admin_error *e)
{
    struct slice tag;
    unsigned count = 0;
    if (!slice_is_utf8(tags) || (tags.len && memchr(tags.at, 0, tags.len)))
        return admin_fail(e, ADMIN_INVALID, "tags are UTF-8 text");
    while (tags_next(&tags, &tag))
        if (tag.len > 255 || ++count > USER_TAGS_MAX)
            return admin_fail(e, ADMIN_INVALID,
                              "a user has at most %d tags, of at most 255 bytes each", USER_TAGS_MAX);
    return true;
}

/* A user that the configuration ties to this machine may come and go. */
static void apply_loopback(const struct server *s, struct user *user)
{
    user->loopback_only = tags_have(slice_of_string(s->config->loopback_users), user->name);
}

static void tell_tags(struct server *s, const struct user *user)
{
    struct buf tags = {0};
    struct slice rest = user->tags, tag;
    while (tags_next(&rest, &tag))
        array_put_string(&tags, tag);
    event(s, "user.tags.set", EVENT_TEXT("name", user->name), EVENT_ARRAY("tags", buf_slice(&tags)));
    buf_free(&tags);
}

static void set_hash(struct server *s, struct user *user, enum password_hashing hashing,
                     struct slice hash)
{
    user_put(&s->users, user->name, hash, user->tags);
    user->hashing = hashing;
}

static void hash_password(struct server *s, struct slice password, char *hash)
{
    password_hash_with(s->users.hashing, &s->rand, password, hash);
}

bool admin_add_user(struct server *s, struct slice name, struct slice password, struct slice tags,
                    struct admin_error *e)
{
    char hash[PASSWORD_HASH_MAX + 1];
    if (!admin_check_name(name, "user", e) || !check_tags(tags, e) || !check_password(s, password, e))
        return false;
    if (user_find(&s->users, name))
        return admin_fail(e, ADMIN_EXISTS, "user '%.*s' already exists", SLICE_ARG(name));
    hash_password(s, password, hash);
    return admin_put_user(s, name, slice_of_string(hash),
                          slice_of_string(password_hashing_name(s->users.hashing)), tags, e);
}

bool admin_put_user(struct server *s, struct slice name, struct slice password_hash,
                    struct slice algorithm, struct slice tags, struct admin_error *e)
{
    enum password_hashing hashing;
    if (!admin_check_name(name, "user", e) || !check_tags(tags, e))
        return false;
    if (!password_hashing_from_name(algorithm, &hashing))
        return admin_fail(e, ADMIN_INVALID, "unknown hashing algorithm '%.*s'",
                          algorithm.len > 80 ? 80 : (int)algorithm.len, (const char *)algorithm.at);
    if (!password_hash_is_valid(hashing, password_hash))
        return admin_fail(e, ADMIN_INVALID, "the password hash of user '%.*s' is no hash of %s",
                          SLICE_ARG(name), password_hashing_name(hashing));
    bool is_new = !user_find(&s->users, name);
    struct user *user = user_put(&s->users, name, password_hash, tags);
    user->hashing = hashing;
    apply_loopback(s, user);
    admin_define_user(s, user);
    log_line(&s->log, LOG_INFO, 0, "%s user '%.*s'", is_new ? "created" : "updated",
             SLICE_ARG(user->name));
    if (is_new)
        event(s, "user.created", EVENT_TEXT("name", user->name));
    else
        event(s, "user.password.changed", EVENT_TEXT("name", user->name));
    if (user->tags.len || !is_new)
        tell_tags(s, user);
    return true;
}

static void undefine_permissions(struct server *s, const struct user *user)
{
    map_each(&user->permissions, i) {
        const struct permission *permission = user->permissions.slots[i].value;
        admin_undefine(s, &(struct definition){.kind = DEFINITION_PERMISSION,
                                               .name = user->name,
                                               .vhost = permission->vhost});
    }
    map_each(&user->topic_permissions, i) {
        const struct topic_permission *permission = user->topic_permissions.slots[i].value;
        admin_undefine(s, &(struct definition){.kind = DEFINITION_TOPIC_PERMISSION,
                                               .name = user->name,
                                               .vhost = permission->vhost,
                                               .source = permission->exchange});
    }
}

/* Of those who came in as this user, also by a password of ours into rights that another backend knows: then
 * the connection has a user of its own. */
static void close_connections(struct server *s, struct user *user)
{
    struct buf reason = {0};
    buf_printf(&reason, "user '%.*s' is deleted", SLICE_ARG(user->name));
    buf_append(&reason, "", 1);
    while (!list_empty(&user->connections))
        connection_force_close(list_first(&user->connections, struct connection, login.of_user),
                               (const char *)reason.at);
    list_each (node, &s->connections) {
        struct connection *conn = container_of(node, struct connection, link);
        if (list_linked(&conn->login.of_user) && conn->login.authn == CONFIG_INTERNAL &&
            slice_equal(conn->user->name, user->name))
            connection_force_close(conn, (const char *)reason.at);
    }
    buf_free(&reason);
}

bool admin_delete_user(struct server *s, struct slice name, struct admin_error *e)
{
    struct user *user = admin_find_user(s, name, e);
    if (!user)
        return false;
    user_hold(user); /* the last connection may hold the last reference */
    undefine_permissions(s, user);
    admin_undefine(s, &(struct definition){.kind = DEFINITION_USER, .name = user->name});
    close_connections(s, user);
    log_line(&s->log, LOG_INFO, 0, "deleted user '%.*s'", SLICE_ARG(user->name));
    event(s, "user.deleted", EVENT_TEXT("name", user->name));
    user_remove(&s->users, user);
    user_drop(&user);
    return true;
}

bool admin_change_password(struct server *s, struct slice name, struct slice password,
                           struct admin_error *e)
{
    char hash[PASSWORD_HASH_MAX + 1];
    struct user *user = admin_find_user(s, name, e);
    if (!user || !check_password(s, password, e))
        return false;
    hash_password(s, password, hash);
    set_hash(s, user, s->users.hashing, slice_of_string(hash));
    admin_define_user(s, user);
    log_line(&s->log, LOG_INFO, 0, "changed the password of user '%.*s'", SLICE_ARG(user->name));
    event(s, "user.password.changed", EVENT_TEXT("name", user->name));
    return true;
}

bool admin_clear_password(struct server *s, struct slice name, struct admin_error *e)
{
    struct user *user = admin_find_user(s, name, e);
    if (!user)
        return false;
    set_hash(s, user, user->hashing, SLICE(""));
    admin_define_user(s, user);
    log_line(&s->log, LOG_INFO, 0, "cleared the password of user '%.*s'", SLICE_ARG(user->name));
    event(s, "user.password.cleared", EVENT_TEXT("name", user->name));
    return true;
}

bool admin_set_tags(struct server *s, struct slice name, struct slice tags, struct admin_error *e)
{
    struct user *user = admin_find_user(s, name, e);
    if (!user || !check_tags(tags, e))
        return false;
    user_put(&s->users, user->name, user->password_hash, tags);
    admin_define_user(s, user);
    log_line(&s->log, LOG_INFO, 0, "set the tags of user '%.*s' to '%.*s'", SLICE_ARG(user->name),
             SLICE_ARG(user->tags));
    tell_tags(s, user);
    return true;
}

bool admin_authenticate_user(struct server *s, struct slice name, struct slice password,
                             struct admin_error *e)
{
    if (user_authenticate(&s->users, name, password))
        return true;
    return admin_fail(e, ADMIN_REFUSED, "user '%.*s' could not be authenticated", SLICE_ARG(name));
}

bool admin_set_user_limits(struct server *s, struct slice name, struct slice json,
                           struct admin_error *e)
{
    char error[256];
    struct user *user = admin_find_user(s, name, e);
    if (!user)
        return false;
    if (!limits_parse(&user->limits, LIMITS_OF_USER, json, error, sizeof(error)))
        return admin_fail(e, ADMIN_INVALID, "%s", error);
    admin_define_user(s, user);
    event_limits(s, "user.limits", &EVENT_TEXT("username", user->name), &user->limits);
    return true;
}

bool admin_clear_user_limits(struct server *s, struct slice name, struct slice limit,
                             struct admin_error *e)
{
    enum limit_kind kind;
    struct user *user = admin_find_user(s, name, e);
    if (!user)
        return false;
    if (slice_is(limit, "all"))
        user->limits = limits_none();
    else if (limits_kind(LIMITS_OF_USER, limit, &kind))
        user->limits.max[kind] = UNLIMITED;
    else
        return admin_fail(e, ADMIN_INVALID, "a user's limits are max-connections and max-channels, or all");
    admin_define_user(s, user);
    event_limits(s, "user.limits", &EVENT_TEXT("username", user->name), &user->limits);
    return true;
}
