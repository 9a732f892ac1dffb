/* grant.h - the rights that a token carries: scopes such as "read:vhost/name", with wildcards, and for
 * topic exchanges "write:vhost/exchange/key" (RabbitMQ's OAuth 2 guide). */
#ifndef AUTH_GRANT_H
#define AUTH_GRANT_H

#include <stdbool.h>
#include <stdint.h>

#include "auth/users.h"
#include "base/slice.h"

enum { GRANT_SCOPES_MAX = 2048 };

/* Immutable once made, but for the counter. Made by a thread, then the loop's alone. */
struct grant {
    uint64_t expires_s; /* seconds since 1970, UINT64_MAX = never */
    struct scope *scopes;
    size_t scope_count;
};

struct grant *grant_new(void);
/* NULL is allowed. */
void grant_drop(struct grant **grant);
/* Adds what a scope (without the prefix of the resource server) says; what is none is left out, as in
 * RabbitMQ. False when there are too many. `{vhost}` in it is the vhost's name. */
bool grant_add(struct grant *grant, struct slice scope);

bool grant_allows_vhost(const struct grant *grant, struct slice vhost);
bool grant_allows(const struct grant *grant, enum access access, struct slice vhost, struct slice name);
bool grant_allows_key(const struct grant *grant, enum access access, struct slice vhost,
                      struct slice exchange, struct slice key);

/* `*` stands for any run of bytes, %2F and the like for a byte that could not stand there itself. */
bool wildcard_matches(struct slice pattern, struct slice text);

#endif
