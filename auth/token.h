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

/* A scope that stands for others, which have blanks between. */
struct token_alias {
    const char *alias, *scopes;
};

/* A resource server of auth_oauth2.*; texts are the configuration's, lists are comma separated. */
struct token_rules {
    const char *resource_server_id, *scope_prefix;
    const char *server_type; /* of authorization_details that are read; "" or NULL = none */
    const struct token_alias *aliases;
    size_t alias_count;
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
/* For which of the resource servers a token says that it is: the place of the one that is in its
 * audience, else of the only one that takes any. `count` and half a sentence when none is, or more
 * than one. Nothing is verified here: it only tells whose keys the token has to be signed with. */
size_t token_choose(struct slice token, const struct token_rules *servers, size_t count,
                    char *reason, size_t reason_size);
/* "RS256" and so on; false for all else, HS256 and none among them. */
bool token_algorithm_from_name(struct slice name, enum token_algorithm *algorithm);

#endif
