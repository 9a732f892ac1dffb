/* users.h - users, their password hashes, tags and permissions.
 * The full work (vhost limits, topic permissions, other backends, TLS names) is issue 4; this is
 * what a login and an operation need. */
#ifndef AUTH_USERS_H
#define AUTH_USERS_H

#include <stdbool.h>
#include <stdint.h>

#include "auth/password.h"
#include "base/map.h"
#include "base/slice.h"

enum access { ACCESS_CONFIGURE, ACCESS_WRITE, ACCESS_READ };

struct pattern; /* a compiled PCRE2 pattern with match limits (pattern.h) */

struct permission {
    struct slice vhost;     /* own memory */
    struct slice source[3]; /* the three patterns as given, by enum access; own memory */
    struct pattern *compiled[3];
};

struct user {
    struct slice name, password_hash; /* the hash as in password.h; own memory */
    struct slice tags;                /* comma separated; own memory */
    bool impersonator, administrator;
    bool loopback_only;
    struct map permissions; /* vhost -> permission */
};

struct users {
    struct map by_name;
    uint64_t seed;
};

void users_init(struct users *users, uint64_t seed);
void users_free(struct users *users);
struct user *user_find(const struct users *users, struct slice name);
/* Adds or replaces; copies. */
struct user *user_put(struct users *users, struct slice name, struct slice password_hash,
                      struct slice tags);
/* Adds or replaces the permission; false when a pattern does not compile (`error` says why). */
bool user_permit(struct user *user, struct slice vhost, struct slice configure, struct slice write,
                 struct slice read, char *error, size_t error_size);
/* NULL when the user may not enter the vhost. */
const struct permission *user_permission(const struct user *user, struct slice vhost);
/* Unanchored match of the resource's name ('' = '^$' = nothing; the default exchange is checked as
 * "amq.default"). A pattern that exceeds its match limits does not match. */
bool permission_allows(const struct permission *permission, enum access access,
                       struct slice resource);

/* NULL when refused. Constant time for a given hash; a user that does not exist costs the same. A
 * blank password never matches. */
struct user *user_authenticate(const struct users *users, struct slice name, struct slice password);

/* SASL PLAIN (RFC 4616): "\0user\0password"; an authorization id is refused (K06). */
bool sasl_plain(struct slice response, struct slice *name, struct slice *password);

#endif
