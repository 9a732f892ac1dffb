/* setting_oauth2.c - the configuration's values of OAuth 2 that have a name in the middle of their
 * key.
 *
 * auth_oauth2.resource_servers.NAME.KEY and auth_oauth2.oauth_providers.NAME.KEY are read like
 * auth_oauth2.KEY, whose fields are the first of the lists: the same kinds, bounds and refusals, a
 * few fields further on. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "broker/setting.h"
#include "broker/value.h"

#define ROOT "auth_oauth2."

static const size_t servers_at = offsetof(struct config, auth.oauth2.servers);
static const size_t providers_at = offsetof(struct config, auth.oauth2.providers);

enum {
    SERVER_SIZE = sizeof(struct config_oauth2_server),
    PROVIDER_SIZE = sizeof(struct config_oauth2_provider)
};

static bool is_of_servers(const struct key *key)
{
    return key->offset >= servers_at && key->offset < servers_at + SERVER_SIZE * CONFIG_OAUTH2_MAX;
}

void setting_note_given(const struct setting *s)
{
    if (!is_of_servers(s->key))
        return;
    struct config_oauth2_server *server =
        &s->config->auth.oauth2.servers[(s->key->offset - servers_at) / SERVER_SIZE];
    if (strcmp(s->key->name, ROOT "scope_prefix") == 0)
        server->scope_prefix_given = true;
    if (strcmp(s->key->name, ROOT "verify_aud") == 0)
        server->verify_aud_given = true;
    if (strcmp(s->key->name, ROOT "require_exp") == 0)
        server->require_exp_given = true;
}

/* The word before the first dot that is not written "\.", without these; what follows the dot, NULL
 * when there is none or the word does not fit. */
static const char *take_word(const char *text, char *word, size_t size)
{
    size_t len = 0;
    for (; *text && *text != '.' && len + 1 < size; text++) {
        if (*text == '\\' && text[1] == '.')
            text++;
        word[len++] = *text;
    }
    word[len] = 0;
    return len > 0 && *text == '.' && text[1] ? text + 1 : NULL;
}

/* --- servers and providers --- */

static size_t find_server(struct config_oauth2 *oauth2, const char *name)
{
    size_t i = 1;
    while (i <= oauth2->server_count && strcmp(oauth2->servers[i].name, name) != 0)
        i++;
    if (i < CONFIG_OAUTH2_MAX && i > oauth2->server_count) {
        snprintf(oauth2->servers[i].name, sizeof(oauth2->servers[i].name), "%s", name);
        oauth2->server_count = i;
    }
    return i;
}

/* A new provider begins with the table's defaults. */
static void set_defaults(const struct setting *s, size_t place)
{
    for (size_t i = 0; i < key_count(); i++) {
        struct key key = *key_at(i);
        if (key.offset < providers_at || key.offset >= providers_at + PROVIDER_SIZE ||
            !key.defaults[0])
            continue;
        struct setting one = *s;
        key.offset += place * PROVIDER_SIZE;
        one.key = &key;
        one.value = key.defaults;
        bool done = config_apply(&one);
        assertf(done, "%s", one.error);
    }
}

static size_t find_provider(const struct setting *s, const char *name)
{
    struct config_oauth2 *oauth2 = &s->config->auth.oauth2;
    size_t i = 1;
    while (i <= oauth2->provider_count && strcmp(oauth2->providers[i].name, name) != 0)
        i++;
    if (i < CONFIG_OAUTH2_MAX && i > oauth2->provider_count) {
        snprintf(oauth2->providers[i].name, sizeof(oauth2->providers[i].name), "%s", name);
        oauth2->provider_count = i;
        set_defaults(s, i);
    }
    return i;
}

/* The key of the first server or provider that says the same; NULL when it is none. */
static const struct key *find_root(const char *rest, bool of_server, char *written, size_t size,
                                   char *name)
{
    static const struct {
        const char *here, *root;
        bool of_server;
    } words[] = {{"id", "resource_server_id", true},
                 {"oauth_provider_id", "default_oauth_provider", true},
                 {"https.verify", "https.peer_verification", false}};
    const char *root = rest;
    for (size_t i = 0; i < array_size(words); i++) {
        if (strcmp(rest, words[i].here) == 0 && of_server == words[i].of_server)
            root = words[i].root;
        else if (strcmp(rest, words[i].root) == 0 && words[i].of_server)
            return NULL;
    }
    snprintf(written, size, ROOT "%s", root);
    const struct key *key = key_find(written, name);
    if (!key || key->kind == KEY_NESTED)
        return NULL;
    if (of_server)
        return key->kind == KEY_ALIAS || is_of_servers(key) || strcmp(rest, "scope_pattern_syntax") == 0
                   ? key
                   : NULL;
    bool of_provider = key->offset >= providers_at && key->offset < providers_at + PROVIDER_SIZE;
    return of_provider || key->kind == KEY_FIXED ? key : NULL;
}

static bool put_alias(const struct setting *s, size_t server, const char *rest);

bool setting_nested(const struct setting *s)
{
    struct setting one = *s;
    char name[CONFIG_OAUTH2_NAME_MAX], written[CONFIG_TEXT_MAX + sizeof(ROOT)];
    bool of_server = is_of_servers(s->key);
    const char *rest = take_word(s->written + key_prefix(s->key), name, sizeof(name));
    if (!rest)
        return setting_refuse(s, "expected a key like %.*sNAME.%s, the name of at most %d bytes",
                              (int)key_prefix(s->key), s->key->name, of_server ? "id" : "issuer",
                              CONFIG_OAUTH2_NAME_MAX - 1);
    const struct key *root = find_root(rest, of_server, written, sizeof(written), one.name);
    if (!root) {
        const char *moot = key_moot(written);
        return moot ? setting_refuse(s, "it has no meaning in Leveret (%s): remove it", moot)
                    : setting_refuse(s, "a %s has no key '%.60s'",
                                     of_server ? "resource server" : "provider", rest);
    }
    size_t place = of_server ? find_server(&s->config->auth.oauth2, name) : find_provider(s, name);
    if (place == CONFIG_OAUTH2_MAX)
        return setting_refuse(s, "there can be %d of them", CONFIG_OAUTH2_MAX - 1);
    if (root->kind == KEY_ALIAS)
        return put_alias(s, place, rest + strlen("scope_aliases."));
    struct key key = *root;
    if (key.kind != KEY_FIXED)
        key.offset += place * (of_server ? SERVER_SIZE : PROVIDER_SIZE);
    one.key = &key;
    return config_apply(&one);
}

/* --- aliases --- */

/* ALIAS, INDEX.alias or INDEX.scope; an alias's own dots are written "\.". */
static bool put_alias(const struct setting *s, size_t server, const char *rest)
{
    struct config_oauth2 *oauth2 = &s->config->auth.oauth2;
    struct config_alias *alias = oauth2->aliases;
    char name[CONFIG_TEXT_MAX];
    const char *part = take_word(rest, name, sizeof(name));
    size_t len = strlen(s->value);
    bool is_alias = part && strcmp(part, "alias") == 0,
         is_scope = part && strcmp(part, "scope") == 0;
    if (!*name || (part && !is_alias && !is_scope) ||
        (part && strlen(name) >= sizeof(alias->index)) || strpbrk(name, " \t"))
        return setting_refuse(s, "expected scope_aliases.ALIAS, scope_aliases.INDEX.alias or "
                                 "scope_aliases.INDEX.scope; a dot in an alias is written \\.");
    if (len == 0 || len >= (is_alias ? sizeof(alias->alias) : sizeof(alias->scopes)) ||
        !value_printable(s->value) || (is_alias && strpbrk(s->value, " \t")))
        return setting_refuse(s, is_alias ? "expected a word"
                                          : "expected scopes, with blanks between");
    const struct config_alias *end = alias + oauth2->alias_count;
    while (alias < end &&
           !(alias->server == server && strcmp(part ? alias->index : alias->alias, name) == 0 &&
             (part != NULL) == (alias->index[0] != 0)))
        alias++;
    if (alias == oauth2->aliases + CONFIG_ALIASES_MAX)
        return setting_refuse(s, "there can be %d aliases", CONFIG_ALIASES_MAX);
    if (alias == end)
        *alias = (struct config_alias){.server = server};
    oauth2->alias_count += alias == end;
    snprintf(part ? alias->index : alias->alias, part ? sizeof(alias->index) : sizeof(alias->alias),
             "%s", name);
    memcpy(is_alias ? alias->alias : alias->scopes, s->value, len + 1);
    return true;
}

bool setting_alias(const struct setting *s)
{
    return put_alias(s, 0, s->written + key_prefix(s->key));
}

/* --- all together --- */

__attribute__((format(printf, 3, 4))) static bool complain(char *error, size_t size,
                                                           const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(error, size, format, args);
    va_end(args);
    return false;
}

static const char *id_of(const struct config_oauth2_server *server)
{
    return *server->id ? server->id : server->name;
}

static bool check_server(const struct config_oauth2 *oauth2, size_t place, char *error, size_t size)
{
    const struct config_oauth2_server *server = &oauth2->servers[place];
    const char *key = place ? "oauth_provider_id" : "default_oauth_provider";
    bool found = !*server->provider;
    for (size_t i = 1; i <= oauth2->provider_count; i++)
        found = found || strcmp(oauth2->providers[i].name, server->provider) == 0;
    if (!found)
        return complain(error, size,
                        "auth_oauth2: %s = %s, but there is no auth_oauth2.oauth_providers.%s", key,
                        server->provider, server->provider);
    for (size_t i = 0; i < place; i++)
        if (*id_of(server) && strcmp(id_of(server), id_of(&oauth2->servers[i])) == 0)
            return complain(error, size, "auth_oauth2: two resource servers have the id '%s'",
                            id_of(server));
    return true;
}

static bool check_provider(const struct config_oauth2 *oauth2, size_t place, char *error, size_t size)
{
    const struct config_oauth2_provider *provider = &oauth2->providers[place];
    const char *of = place ? "oauth_providers." : "", *dot = place ? "." : "";
    if (place && !*provider->issuer && !*provider->jwks_url && !*provider->signing_keys)
        return complain(error, size, "auth_oauth2.%s%s has no issuer, jwks_uri or signing_keys", of,
                        provider->name);
    return !provider->crl_check || (provider->verify_peer && *provider->crlfile) ||
           complain(error, size,
                    "auth_oauth2.%s%s%shttps.crl_check needs https.crlfile, and the server to be verified",
                    of, provider->name, dot);
}

/* What has to be there as soon as anybody is to log in with a token. */
static bool check_used(const struct config_oauth2 *oauth2, const struct config_chain *chain, char *error,
                       size_t size)
{
    const struct config_oauth2_server *root = &oauth2->servers[0];
    bool used = false;
    for (size_t i = 0; i < chain->count; i++)
        used = used || chain->links[i].authn == CONFIG_OAUTH2;
    return !used || oauth2->server_count > 0 || *root->id || !root->verify_aud ||
           complain(error, size, "auth_oauth2.resource_server_id is not set");
}

bool setting_check_oauth2(const struct config *config, const struct config_chain *chain, char *error,
                          size_t error_size)
{
    const struct config_oauth2 *oauth2 = &config->auth.oauth2;
    bool good = check_used(oauth2, chain, error, error_size);
    for (size_t i = 0; good && i <= oauth2->server_count; i++)
        good = check_server(oauth2, i, error, error_size);
    for (size_t i = 0; good && i <= oauth2->provider_count; i++)
        good = check_provider(oauth2, i, error, error_size);
    for (size_t i = 0; good && i < oauth2->alias_count; i++) {
        const struct config_alias *alias = &oauth2->aliases[i];
        if (!*alias->alias || !*alias->scopes)
            good = complain(error, error_size, "auth_oauth2: scope_aliases.%s.%s is missing",
                            alias->index, *alias->alias ? "scope" : "alias");
    }
    return good;
}
