/* users.c - users by name, and their tags.
 *
 * Owner: struct users holds one reference to every user it knows, a connection one to its own; a user
 * owns its permissions (user_permissions.c). Names are the keys of the maps and live in the values. */
#include "auth/users.h"

#include "base/assert.h"
#include "base/mem.h"

void users_init(struct users *users, uint64_t seed)
{
    *users = (struct users){.seed = seed};
    map_init(&users->by_name, seed);
}

struct user *user_hold(struct user *user)
{
    assert(user->refs > 0);
    user->refs++;
    return user;
}

void user_drop(struct user **holder)
{
    struct user *user = *holder;
    *holder = NULL;
    assert(user->refs > 0);
    if (--user->refs > 0)
        return;
    assert(list_empty(&user->connections));
    user_free_permissions(user);
    slice_free(&user->name);
    slice_free(&user->password_hash);
    slice_free(&user->tags);
    mem_free(user);
}

void users_free(struct users *users)
{
    map_each (&users->by_name, i) {
        struct user *user = users->by_name.slots[i].value;
        user_drop(&user);
    }
    map_free(&users->by_name);
}

struct user *user_find(const struct users *users, struct slice name)
{
    return map_get(&users->by_name, name);
}

static bool is_space(uint8_t byte)
{
    return byte == ' ';
}

bool tags_next(struct slice *rest, struct slice *tag)
{
    while (rest->len > 0) {
        const uint8_t *comma = memchr(rest->at, ',', rest->len);
        struct slice one = slice_of(rest->at, comma ? (size_t)(comma - rest->at) : rest->len);
        size_t step = one.len + (comma ? 1 : 0);
        *rest = slice_of(rest->at + step, rest->len - step);
        while (one.len > 0 && is_space(one.at[0]))
            one = slice_of(one.at + 1, one.len - 1);
        while (one.len > 0 && is_space(one.at[one.len - 1]))
            one.len--;
        *tag = one;
        if (one.len > 0)
            return true;
    }
    return false;
}

bool tags_have(struct slice tags, struct slice tag)
{
    struct slice one;
    while (tags_next(&tags, &one))
        if (slice_equal(one, tag))
            return true;
    return false;
}

static struct user *new_user(struct slice name, uint64_t seed)
{
    struct user *user = mem_zalloc(sizeof(*user));
    user->name = slice_copy(name);
    user->limits = limits_none();
    user->refs = 1;
    map_init(&user->permissions, seed);
    map_init(&user->topic_permissions, seed);
    list_init(&user->connections);
    return user;
}

void user_set_tags(struct user *user, struct slice tags)
{
    struct slice old = user->tags;
    user->tags = slice_copy(tags);
    user->administrator = tags_have(user->tags, SLICE("administrator"));
    user->impersonator = tags_have(user->tags, SLICE("impersonator"));
    slice_free(&old); /* only now: the caller may have passed the user's own */
}

struct user *user_new_outsider(struct slice name, struct slice tags, uint64_t seed)
{
    struct user *user = new_user(name, seed);
    user_set_tags(user, tags);
    return user;
}

struct user *user_put(struct users *users, struct slice name, struct slice password_hash,
                      struct slice tags)
{
    struct user *user = user_find(users, name);
    if (!user) {
        user = new_user(name, users->seed);
        map_put(&users->by_name, user->name, user);
    }
    struct slice old = user->password_hash;
    user->password_hash = slice_copy(password_hash);
    slice_free(&old);
    user_set_tags(user, tags);
    assert(user_find(users, name) == user);
    return user;
}

void user_remove(struct users *users, struct user *user)
{
    struct user *removed = map_remove(&users->by_name, user->name);
    assert(removed == user);
    user_free_permissions(user);
    user_drop(&removed);
}

struct user *user_authenticate(const struct users *users, struct slice name, struct slice password)
{
    struct user *user = user_find(users, name);
    /* Nobody's hash is compared as well, so that the answer's time does not tell who exists. */
    bool matches = password_matches(user ? user->hashing : users->hashing,
                                    user ? user->password_hash : SLICE(""), password);
    return user && matches ? user : NULL;
}
