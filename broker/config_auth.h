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
    bool disclosure; /* of the reasons why access was denied, to clients */
    uint32_t method; /* 0 = GET, 1 = POST */
    uint32_t timeout_ms, connect_timeout_ms;
    uint32_t verify_peer, hostname_verification, depth, crl_check;
    char versions[CONFIG_TEXT_MAX], password[CONFIG_TEXT_MAX];
    char user_path[CONFIG_PATH_MAX], vhost_path[CONFIG_PATH_MAX], resource_path[CONFIG_PATH_MAX],
        topic_path[CONFIG_PATH_MAX];
    char cacertfile[CONFIG_PATH_MAX], certfile[CONFIG_PATH_MAX], keyfile[CONFIG_PATH_MAX],
        crlfile[CONFIG_PATH_MAX];
    char server_name[CONFIG_TEXT_MAX], ciphers[CONFIG_CIPHERS_MAX];
};

enum { CONFIG_OAUTH2_MAX = 16, CONFIG_OAUTH2_NAME_MAX = 64, CONFIG_ALIASES_MAX = 64 };

/* A resource server: whom tokens are for, and how their claims are read. */
struct config_oauth2_server {
    char
        name[CONFIG_OAUTH2_NAME_MAX]; /* in auth_oauth2.resource_servers.NAME; "" = the first one */
    char id[CONFIG_TEXT_MAX], type[CONFIG_TEXT_MAX], scope_prefix[CONFIG_TEXT_MAX];
    char additional_scopes_key[CONFIG_TEXT_MAX], username_claims[CONFIG_TEXT_MAX];
    char provider[CONFIG_OAUTH2_NAME_MAX];
    bool verify_aud, require_exp;
    bool verify_aud_given, require_exp_given, scope_prefix_given; /* "" is a prefix, too */
};

/* An authorization server: where the keys of its tokens are. Lists are "name=value,name=value". */
struct config_oauth2_provider {
    char name[CONFIG_OAUTH2_NAME_MAX]; /* in auth_oauth2.oauth_providers.NAME; "" = the first one */
    char default_key[CONFIG_TEXT_MAX], algorithms[CONFIG_TEXT_MAX];
    char signing_keys[CONFIG_TEXT_MAX * 8];
    char issuer[CONFIG_PATH_MAX], jwks_url[CONFIG_PATH_MAX];
    char discovery_path[CONFIG_TEXT_MAX], discovery_params[CONFIG_TEXT_MAX * 2];
    char cacertfile[CONFIG_PATH_MAX], crlfile[CONFIG_PATH_MAX];
    uint32_t verify_peer, hostname_verification, depth, crl_check;
};

/* scope_aliases.ALIAS = scopes, or scope_aliases.INDEX.alias and .scope. */
struct config_alias {
    size_t server; /* its place in servers */
    char index[CONFIG_OAUTH2_NAME_MAX], alias[CONFIG_TEXT_MAX], scopes[CONFIG_TEXT_MAX * 2];
};

/* auth_oauth2.*: the keys without a name are the first of both lists. */
struct config_oauth2 {
    struct config_oauth2_server servers[CONFIG_OAUTH2_MAX];
    struct config_oauth2_provider providers[CONFIG_OAUTH2_MAX];
    struct config_alias aliases[CONFIG_ALIASES_MAX];
    size_t server_count, provider_count; /* of those with a name */
    size_t alias_count;
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
