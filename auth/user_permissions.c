/* user_permissions.c - what a user may do in a vhost, and with which routing keys of a topic exchange.
 *
 * Owner: the user. Changing a permission frees the old one: whoever kept a pointer to it asks anew. */
#include <stdio.h>

#include "auth/pattern.h"
#include "auth/users.h"
#include "base/assert.h"
#include "base/buf.h"
#include "base/mem.h"

enum { ACCESS_KINDS = ACCESS_READ + 1, TOPIC_KEY_MAX = 2 * 255 + 1 };

static void free_patterns(struct slice *source, struct pattern **compiled)
{
    for (int i = 0; i < ACCESS_KINDS; i++) {
        slice_free(&source[i]);
        pattern_free(&compiled[i]);
    }
}

static void free_permission(struct permission **permission)
{
    free_patterns((*permission)->source, (*permission)->compiled);
    slice_free(&(*permission)->vhost);
    mem_free(*permission);
    *permission = NULL;
}

static void free_topic_permission(struct topic_permission **permission)
{
    free_patterns((*permission)->source, (*permission)->compiled);
    slice_free(&(*permission)->key);
    mem_free(*permission);
    *permission = NULL;
}

void user_free_permissions(struct user *user)
{
    map_each (&user->permissions, i) {
        struct permission *permission = user->permissions.slots[i].value;
        free_permission(&permission);
    }
    map_each (&user->topic_permissions, i) {
        struct topic_permission *permission = user->topic_permissions.slots[i].value;
        free_topic_permission(&permission);
    }
    map_free(&user->permissions);
    map_free(&user->topic_permissions);
}

/* --- names of exchanges and queues --- */

bool user_permit(struct user *user, struct slice vhost, struct slice configure, struct slice write,
                 struct slice read, char *error, size_t error_size)
{
    const struct slice sources[ACCESS_KINDS] = {
        [ACCESS_CONFIGURE] = configure, [ACCESS_WRITE] = write, [ACCESS_READ] = read};
    struct permission *permission = mem_zalloc(sizeof(*permission));
    permission->vhost = slice_copy(vhost);
    for (int i = 0; i < ACCESS_KINDS; i++) {
        permission->source[i] = slice_copy(sources[i]);
        permission->compiled[i] = pattern_compile(sources[i], error, error_size);
        if (!permission->compiled[i]) {
            free_permission(&permission);
            return false;
        }
    }
    struct permission *old = map_remove(&user->permissions, permission->vhost);
    map_put(&user->permissions, permission->vhost, permission);
    if (old)
        free_permission(&old);
    return true;
}

bool user_forbid(struct user *user, struct slice vhost)
{
    struct permission *old = map_remove(&user->permissions, vhost);
    if (!old)
        return false;
    free_permission(&old);
    return true;
}

const struct permission *user_permission(const struct user *user, struct slice vhost)
{
    return map_get(&user->permissions, vhost);
}

bool permission_allows(const struct permission *permission, enum access access,
                       struct slice resource)
{
    assertf((int)access < ACCESS_KINDS, "access %d", (int)access);
    return pattern_matches(permission->compiled[access], resource);
}

/* --- routing keys --- */

static struct slice topic_key(char key[TOPIC_KEY_MAX], struct slice vhost, struct slice exchange)
{
    if (vhost.len + 1 + exchange.len > TOPIC_KEY_MAX)
        return slice_of(key, 0); /* no such names exist */
    memcpy(key, vhost.at, vhost.len);
    key[vhost.len] = 0;
    if (exchange.len)
        memcpy(key + vhost.len + 1, exchange.at, exchange.len);
    return slice_of(key, vhost.len + 1 + exchange.len);
}

/* A name in a pattern means itself, whatever it is made of. */
static void append_escaped(struct buf *out, struct slice name)
{
    for (size_t i = 0; i < name.len; i++) {
        bool special = name.at[i] && strchr("\\^$.|?*+()[]{}-#& \t\n\r\f\v", name.at[i]);
        if (special)
            buf_append(out, "\\", 1);
        buf_append(out, &name.at[i], 1);
    }
}

static struct pattern *compile_topic(struct slice source, struct slice user, struct slice vhost,
                                     char *error, size_t error_size)
{
    static const struct slice username_word = {(const uint8_t *)"{username}", 10};
    static const struct slice vhost_word = {(const uint8_t *)"{vhost}", 7};
    struct buf expanded = {0};
    for (size_t i = 0; i < source.len;) {
        struct slice rest = slice_of(source.at + i, source.len - i);
        if (slice_starts_with(rest, "{username}")) {
            append_escaped(&expanded, user);
            i += username_word.len;
        } else if (slice_starts_with(rest, "{vhost}")) {
            append_escaped(&expanded, vhost);
            i += vhost_word.len;
        } else {
            buf_append(&expanded, &source.at[i++], 1);
        }
    }
    struct pattern *pattern = pattern_compile(buf_slice(&expanded), error, error_size);
    buf_free(&expanded);
    return pattern;
}

bool user_permit_topic(struct user *user, struct slice vhost, struct slice exchange,
                       struct slice write, struct slice read, char *error, size_t error_size)
{
    char key[TOPIC_KEY_MAX];
    struct slice name = topic_key(key, vhost, exchange);
    assert(name.len > 0);
    struct topic_permission *permission = mem_zalloc(sizeof(*permission));
    permission->key = slice_copy(name);
    permission->vhost = slice_of(permission->key.at, vhost.len);
    permission->exchange = slice_of(permission->key.at + vhost.len + 1, exchange.len);
    permission->source[ACCESS_WRITE] = slice_copy(write);
    permission->source[ACCESS_READ] = slice_copy(read);
    permission->compiled[ACCESS_WRITE] =
        compile_topic(write, user->name, vhost, error, error_size);
    if (permission->compiled[ACCESS_WRITE])
        permission->compiled[ACCESS_READ] =
            compile_topic(read, user->name, vhost, error, error_size);
    if (!permission->compiled[ACCESS_READ]) {
        free_topic_permission(&permission);
        return false;
    }
    user_forbid_topic(user, vhost, exchange);
    map_put(&user->topic_permissions, permission->key, permission);
    return true;
}

bool user_forbid_topic(struct user *user, struct slice vhost, struct slice exchange)
{
    char key[TOPIC_KEY_MAX];
    struct topic_permission *old =
        map_remove(&user->topic_permissions, topic_key(key, vhost, exchange));
    if (!old)
        return false;
    free_topic_permission(&old);
    return true;
}

const struct topic_permission *user_topic_permission(const struct user *user, struct slice vhost,
                                                     struct slice exchange)
{
    char key[TOPIC_KEY_MAX];
    if (user->topic_permissions.size == 0)
        return NULL;
    return map_get(&user->topic_permissions, topic_key(key, vhost, exchange));
}

bool topic_permission_allows(const struct topic_permission *permission, enum access access,
                             struct slice routing_key)
{
    assertf(access == ACCESS_WRITE || access == ACCESS_READ, "access %d", (int)access);
    return pattern_matches(permission->compiled[access], routing_key);
}
