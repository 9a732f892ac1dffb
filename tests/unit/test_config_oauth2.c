/* test_config_oauth2.c - auth_oauth2.*: resource servers, providers and aliases that have a name in
 * their key. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "broker/config.h"
#include "tests/unit/suite.h"

static struct config config;
static char error[2048];

static void start(void)
{
    config_defaults(&config);
}

static bool set(const char *key, const char *value)
{
    return config_set(&config, key, value, "--set", error, sizeof(error));
}

static void must(const char *key, const char *value)
{
    ck_assert_msg(set(key, value), "%s", error);
}

static void refuses(const char *key, const char *value, const char *why)
{
    ck_assert_msg(!set(key, value), "%s = %s was taken", key, value);
    ck_assert_str_eq(error + strlen("--set: "), why);
}

START_TEST(oauth2_used)
{
    ck_assert(config_check(&config, error, sizeof(error)));
    must("auth_backends.1", "oauth2");
    ck_assert(!config_check(&config, error, sizeof(error)));
    ck_assert_str_eq(error, "auth_oauth2.resource_server_id is not set");
    must("auth_oauth2.verify_aud", "false");
    ck_assert_msg(config_check(&config, error, sizeof(error)), "%s", error);
    must("auth_oauth2.verify_aud", "true");
    must("auth_oauth2.resource_server_id", "rabbitmq");
    ck_assert_msg(config_check(&config, error, sizeof(error)), "%s", error);
}
END_TEST

/* Every key of RabbitMQ's OAuth 2 documentation is honoured, or refused with a sentence. */
START_TEST(oauth2_names)
{
    const struct config_oauth2 *oauth2 = &config.auth.oauth2;
    must("auth_oauth2.resource_servers.prod.id", "rabbit-prod");
    must("auth_oauth2.resource_servers.prod.scope_prefix", "");
    must("auth_oauth2.resource_servers.prod.oauth_provider_id", "key\\cloak");
    must("auth_oauth2.resource_servers.prod.preferred_username_claims.1", "nick");
    must("auth_oauth2.resource_servers.dev.verify_aud", "false");
    must("auth_oauth2.resource_servers.dev.require_exp", "false");
    must("auth_oauth2.resource_servers.dev.additional_scopes_key", "roles");
    must("auth_oauth2.resource_servers.dev.scope_aliases.api://x", "a b");
    must("auth_oauth2.resource_servers.dev.scope_aliases.2.alias", "two.three");
    must("auth_oauth2.resource_servers.dev.scope_aliases.2.scope", "c");
    must("auth_oauth2.scope_aliases.admin", "rabbit.tag:administrator rabbit.read:*/*");
    must("auth_oauth2.scope_aliases.api://x\\.admin", "rabbit.read:*/*");
    must("auth_oauth2.scope_aliases.admin", "rabbit.tag:management");
    must("auth_oauth2.resource_server_type", "rabbitmq");
    ck_assert_uint_eq(oauth2->server_count, 2);
    ck_assert_str_eq(oauth2->servers[1].id, "rabbit-prod");
    ck_assert(oauth2->servers[1].scope_prefix_given && !oauth2->servers[2].scope_prefix_given);
    ck_assert_str_eq(oauth2->servers[1].username_claims, "1=nick");
    ck_assert(oauth2->servers[2].verify_aud_given && !oauth2->servers[2].verify_aud);
    ck_assert(oauth2->servers[2].require_exp_given && !oauth2->servers[2].require_exp);
    ck_assert(!oauth2->servers[1].require_exp_given);
    ck_assert(oauth2->servers[0].require_exp && !oauth2->servers[0].require_exp_given);
    ck_assert(oauth2->servers[0].verify_aud && !oauth2->servers[0].verify_aud_given);
    ck_assert_uint_eq(oauth2->alias_count, 4);
    ck_assert_str_eq(oauth2->aliases[1].alias, "two.three");
    ck_assert(oauth2->aliases[0].server == 2 && oauth2->aliases[2].server == 0);
    ck_assert_str_eq(oauth2->aliases[2].scopes, "rabbit.tag:management");
    ck_assert_str_eq(oauth2->aliases[3].alias, "api://x.admin");
    ck_assert(!config_check(&config, error, sizeof(error)));
    ck_assert_str_eq(error, "auth_oauth2: oauth_provider_id = key\\cloak, but there is no "
                            "auth_oauth2.oauth_providers.key\\cloak");
    must("auth_oauth2.resource_servers.prod.oauth_provider_id", "keycloak");
    must("auth_oauth2.oauth_providers.keycloak.https.verify", "verify_none");
    ck_assert(!config_check(&config, error, sizeof(error)));
    ck_assert_str_eq(
        error, "auth_oauth2.oauth_providers.keycloak has no issuer, jwks_uri or signing_keys");
    must("auth_oauth2.oauth_providers.keycloak.issuer", "https://keycloak/realm");
    must("auth_oauth2.oauth_providers.keycloak.https.depth", "2");
    must("auth_oauth2.oauth_providers.keycloak.https.hostname_verification", "none");
    must("auth_oauth2.oauth_providers.keycloak.signing_keys.id1", "/key.pem");
    must("auth_oauth2.oauth_providers.keycloak.algorithms.1", "RS256");
    must("auth_oauth2.oauth_providers.keycloak.discovery_endpoint_params.a", "b");
    must("auth_oauth2.oauth_providers.keycloak.https.crl_check", "false");
    must("auth_oauth2.oauth_providers.uaa.jwks_uri", "https://uaa/keys");
    must("auth_oauth2.oauth_providers.uaa.https.crl_check", "peer");
    ck_assert(!config_check(&config, error, sizeof(error)));
    ck_assert_str_eq(error, "auth_oauth2.oauth_providers.uaa.https.crl_check needs https.crlfile, and the "
                            "server to be verified");
    must("auth_oauth2.oauth_providers.uaa.https.crlfile", "/uaa.crl");
    ck_assert(oauth2->providers[1].verify_peer == 0 && oauth2->providers[2].verify_peer == 1);
    ck_assert(oauth2->providers[1].depth == 2 && oauth2->providers[2].depth == 10);
    ck_assert_str_eq(oauth2->providers[2].discovery_path, "/.well-known/openid-configuration");
    ck_assert_msg(config_check(&config, error, sizeof(error)), "%s", error);
    must("auth_oauth2.resource_servers.dev.id", "rabbit-prod");
    ck_assert(!config_check(&config, error, sizeof(error)));
    ck_assert_str_eq(error, "auth_oauth2: two resource servers have the id 'rabbit-prod'");
    must("auth_oauth2.resource_servers.dev.id", "rabbit-dev");
    must("auth_oauth2.scope_aliases.1.alias", "lonely");
    ck_assert(!config_check(&config, error, sizeof(error)));
    ck_assert_str_eq(error, "auth_oauth2: scope_aliases.1.scope is missing");
}
END_TEST

START_TEST(oauth2_refused)
{
    refuses("auth_oauth2.resource_servers.a.colour", "red",
            "auth_oauth2.resource_servers.a.colour = 'red': a resource server has no key 'colour'");
    refuses("auth_oauth2.resource_servers.a.issuer", "https://x",
            "auth_oauth2.resource_servers.a.issuer = 'https://x': a resource server has no key "
            "'issuer'");
    refuses("auth_oauth2.resource_servers.a.resource_server_id", "x",
            "auth_oauth2.resource_servers.a.resource_server_id = 'x': a resource server has no key "
            "'resource_server_id'");
    refuses("auth_oauth2.resource_servers.a", "x",
            "auth_oauth2.resource_servers.a = 'x': expected a key like "
            "auth_oauth2.resource_servers.NAME.id, the "
            "name of at most 63 bytes");
    refuses("auth_oauth2.oauth_providers.a.token_endpoint", "https://x",
            "auth_oauth2.oauth_providers.a.token_endpoint = 'https://x': it has no meaning in "
            "Leveret (only a "
            "management page would use it): remove it");
    refuses("auth_oauth2.oauth_providers.a.issuer", "x",
            "auth_oauth2.oauth_providers.a.issuer = 'x': expected an address that begins with "
            "http:// or https://");
    refuses("auth_oauth2.oauth_providers.a.issuer", "ftp://user:password@x", /* which is not shown */
            "auth_oauth2.oauth_providers.a.issuer: expected an address that begins with http:// or https://");
    refuses("auth_http.user_path", "https://user:password@x y",
            "auth_http.user_path: expected an address without blanks, of at most 1023 bytes");
    /* The whole configuration is shown as JSON. */
    refuses("auth_http.user_path", "http://x/\xff",
            "auth_http.user_path = 'http://x/\xff': expected UTF-8 text without control characters");
    refuses("auth_oauth2.preferred_username_claims.1", "\xff",
            "auth_oauth2.preferred_username_claims.1 = '\xff': expected UTF-8 text without control "
            "characters");
    refuses("auth_oauth2.discovery_endpoint_params.a", "a\x1b[",
            "auth_oauth2.discovery_endpoint_params.a = 'a\x1b[': expected UTF-8 text without control "
            "characters");
    refuses("auth_oauth2.oauth_providers.a.algorithms.1", "HS256",
            "auth_oauth2.oauth_providers.a.algorithms.1 = 'HS256': expected RS256, RS384, RS512, "
            "ES256, ES384 or "
            "ES512");
    refuses("auth_oauth2.oauth_providers.a.https.crl_check", "sometimes",
            "auth_oauth2.oauth_providers.a.https.crl_check = 'sometimes': expected one of false, "
            "peer, true, best_effort");
    for (int i = 0; i < CONFIG_ALIASES_MAX; i++) {
        char key[64];
        snprintf(key, sizeof(key), "auth_oauth2.scope_aliases.many-%d", i);
        must(key, "rabbitmq.read:*/*");
    }
    must("auth_oauth2.scope_aliases.many-0", "rabbitmq.write:*/*"); /* that one is there */
    refuses("auth_oauth2.scope_aliases.more", "rabbitmq.read:*/*",
            "auth_oauth2.scope_aliases.more = 'rabbitmq.read:*/*': there can be 64 aliases");
    refuses("auth_oauth2.scope_aliases.a.b", "x",
            "auth_oauth2.scope_aliases.a.b = 'x': expected scope_aliases.ALIAS, "
            "scope_aliases.INDEX.alias or "
            "scope_aliases.INDEX.scope; a dot in an alias is written \\.");
    refuses("auth_oauth2.scope_aliases.a", "",
            "auth_oauth2.scope_aliases.a = '': expected scopes, with blanks "
            "between");
    for (int i = 1; i < CONFIG_OAUTH2_MAX; i++) {
        char key[64];
        snprintf(key, sizeof(key), "auth_oauth2.resource_servers.s%d.id", i);
        must(key, "x");
    }
    refuses("auth_oauth2.resource_servers.more.id", "x",
            "auth_oauth2.resource_servers.more.id = 'x': there can be 15 of them");
}
END_TEST

/* What is printed, with the lines of this family only. */
static char *print(const struct config *from)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    config_print(from, out);
    fclose(out);
    return text;
}

START_TEST(prints_what_it_reads)
{
    static struct config again;
    must("auth_oauth2.resource_servers.a\\.b.scope_prefix", "");
    must("auth_oauth2.resource_servers.a\\.b.verify_aud", "true");
    must("auth_oauth2.resource_servers.a\\.b.scope_aliases.c\\.d", "e f");
    must("auth_oauth2.resource_servers.2.id", "x");
    must("auth_oauth2.resource_servers.2.preferred_username_claims.1", "y");
    must("auth_oauth2.scope_aliases.g", "h");
    must("auth_oauth2.oauth_providers.p.issuer", "https://p");
    must("auth_oauth2.oauth_providers.p.https.depth", "3");
    must("auth_oauth2.oauth_providers.p.signing_keys.k", "/k.pem");
    char *text = print(&config), *rest = NULL;
    char *copy = strdup(text);
    config_defaults(&again);
    for (char *line = strtok_r(copy, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        char *equals = strstr(line, " = ");
        if (line[0] == '#' || !equals || strncmp(line, "auth_oauth2.", 12) != 0)
            continue;
        *equals = 0;
        const char *value = strcmp(equals + 3, "''") == 0 ? "" : equals + 3;
        ck_assert_msg(config_set(&again, line, value, "--set", error, sizeof(error)), "%s", error);
    }
    free(copy);
    copy = print(&again);
    ck_assert_str_eq(text, copy);
    ck_assert_ptr_nonnull(
        strstr(text, "\nauth_oauth2.resource_servers.a\\.b.scope_aliases.c\\.d = e f\n"));
    ck_assert_ptr_nonnull(strstr(text, "\nauth_oauth2.resource_servers.2.id = x\n"));
    ck_assert_ptr_nonnull(strstr(text, "\nauth_oauth2.oauth_providers.p.https.depth = 3\n"));
    ck_assert_ptr_null(strstr(text, "resource_servers.2.verify_aud"));
    free(copy);
    free(text);
}
END_TEST

/* Not of OAuth 2, but there is no room beside the other keys of TLS. */
START_TEST(order_of_curves)
{
    ck_assert(set("ssl_options.honor_cipher_order", "false") && config_check(&config, error, sizeof(error)));
    ck_assert(set("ssl_options.honor_ecc_order", "true") && !config_check(&config, error, sizeof(error)));
    ck_assert_str_eq(error, "ssl_options.honor_ecc_order and ssl_options.honor_cipher_order have to be the "
                            "same: OpenSSL has one answer for both");
    ck_assert(set("ssl_options.honor_cipher_order", "true") && config_check(&config, error, sizeof(error)));
    ck_assert(!set("ssl_options.dhfile", "dh.pem"));
    ck_assert_ptr_nonnull(strstr(error, "(DHE ciphers use OpenSSL's own parameters, as strong as the key)"));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("config_oauth2");
    TCase *tcase = tcase_create("keys");
    tcase_add_checked_fixture(tcase, start, NULL);
    tcase_add_test(tcase, oauth2_used);
    tcase_add_test(tcase, oauth2_names);
    tcase_add_test(tcase, oauth2_refused);
    tcase_add_test(tcase, prints_what_it_reads);
    tcase_add_test(tcase, order_of_curves);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
