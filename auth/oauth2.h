/* oauth2.h - the OAuth 2 backend: a token in place of the password, verified here, with keys from files
 * and from the authorization server's key set. */
#ifndef AUTH_OAUTH2_H
#define AUTH_OAUTH2_H

#include "auth/http.h"
#include "auth/token.h"

enum { OAUTH2_KEY_FILES_MAX = 16 };

struct oauth2_key_file {
    const char *id, *path;
};

/* auth_oauth2.*; texts are the configuration's. */
struct oauth2_settings {
    struct token_rules rules;
    struct oauth2_key_file key_files[OAUTH2_KEY_FILES_MAX];
    size_t key_file_count;
    const char *jwks_url; /* "" = none */
    struct http_options http;
};

/* Reads the key files once; false and a sentence when one cannot be used. For the start of the server. */
bool oauth2_check(const struct oauth2_settings *settings, char *error, size_t error_size);

#endif
