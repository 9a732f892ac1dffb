/* token.h - JSON Web Tokens (RFC 7519) as passwords: signature, audience, expiry, and what rights they
 * carry (RabbitMQ's OAuth 2 guide). */
#ifndef AUTH_TOKEN_H
#define AUTH_TOKEN_H

#include "auth/grant.h"
#include "auth/jwk.h"

enum token_algorithm {
    TOKEN_RS256,
    TOKEN_RS384,
    TOKEN_RS512,
    TOKEN_ES256,
    TOKEN_ES384,
    TOKEN_ES512,
    TOKEN_ALGORITHMS,
};

/* auth_oauth2.*; texts are the configuration's, lists are comma separated. */
struct token_rules {
    const char *resource_server_id, *scope_prefix;
    const char *default_key;               /* the key of tokens that name none; "" = refused */
    const char *username_claims;           /* looked at before sub and client_id */
    const char *additional_scopes;         /* claims with more scopes, "a.b c" */
    unsigned algorithms;                   /* bit for each enum token_algorithm; 0 = all */
    bool verify_aud, require_exp;
};

/* What a good token says; memory goes over to the caller. */
struct token_claims {
    struct slice user, tags;
    struct grant *grant;
};

enum token_result { TOKEN_GOOD, TOKEN_BAD, TOKEN_KEY_MISSING };

/* `reason` gets half a sentence that quotes nothing of the token but a key's id. */
enum token_result token_verify(struct slice token, const struct token_rules *rules,
                               const struct jwk_set *keys, uint64_t now_s, struct token_claims *claims,
                               char *reason, size_t reason_size);
/* "RS256" and so on; false for all else, HS256 and none among them. */
bool token_algorithm_from_name(struct slice name, enum token_algorithm *algorithm);

#endif
