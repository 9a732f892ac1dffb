/* admin.c - what the functions for administrators share: names, errors, and rows of the store. */
#include "broker/admin.h"

#include <stdarg.h>

#include "broker/connection.h"
#include "broker/vhost.h"

enum { NAME_MAX_BYTES = 255 };

bool admin_fail(struct admin_error *e, enum admin_code code, const char *format, ...)
{
    va_list args;
    e->code = code;
    va_start(args, format);
    vsnprintf(e->text, sizeof(e->text), format, args);
    va_end(args);
    return false;
}

bool admin_check_name(struct slice name, const char *what, struct admin_error *e)
{
    if (name.len == 0 || name.len > NAME_MAX_BYTES)
        return admin_fail(e, ADMIN_INVALID, "the name of a %s has 1 to %d bytes, not %zu", what,
                          NAME_MAX_BYTES, name.len);
    if (!slice_is_utf8(name) || memchr(name.at, 0, name.len))
        return admin_fail(e, ADMIN_INVALID, "the name of a %s is UTF-8 text", what);
    return true;
}

struct user *admin_find_user(struct server *s, struct slice name, struct admin_error *e)
{
    struct user *user = user_find(&s->users, name);
    if (!user)
        admin_fail(e, ADMIN_MISSING, "user '%.*s' does not exist", SLICE_ARG(name));
    return user;
}

struct vhost *admin_find_vhost(struct server *s, struct slice name, struct admin_error *e)
{
    struct vhost *v = server_find_vhost(s, name);
    if (!v)
        admin_fail(e, ADMIN_MISSING, "virtual host '%.*s' does not exist", SLICE_ARG(name));
    return v;
}

void admin_define(struct server *s, const struct definition *definition)
{
    store_define(s->store, definition);
    s->defined_batch = store_open_batch(s->store);
}

void admin_undefine(struct server *s, const struct definition *definition)
{
    store_undefine(s->store, definition);
    s->defined_batch = store_open_batch(s->store);
}

void admin_define_user(struct server *s, const struct user *user)
{
    struct buf limits = {0};
    limits_print(&user->limits, &limits);
    admin_define(s, &(struct definition){.kind = DEFINITION_USER,
                                         .name = user->name,
                                         .password_hash = user->password_hash,
                                         .tags = user->tags,
                                         .type = slice_of_string(password_hashing_name(user->hashing)),
                                         .args = buf_slice(&limits)});
    buf_free(&limits);
}

void admin_permissions_changed(struct server *s, struct user *user, struct slice vhost)
{
    struct vhost *v = server_find_vhost(s, vhost);
    if (v)
        login_refresh(user, v);
}
