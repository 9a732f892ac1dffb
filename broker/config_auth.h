/* config_auth.h - the configuration of who gets in: mechanisms, passwords, backends. */
#ifndef BROKER_CONFIG_AUTH_H
#define BROKER_CONFIG_AUTH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"
#include "broker/config_net.h"

struct config;

enum password_validation { VALIDATE_NOTHING, VALIDATE_LENGTH, VALIDATE_REGEXP };

enum config_cert_name { CERT_SUBJECT, CERT_COMMON_NAME, CERT_SAN, CERT_SAN_TOO };
enum config_backend_name { CONFIG_INTERNAL, CONFIG_HTTP, CONFIG_OAUTH2, CONFIG_CACHE };
enum { CONFIG_SAME = 0, CONFIG_LINKS_MAX = 8 }; /* of a choice that is one more than a backend's */

/* One of auth_backends.*: who checks the password, and who knows the rights. */
struct config_link {
    unsigned number;
    enum config_backend_name authn, authz;
    bool has_authn, has_authz, cached;
};

struct config_chain {
    struct config_link links[CONFIG_LINKS_MAX];
    size_t count;
};

/* auth_http.* */
struct config_http {
    uint32_t method; /* 0 = GET, 1 = POST */
    uint32_t timeout_ms, connect_timeout_ms;
    uint32_t verify_peer;
    char user_path[CONFIG_PATH_MAX], vhost_path[CONFIG_PATH_MAX], resource_path[CONFIG_PATH_MAX],
        topic_path[CONFIG_PATH_MAX];
    char cacertfile[CONFIG_PATH_MAX], certfile[CONFIG_PATH_MAX], keyfile[CONFIG_PATH_MAX];
};

/* auth_oauth2.*; lists are "name=value,name=value". */
struct config_oauth2 {
    char resource_server_id[CONFIG_TEXT_MAX], scope_prefix[CONFIG_TEXT_MAX];
    char additional_scopes_key[CONFIG_TEXT_MAX], default_key[CONFIG_TEXT_MAX];
    char username_claims[CONFIG_TEXT_MAX], algorithms[CONFIG_TEXT_MAX];
    char signing_keys[CONFIG_TEXT_MAX * 8];
    char jwks_url[CONFIG_PATH_MAX], cacertfile[CONFIG_PATH_MAX];
    uint32_t verify_peer;
    bool verify_aud, require_exp;
    bool scope_prefix_given; /* "" is a prefix, too */
};

/* Who gets in, and how. */
struct config_auth {
    char backends[CONFIG_TEXT_MAX]; /* "1=internal": config_read_chain */
    uint32_t cached_backend, cached_authn, cached_authz, cache_ttl_ms;
    bool cache_refusals;
    struct config_http http;
    struct config_oauth2 oauth2;
    uint32_t cert_name, san_kind, san_index;
    char anonymous_user[CONFIG_TEXT_MAX], anonymous_pass[CONFIG_TEXT_MAX];
    uint32_t password_hashing;   /* enum password_hashing */
    uint32_t validation_backend; /* enum password_validation */
    uint32_t password_length_min;
    char password_regexp[CONFIG_TEXT_MAX];
};

/* By the name here, or the one of RabbitMQ's module. */
bool config_find_backend(struct slice name, enum config_backend_name *backend);
/* The backends in their order; false and a sentence when they make no sense together. */
bool config_read_chain(const struct config *config, struct config_chain *chain, char *error,
                       size_t error_size);

#endif
