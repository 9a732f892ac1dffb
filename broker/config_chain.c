/* config_chain.c - the chain of backends that auth_backends.* describes. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "broker/config.h"

/* What RabbitMQ's modules are called here. */
static const struct {
    const char *name;
    enum config_backend_name backend;
} backends[] = {
    {"internal", CONFIG_INTERNAL},
    {"rabbit_auth_backend_internal", CONFIG_INTERNAL},
    {"http", CONFIG_HTTP},
    {"rabbit_auth_backend_http", CONFIG_HTTP},
    {"oauth2", CONFIG_OAUTH2},
    {"oauth", CONFIG_OAUTH2},
    {"rabbit_auth_backend_oauth2", CONFIG_OAUTH2},
    {"cache", CONFIG_CACHE},
    {"rabbit_auth_backend_cache", CONFIG_CACHE},
};

bool config_find_backend(struct slice name, enum config_backend_name *backend)
{
    for (size_t i = 0; i < array_size(backends); i++)
        if (slice_is(name, backends[i].name)) {
            *backend = backends[i].backend;
            return true;
        }
    return false;
}

/* "1=cache,2.authn=http" becomes links by their numbers. */
static struct config_link *find_link(struct config_chain *chain, unsigned number)
{
    for (size_t i = 0; i < chain->count; i++)
        if (chain->links[i].number == number)
            return &chain->links[i];
    if (chain->count == CONFIG_LINKS_MAX)
        return NULL;
    size_t at = chain->count++;
    for (; at > 0 && chain->links[at - 1].number > number; at--)
        chain->links[at] = chain->links[at - 1];
    chain->links[at] = (struct config_link){.number = number};
    return &chain->links[at];
}

static void resolve_cache(const struct config_auth *auth, struct config_link *link)
{
    link->cached = true;
    link->authn = auth->cached_backend;
    link->authz = auth->cached_backend;
    if (auth->cached_authn != CONFIG_SAME)
        link->authn = auth->cached_authn - 1;
    if (auth->cached_authz != CONFIG_SAME)
        link->authz = auth->cached_authz - 1;
}

static bool read_item(struct config_chain *chain, struct slice item)
{
    const uint8_t *equals = memchr(item.at, '=', item.len);
    unsigned number = 0;
    enum config_backend_name backend;
    size_t i = 0;
    assert(equals);
    for (; isdigit(item.at[i]); i++)
        number = number * 10 + (unsigned)(item.at[i] - '0');
    struct config_link *link = find_link(chain, number);
    struct slice part = slice_of(item.at + i, (size_t)(equals - item.at) - i);
    struct slice name = slice_of(equals + 1, item.len - (size_t)(equals + 1 - item.at));
    bool known = config_find_backend(name, &backend);
    assert(known);
    if (!link)
        return false;
    link->has_authn |= !slice_is(part, ".authz");
    link->has_authz |= !slice_is(part, ".authn");
    if (!slice_is(part, ".authz"))
        link->authn = backend;
    if (!slice_is(part, ".authn"))
        link->authz = backend;
    return true;
}

bool config_read_chain(const struct config *config, struct config_chain *chain, char *error,
                       size_t error_size)
{
    *chain = (struct config_chain){0};
    for (const char *at = config->auth.backends; *at;) {
        size_t len = strcspn(at, ",");
        if (!read_item(chain, slice_of(at, len))) {
            snprintf(error, error_size, "auth_backends: there can be %d of them", CONFIG_LINKS_MAX);
            return false;
        }
        at += len + (at[len] == ',');
    }
    for (size_t i = 0; i < chain->count; i++) {
        struct config_link *link = &chain->links[i];
        const char *wrong = NULL;
        if (link->authn == CONFIG_CACHE)
            resolve_cache(&config->auth, link);
        if (!link->cached && (!link->has_authn || !link->has_authz))
            wrong = "authn and authz are both needed";
        else if (link->authz == CONFIG_OAUTH2 && link->authn != CONFIG_OAUTH2)
            wrong = "oauth2 gives rights only to users that it has checked itself";
        if (wrong) {
            snprintf(error, error_size, "auth_backends.%u: %s", link->number, wrong);
            return false;
        }
    }
    return true;
}
