/* tokens.c - OAuth 2 as configured, in the words of its backend.
 *
 * Owner: the server's logins, after the backend's thread has ended. A resource server that says
 * nothing of something takes it from the first one, as in RabbitMQ; providers share nothing. */
#include "broker/tokens.h"

#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"

enum { KEY_SET_MAX = 1024 * 1024, KEY_SET_TIMEOUT_MS = 5000 };

/* The settings, and the texts of theirs that the configuration does not have in one piece. */
struct tokens {
    struct oauth2_settings settings;
    struct token_alias aliases[OAUTH2_MAX][CONFIG_ALIASES_MAX];
    char prefixes[OAUTH2_MAX][CONFIG_TEXT_MAX + 1], claims[OAUTH2_MAX][CONFIG_TEXT_MAX];
    char files[OAUTH2_MAX][CONFIG_TEXT_MAX * 8];
    char discoveries[OAUTH2_MAX][CONFIG_PATH_MAX + CONFIG_TEXT_MAX * 3];
};

static_assert((int)CONFIG_OAUTH2_MAX == (int)OAUTH2_MAX, "a place for each");

/* --- providers --- */

static void set_key_files(struct oauth2_provider *to, char *list)
{
    char *rest = NULL;
    for (char *item = strtok_r(list, ",", &rest); item && to->key_file_count < OAUTH2_KEY_FILES_MAX;
         item = strtok_r(NULL, ",", &rest)) {
        char *equals = strchr(item, '=');
        assert(equals);
        *equals = 0;
        to->key_files[to->key_file_count++] = (struct oauth2_key_file){item, equals + 1};
    }
}

/* "https://issuer" "/path" and "a=b,c=d" are "https://issuer/path?a=b&c=d". */
static void join_discovery(const struct config_oauth2_provider *from, char *to, size_t size)
{
    size_t issuer = strlen(from->issuer);
    const char *path = from->discovery_path;
    while (issuer && from->issuer[issuer - 1] == '/')
        issuer--;
    to[0] = 0;
    if (issuer == 0)
        return;
    int len = snprintf(to, size, "%.*s%s%s%s%s", (int)issuer, from->issuer, *path == '/' ? "" : "/",
                       path, *from->discovery_params ? "?" : "", from->discovery_params);
    assert(len > 0 && (size_t)len < size);
    for (char *at = strchr(to, '?'); at && *at; at++)
        if (*at == ',')
            *at = '&';
}

static void set_provider(struct tokens *tokens, const struct config_oauth2_provider *from, size_t i)
{
    struct oauth2_provider *to = &tokens->settings.providers[i];
    join_discovery(from, tokens->discoveries[i], sizeof(tokens->discoveries[i]));
    snprintf(tokens->files[i], sizeof(tokens->files[i]), "%s", from->signing_keys);
    set_key_files(to, tokens->files[i]);
    to->jwks_url = from->jwks_url;
    to->discovery = tokens->discoveries[i];
    to->name = from->name;
    to->http = (struct http_options){.tls = {.ca_file = from->cacertfile,
                                             .cert_file = "",
                                             .key_file = "",
                                             .password = "",
                                             .crl_file = from->crlfile,
                                             .server_name = "",
                                             .ciphers = "",
                                             .crl_check = (enum http_crl_check)from->crl_check,
                                             .verify = from->verify_peer,
                                             .no_wildcards = from->hostname_verification == 1,
                                             .depth = from->depth},
                                     .connect_timeout_ms = KEY_SET_TIMEOUT_MS,
                                     .timeout_ms = KEY_SET_TIMEOUT_MS,
                                     .answer_max = KEY_SET_MAX};
}

/* --- servers --- */

static size_t find_provider(const struct config_oauth2 *config, const char *name)
{
    size_t i = 0; /* "" is the first one's name */
    while (strcmp(config->providers[i].name, name) != 0)
        i++;
    assert(i <= config->provider_count);
    return i;
}

/* Its own aliases, or else the first server's. */
static void set_aliases(struct tokens *tokens, const struct config_oauth2 *config, size_t place,
                        struct token_rules *rules)
{
    struct token_alias *to = tokens->aliases[tokens->settings.server_count];
    for (size_t from = place, again = 0; again < 2 && rules->alias_count == 0; again++, from = 0)
        for (size_t i = 0; i < config->alias_count; i++)
            if (config->aliases[i].server == from)
                to[rules->alias_count++] =
                    (struct token_alias){config->aliases[i].alias, config->aliases[i].scopes};
    rules->aliases = to;
}

static unsigned algorithm_bits(const char *items)
{
    struct slice value;
    unsigned bits = 0;
    while (config_next_item(&items, &value)) {
        enum token_algorithm algorithm;
        if (token_algorithm_from_name(value, &algorithm))
            bits |= 1u << algorithm;
    }
    return bits;
}

static void add_server(struct tokens *tokens, const struct config_oauth2 *config, size_t place)
{
    struct oauth2_settings *settings = &tokens->settings;
    size_t i = settings->server_count;
    const struct config_oauth2_server *root = &config->servers[0], *from = &config->servers[place];
    const char *id = *from->id ? from->id : from->name;
    const char *provider = *from->provider ? from->provider : root->provider;
    const struct config_oauth2_server *prefixed = from->scope_prefix_given ? from : root;
    const char *claims = *from->username_claims ? from->username_claims : root->username_claims;
    struct token_rules *rules = &settings->servers[i];
    settings->provider_of[i] = find_provider(config, provider);
    snprintf(tokens->prefixes[i], sizeof(tokens->prefixes[i]), "%s.", id);
    const struct config_oauth2_provider *keys = &config->providers[settings->provider_of[i]];
    *rules = (struct token_rules){
        .resource_server_id = id,
        .scope_prefix = prefixed->scope_prefix_given ? prefixed->scope_prefix : tokens->prefixes[i],
        .server_type = *from->type ? from->type : root->type,
        .default_key = keys->default_key,
        .algorithms = algorithm_bits(keys->algorithms),
        .username_claims = config_join_items(claims, ',', tokens->claims[i], sizeof(tokens->claims[i])),
        .additional_scopes = *from->additional_scopes_key ? from->additional_scopes_key
                                                          : root->additional_scopes_key,
        .verify_aud = from->verify_aud_given ? from->verify_aud : root->verify_aud,
        .require_exp = from->require_exp_given ? from->require_exp : root->require_exp};
    set_aliases(tokens, config, place, rules);
    settings->server_count++;
}

struct tokens *tokens_new(const struct config *config)
{
    const struct config_oauth2 *oauth2 = &config->auth.oauth2;
    struct tokens *tokens = mem_zalloc(sizeof(*tokens));
    for (size_t i = 0; i <= oauth2->provider_count; i++)
        set_provider(tokens, &oauth2->providers[i], i);
    tokens->settings.provider_count = oauth2->provider_count + 1;
    for (size_t i = 0; i <= oauth2->server_count;
         i++) /* the first is none when only others are named */
        if (i > 0 || *oauth2->servers[0].id || oauth2->server_count == 0)
            add_server(tokens, oauth2, i);
    assert(tokens->settings.server_count > 0);
    return tokens;
}

void tokens_free(struct tokens **tokens)
{
    mem_free(*tokens);
    *tokens = NULL;
}

const struct oauth2_settings *tokens_settings(const struct tokens *tokens)
{
    return &tokens->settings;
}

bool tokens_check(const struct tokens *tokens, struct log *log)
{
    const struct oauth2_settings *settings = &tokens->settings;
    char error[300] = "";
    bool good = oauth2_check(settings, error, sizeof(error));
    for (size_t i = 0; good && i < settings->server_count; i++) {
        const struct oauth2_provider *provider = &settings->providers[settings->provider_of[i]];
        const char *url = *provider->jwks_url ? provider->jwks_url : provider->discovery;
        good = false;
        if (!*settings->servers[i].resource_server_id && settings->servers[i].verify_aud)
            snprintf(error, sizeof(error), "auth_oauth2.resource_server_id is not set");
        else if (!*url && provider->key_file_count == 0)
            snprintf(error, sizeof(error),
                     "there is no key: set auth_oauth2.issuer, auth_oauth2.jwks_uri, "
                     "auth_oauth2.signing_keys or a provider that has one");
        else
            good = true;
        if (strncmp(url, "http://", 7) == 0)
            log_line(
                log, LOG_WARNING, 0,
                "auth_oauth2.%s is not https: whoever can change the answer can let anybody in",
                *provider->jwks_url ? "jwks_uri" : "issuer");
    }
    if (!good)
        log_line(log, LOG_CRITICAL, 0, "auth_oauth2: %s", error);
    return good;
}
