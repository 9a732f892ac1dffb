/* users.h - users: password hashes, tags, limits, permissions and topic permissions by vhost.
 * Everything here is memory alone. What changes users on behalf of an administrator, with the store and
 * with living connections, is broker/admin.h. */
#ifndef AUTH_USERS_H
#define AUTH_USERS_H

#include <stdbool.h>
#include <stdint.h>

#include "auth/limits.h"
#include "auth/password.h"
#include "base/list.h"
#include "base/map.h"
#include "base/slice.h"

enum access { ACCESS_CONFIGURE, ACCESS_WRITE, ACCESS_READ };

enum { USER_TAGS_MAX = 32 }; /* of one user, as in RabbitMQ */

struct pattern; /* a compiled PCRE2 pattern with match limits (pattern.h) */

struct permission {
    struct slice vhost;     /* own memory */
    struct slice source[3]; /* the three patterns as given, by enum access; own memory */
    struct pattern *compiled[3];
};

/* On the routing keys of one topic exchange. By enum access too; nothing at ACCESS_CONFIGURE. */
struct topic_permission {
    struct slice key;             /* vhost, zero byte, exchange; own memory */
    struct slice vhost, exchange; /* its parts */
    struct slice source[3];
    struct pattern *compiled[3]; /* with {username} and {vhost} filled in */
};

/* A user of ours, or one that another backend vouches for (then in no struct users). Whoever points at
 * one holds a reference: a connection may outlive its user's deletion by some milliseconds. */
struct user {
    struct slice name, password_hash; /* the hash as in password.h, "" = none; own memory */
    struct slice tags;                /* comma separated; own memory */
    enum password_hashing hashing;
    bool impersonator, administrator;
    bool loopback_only;
    struct limits limits;
    struct map permissions;       /* vhost -> permission */
    struct map topic_permissions; /* key -> topic_permission */
    struct list connections;      /* the broker's: login.of_user */
    uint64_t connection_count, channel_count; /* the broker's */
    unsigned refs;
};

struct users {
    struct map by_name;
    uint64_t seed;
    enum password_hashing hashing; /* for new passwords, and for the work spent on nobody's */
};

void users_init(struct users *users, uint64_t seed);
void users_free(struct users *users);
struct user *user_find(const struct users *users, struct slice name);
/* Adds the user or replaces hash and tags; copies. A new one has no limits and no permissions. */
struct user *user_put(struct users *users, struct slice name, struct slice password_hash,
                      struct slice tags);
/* Forgets the user with its permissions; freed when nobody holds a reference any more. */
void user_remove(struct users *users, struct user *user);
/* One that is in no struct users, with the caller's reference. */
struct user *user_new_outsider(struct slice name, struct slice tags, uint64_t seed);
struct user *user_hold(struct user *user);
void user_drop(struct user **user);

void user_set_tags(struct user *user, struct slice tags);

/* Comma separated; spaces around a tag are not its own. */
bool tags_have(struct slice tags, struct slice tag);
/* The next tag off the front of `rest`; false at the end. Blank ones are left out. */
bool tags_next(struct slice *rest, struct slice *tag);

/* Adds or replaces the permission; false when a pattern does not compile (`error` says why). */
bool user_permit(struct user *user, struct slice vhost, struct slice configure, struct slice write,
                 struct slice read, char *error, size_t error_size);
/* False when there was none. */
bool user_forbid(struct user *user, struct slice vhost);
/* NULL when the user may not enter the vhost. */
const struct permission *user_permission(const struct user *user, struct slice vhost);
/* Unanchored match of the resource's name ('' = '^$' = nothing; the default exchange is checked as
 * "amq.default"). A pattern that exceeds its match limits does not match. */
bool permission_allows(const struct permission *permission, enum access access,
                       struct slice resource);

/* The same for routing keys of an exchange. {username} and {vhost} in a pattern stand for the names, as
 * they are (RabbitMQ's access-control page, topic authorisation). */
bool user_permit_topic(struct user *user, struct slice vhost, struct slice exchange,
                       struct slice write, struct slice read, char *error, size_t error_size);
bool user_forbid_topic(struct user *user, struct slice vhost, struct slice exchange);
/* NULL when there is none: every key is allowed then. */
const struct topic_permission *user_topic_permission(const struct user *user, struct slice vhost,
                                                     struct slice exchange);
bool topic_permission_allows(const struct topic_permission *permission, enum access access,
                             struct slice routing_key);
/* For user_remove and users_free. */
void user_free_permissions(struct user *user);

/* NULL when refused. Constant time for a given hash; a user that does not exist costs the same. A
 * blank password never matches. */
struct user *user_authenticate(const struct users *users, struct slice name, struct slice password);

/* SASL PLAIN (RFC 4616): "\0user\0password"; an authorization id is refused (K06). */
bool sasl_plain(struct slice response, struct slice *name, struct slice *password);

#endif
