/* users.c - users, their tags and their permissions by vhost.
 *
 * Owner: struct users owns every user, a user its permissions, a permission its compiled patterns.
 * Names are the keys of the maps and live in the values. A pointer to a user is valid until
 * users_free: nothing removes one yet. */
#include "auth/users.h"

#include <stdio.h>

#include "auth/password.h"
#include "auth/pattern.h"
#include "base/assert.h"
#include "base/mem.h"

enum { ACCESS_KINDS = ACCESS_READ + 1 };

void users_init(struct users *users, uint64_t seed)
{
    *users = (struct users){.seed = seed};
    map_init(&users->by_name, seed);
}

static void free_permission(struct permission **permission)
{
    for (int i = 0; i < ACCESS_KINDS; i++) {
        slice_free(&(*permission)->source[i]);
        pattern_free(&(*permission)->compiled[i]);
    }
    slice_free(&(*permission)->vhost);
    mem_free(*permission);
    *permission = NULL;
}

static void free_user(struct user **user)
{
    map_each (&(*user)->permissions, i) {
        struct permission *permission = (*user)->permissions.slots[i].value;
        free_permission(&permission);
    }
    map_free(&(*user)->permissions);
    slice_free(&(*user)->name);
    slice_free(&(*user)->password_hash);
    slice_free(&(*user)->tags);
    mem_free(*user);
    *user = NULL;
}

void users_free(struct users *users)
{
    map_each (&users->by_name, i) {
        struct user *user = users->by_name.slots[i].value;
        free_user(&user);
    }
    map_free(&users->by_name);
}

struct user *user_find(const struct users *users, struct slice name)
{
    return map_get(&users->by_name, name);
}

/* A comma separated list; spaces around a tag do not belong to it. */
static bool has_tag(struct slice tags, const char *tag)
{
    while (tags.len > 0) {
        const uint8_t *comma = memchr(tags.at, ',', tags.len);
        struct slice one = slice_of(tags.at, comma ? (size_t)(comma - tags.at) : tags.len);
        size_t step = one.len + (comma ? 1 : 0);
        tags = slice_of(tags.at + step, tags.len - step);
        while (one.len > 0 && one.at[0] == ' ')
            one = slice_of(one.at + 1, one.len - 1);
        while (one.len > 0 && one.at[one.len - 1] == ' ')
            one.len--;
        if (slice_is(one, tag))
            return true;
    }
    return false;
}

struct user *user_put(struct users *users, struct slice name, struct slice password_hash,
                      struct slice tags)
{
    struct user *user = user_find(users, name);
    struct slice old_hash = {0}, old_tags = {0};
    if (user) {
        old_hash = user->password_hash, old_tags = user->tags;
    } else {
        user = mem_zalloc(sizeof(*user));
        user->name = slice_copy(name);
        map_init(&user->permissions, users->seed);
        map_put(&users->by_name, user->name, user);
    }
    user->password_hash = slice_copy(password_hash);
    user->tags = slice_copy(tags);
    user->administrator = has_tag(user->tags, "administrator");
    user->impersonator = has_tag(user->tags, "impersonator");
    slice_free(&old_hash); /* only now: the caller may have passed the user's own */
    slice_free(&old_tags);
    assert(user_find(users, name) == user);
    return user;
}

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

struct user *user_authenticate(const struct users *users, struct slice name, struct slice password)
{
    struct user *user = user_find(users, name);
    /* Nobody's hash is compared as well, so that the answer's time does not tell who exists. */
    bool matches = password_matches(user ? user->password_hash : SLICE(""), password);
    return user && matches ? user : NULL;
}
