/* command_access.c - requests about who may do what: users, vhosts, permissions, limits. What they change
 * is in admin.h. */
#include "broker/admin.h"
#include "broker/commands.h"
#include "broker/json_in.h"
#include "broker/json_out.h"

/* For a function of admin.h that returned `done`. */
static bool finish(struct request *r, bool done, const struct admin_error *e)
{
    static const enum request_error errors[] = {[ADMIN_MISSING] = REQUEST_MISSING,
                                                [ADMIN_EXISTS] = REQUEST_EXISTS,
                                                [ADMIN_INVALID] = REQUEST_INVALID,
                                                [ADMIN_REFUSED] = REQUEST_REFUSED};
    if (!done)
        request_fail(r, errors[e->code], "%s", e->text);
    return done;
}

/* A function of admin.h about the user or vhost of that name. */
static void by_name(struct request *r, bool (*change)(struct server *, struct slice, struct admin_error *))
{
    struct admin_error e;
    finish(r, change(r->server, request_text(r, "name"), &e), &e);
}

static void by_password(struct request *r, bool (*change)(struct server *, struct slice name,
                                                          struct slice password, struct admin_error *))
{
    struct admin_error e;
    finish(r, change(r->server, request_text(r, "name"), request_text(r, "password"), &e), &e);
}

static struct slice vhost_of(const struct request *r)
{
    return json_object_get(r->args, "vhost") ? request_text(r, "vhost") : SLICE("/");
}

/* --- users --- */

void command_add_user(struct request *r)
{
    struct admin_error e;
    struct slice name = request_text(r, "name");
    if (!json_object_get(r->args, "hash"))
        finish(r, admin_add_user(r->server, name, request_text(r, "password"), SLICE(""), &e), &e);
    else if (user_find(&r->server->users, name))
        request_fail(r, REQUEST_EXISTS, "user '%.*s' already exists", SLICE_ARG(name));
    else
        finish(r, admin_put_user(r->server, name, request_text(r, "hash"), SLICE(""), SLICE(""), &e), &e);
}

void command_delete_user(struct request *r)
{
    by_name(r, admin_delete_user);
}

void command_change_password(struct request *r)
{
    by_password(r, admin_change_password);
}

void command_clear_password(struct request *r)
{
    by_name(r, admin_clear_password);
}

void command_authenticate_user(struct request *r)
{
    by_password(r, admin_authenticate_user);
}

void command_hash_password(struct request *r)
{
    char hash[PASSWORD_HASH_MAX + 1];
    if (request_text(r, "password").len == 0) {
        request_fail(r, REQUEST_INVALID, "a password is not empty");
        return;
    }
    password_hash_with(r->server->users.hashing, &r->server->rand, request_text(r, "password"), hash);
    request_result(r, "hash", json_string(hash));
}

void command_set_user_tags(struct request *r)
{
    struct admin_error e;
    struct buf tags = {0};
    const json_t *given = json_object_get(r->args, "tags");
    for (size_t i = 0; i < json_array_size(given); i++) {
        const json_t *tag = json_array_get(given, i);
        if (!json_is_string(tag) || strchr(json_string_value(tag), ',')) {
            request_fail(r, REQUEST_INVALID, "a tag is a text without a comma");
            buf_free(&tags);
            return;
        }
        buf_printf(&tags, "%s%s", tags.len ? "," : "", json_string_value(tag));
    }
    finish(r, admin_set_tags(r->server, request_text(r, "name"), buf_slice(&tags), &e), &e);
    buf_free(&tags);
}

static void put_tags(struct buf *out, struct slice tags)
{
    struct slice tag;
    json_out_open(out, '[');
    while (tags_next(&tags, &tag)) {
        json_out_next(out);
        json_out_text(out, tag);
    }
    json_out_close(out, ']');
}

void command_list_users(struct request *r)
{
    map_each (&r->server->users.by_name, i) {
        const struct user *user = r->server->users.by_name.slots[i].value;
        request_row_begin(r);
        json_out_key(&r->out, "user");
        json_out_text(&r->out, user->name);
        json_out_key(&r->out, "tags");
        put_tags(&r->out, user->tags);
        request_row_end(r);
    }
}

/* --- vhosts --- */

void command_add_vhost(struct request *r)
{
    struct admin_error e;
    const json_t *given = json_object_get(r->args, "metadata");
    struct slice metadata = given ? json_in_dump(given) : (struct slice){0};
    finish(r, admin_add_vhost(r->server, request_text(r, "name"), metadata, &e), &e);
    slice_free(&metadata);
}

/* What is much is deleted in slices; the answer is for the end. */
static void wait_for_end(struct request *r)
{
    const struct vhost *v = map_get(&r->server->vhosts, request_text(r, "name"));
    if (!v || !list_linked(&v->ending))
        r->step = NULL;
}

void command_delete_vhost(struct request *r)
{
    struct admin_error e;
    if (!finish(r, admin_delete_vhost(r->server, request_text(r, "name"), &e), &e))
        return;
    if (map_get(&r->server->vhosts, request_text(r, "name")))
        r->step = wait_for_end;
}

/* --- permissions --- */

static void patterns_of(const struct request *r, struct slice patterns[3])
{
    patterns[ACCESS_CONFIGURE] = request_text(r, "configure");
    patterns[ACCESS_WRITE] = request_text(r, "write");
    patterns[ACCESS_READ] = request_text(r, "read");
}

void command_set_permissions(struct request *r)
{
    struct admin_error e;
    struct slice patterns[3];
    patterns_of(r, patterns);
    finish(r, admin_set_permissions(r->server, vhost_of(r), request_text(r, "user"), patterns, &e), &e);
}

void command_clear_permissions(struct request *r)
{
    struct admin_error e;
    finish(r, admin_clear_permissions(r->server, vhost_of(r), request_text(r, "user"), &e), &e);
}

void command_set_topic_permissions(struct request *r)
{
    struct admin_error e;
    struct slice patterns[3];
    patterns_of(r, patterns);
    finish(r,
           admin_set_topic_permissions(r->server, vhost_of(r), request_text(r, "user"),
                                       request_text(r, "exchange"), patterns, &e),
           &e);
}

void command_clear_topic_permissions(struct request *r)
{
    struct admin_error e;
    finish(r,
           admin_clear_topic_permissions(r->server, vhost_of(r), request_text(r, "user"),
                                         request_text(r, "exchange"), &e),
           &e);
}

static void put_member(struct request *r, const char *name, struct slice value)
{
    json_out_key(&r->out, name);
    json_out_text(&r->out, value);
}

static void put_permission(struct request *r, const struct user *user, const struct permission *permission)
{
    request_row_begin(r);
    if (json_object_get(r->args, "user"))
        put_member(r, "vhost", permission->vhost);
    else
        put_member(r, "user", user->name);
    put_member(r, "configure", permission->source[ACCESS_CONFIGURE]);
    put_member(r, "write", permission->source[ACCESS_WRITE]);
    put_member(r, "read", permission->source[ACCESS_READ]);
    request_row_end(r);
}

static void put_topic_permission(struct request *r, const struct user *user,
                                 const struct topic_permission *permission)
{
    request_row_begin(r);
    if (json_object_get(r->args, "user"))
        put_member(r, "vhost", permission->vhost);
    else
        put_member(r, "user", user->name);
    put_member(r, "exchange", permission->exchange);
    put_member(r, "write", permission->source[ACCESS_WRITE]);
    put_member(r, "read", permission->source[ACCESS_READ]);
    request_row_end(r);
}

void command_list_permissions(struct request *r)
{
    const struct vhost *v = request_vhost(r);
    map_each (&r->server->users.by_name, i) {
        const struct user *user = r->server->users.by_name.slots[i].value;
        const struct permission *permission = v ? user_permission(user, v->name) : NULL;
        if (permission)
            put_permission(r, user, permission);
    }
}

static const struct user *find_user(struct request *r)
{
    struct admin_error e;
    const struct user *user = admin_find_user(r->server, request_text(r, "user"), &e);
    finish(r, user, &e);
    return user;
}

void command_list_user_permissions(struct request *r)
{
    const struct user *user = find_user(r);
    if (user)
        map_each (&user->permissions, i)
            put_permission(r, user, user->permissions.slots[i].value);
}

void command_list_topic_permissions(struct request *r)
{
    const struct vhost *v = request_vhost(r);
    if (!v)
        return;
    map_each (&r->server->users.by_name, i) {
        const struct user *user = r->server->users.by_name.slots[i].value;
        map_each (&user->topic_permissions, j) {
            const struct topic_permission *permission = user->topic_permissions.slots[j].value;
            if (slice_equal(permission->vhost, v->name))
                put_topic_permission(r, user, permission);
        }
    }
}

void command_list_user_topic_permissions(struct request *r)
{
    const struct user *user = find_user(r);
    if (user)
        map_each (&user->topic_permissions, i)
            put_topic_permission(r, user, user->topic_permissions.slots[i].value);
}

/* --- limits --- */

void command_set_vhost_limits(struct request *r)
{
    struct admin_error e;
    finish(r, admin_set_vhost_limits(r->server, vhost_of(r), request_text(r, "definition"), &e), &e);
}

void command_clear_vhost_limits(struct request *r)
{
    struct admin_error e;
    finish(r, admin_clear_vhost_limits(r->server, vhost_of(r), &e), &e);
}

void command_set_user_limits(struct request *r)
{
    struct admin_error e;
    finish(r, admin_set_user_limits(r->server, request_text(r, "user"), request_text(r, "definition"), &e),
           &e);
}

void command_clear_user_limits(struct request *r)
{
    struct admin_error e;
    finish(r, admin_clear_user_limits(r->server, request_text(r, "user"), request_text(r, "limit"), &e),
           &e);
}

static void put_limits(struct request *r, const char *owner, struct slice name, const struct limits *limits)
{
    request_row_begin(r);
    put_member(r, owner, name);
    json_out_key(&r->out, "limits");
    limits_print(limits, &r->out);
    request_row_end(r);
}

void command_list_vhost_limits(struct request *r)
{
    bool one = json_object_get(r->args, "vhost");
    if (one && !request_vhost(r))
        return;
    map_each (&r->server->vhosts, i) {
        const struct vhost *v = r->server->vhosts.slots[i].value;
        if (one ? slice_equal(v->name, request_text(r, "vhost")) : limits_are_set(&v->limits))
            put_limits(r, "vhost", v->name, &v->limits);
    }
}

void command_list_user_limits(struct request *r)
{
    bool one = json_object_get(r->args, "user");
    if (one && !find_user(r))
        return;
    map_each (&r->server->users.by_name, i) {
        const struct user *user = r->server->users.by_name.slots[i].value;
        if (one ? slice_equal(user->name, request_text(r, "user")) : limits_are_set(&user->limits))
            put_limits(r, "user", user->name, &user->limits);
    }
}
