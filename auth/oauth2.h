/* oauth2.h - the OAuth 2 backend: a token in place of the password, verified here, with keys from files
 * and from the authorization server's key set. */
#ifndef AUTH_OAUTH2_H
#define AUTH_OAUTH2_H

#include "auth/http.h"
#include "auth/token.h"

enum { OAUTH2_KEY_FILES_MAX = 16, OAUTH2_MAX = 16 };

struct oauth2_key_file {
    const char *id, *path;
};

/* An authorization server: where the keys of its tokens come from. */
struct oauth2_provider {
    const char *name; /* in the configuration; "" = the first one */
    struct oauth2_key_file key_files[OAUTH2_KEY_FILES_MAX];
    size_t key_file_count;
    const char *jwks_url;  /* "" = none */
    const char *discovery; /* address of the OpenID configuration that says it; "" = none */
    struct http_options http;
};

/* auth_oauth2.*; texts are the configuration's. */
struct oauth2_settings {
    struct token_rules servers[OAUTH2_MAX];
    size_t provider_of[OAUTH2_MAX]; /* the place of the one whose tokens a server takes */
    size_t server_count;
    struct oauth2_provider providers[OAUTH2_MAX];
    size_t provider_count;
};

/* The key set's address out of an OpenID configuration; false and half a sentence when there is
 * none, or when it is not https though the configuration itself was. */
bool oauth2_read_discovery(struct slice document, bool is_https, char *url, size_t size,
                           char *reason, size_t reason_size);
/* Reads all files once, of keys and of TLS; false and a sentence when one cannot be used. For the start of
 * the server. */
bool oauth2_check(const struct oauth2_settings *settings, char *error, size_t error_size);

#endif
