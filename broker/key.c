/* key.c - the table of configuration keys. */
#include "broker/key.h"

#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "broker/value.h"

static const struct key keys[] = {
#define KEY(name, kind, field, defaults, min, max, help)                                           \
    {name,                                                                                         \
     KEY_##kind,                                                                                   \
     offsetof(struct config, field),                                                               \
     sizeof(((struct config *)0)->field),                                                          \
     defaults,                                                                                     \
     min,                                                                                          \
     max,                                                                                          \
     help},
#include "broker/config.def"
};
static_assert(array_size(keys) <= CONFIG_KEYS_MAX, "one of config_raw.given each");

static const char *const rabbitmq_only[] = {
#define RABBITMQ_ONLY(name) name,
#include "broker/config.def"
};

static const struct {
    const char *name, *why;
} rabbitmq_moot[] = {
#define RABBITMQ_MOOT(name, why) {name, why},
#include "broker/config.def"
};

size_t key_count(void)
{
    return array_size(keys);
}

const struct key *key_at(size_t i)
{
    assertf(i < array_size(keys), "key %zu", i);
    return &keys[i];
}

void *key_field(const struct config *config, const struct key *key)
{
    assert(key->offset + key->size <= sizeof(*config));
    return (char *)(uintptr_t)config + key->offset;
}

bool *key_given(struct config *config, const struct key *key)
{
    assert(key >= keys && key < keys + array_size(keys));
    return &config->raw.given[key - keys];
}

bool key_has_items(const struct key *key)
{
    return key->kind == KEY_MECHANISM || key->kind == KEY_VERSION || key->kind == KEY_CIPHER ||
           key->kind == KEY_SOURCE || key->kind == KEY_CHAIN || key->kind == KEY_ALGORITHM ||
           key->kind == KEY_ITEM;
}

/* Kinds whose members' names may have dots in them. */
static bool has_dots(const struct key *key)
{
    return key->kind == KEY_CHAIN || key->kind == KEY_NESTED || key->kind == KEY_ALIAS ||
           key->kind == KEY_DEFAULT_LIMITS;
}

bool key_is_family(const struct key *key)
{
    return key->kind == KEY_LISTENER || key->kind == KEY_LIST_FLAG || key->kind == KEY_SNI ||
           key->kind == KEY_SNI_SECRET || has_dots(key) || key_has_items(key);
}

const char *const *key_choices(enum key_kind kind)
{
    static const char *const verifications[] = {"verify_none", "verify_peer", NULL};
    static const char *const crl_checks[] = {"false", "peer", "true", "best_effort", NULL};
    static const char *const hashings[] = {"rabbit_password_hashing_sha256",
                                           "rabbit_password_hashing_sha512", NULL};
    static const char *const validations[] = {"rabbit_credential_validator_accept_everything",
                                              "rabbit_credential_validator_min_password_length",
                                              "rabbit_credential_validator_password_regexp", NULL};
    static const char *const names[] = {"distinguished_name", "common_name", "subject_alternative_name",
                                        "subject_alt_name", NULL};
    static const char *const sans[] = {"dns", "ip", "email", "uri", "other_name", NULL};
    static const char *const methods[] = {"get", "post", NULL};
    static const char *const cached[] = {"internal", "http", "oauth2", NULL};
    static const char *const hostnames[] = {"wildcard", "none", NULL};
    static const char *const parts[] = {"same", "internal", "http", "oauth2", NULL};
    switch (kind) {
    case KEY_CERT_NAME: return names;
    case KEY_SAN: return sans;
    case KEY_HTTP_METHOD: return methods;
    case KEY_CACHED: return cached;
    case KEY_CACHED_PART: return parts;
    case KEY_HOSTNAME:
        return hostnames;
    case KEY_VERIFY: return verifications;
    case KEY_CRL_CHECK: return crl_checks;
    case KEY_HASHING: return hashings;
    case KEY_VALIDATION: return validations;
    default: return NULL;
    }
}

const struct key *key_none(const struct key *family)
{
    for (const struct key *key = keys; key < keys + array_size(keys); key++)
        if ((key->kind == KEY_NO_LISTENER || key->kind == KEY_LIST_NONE) &&
            key->offset == family->offset)
            return key;
    return NULL;
}

const struct key *key_absolute(const struct key *relative)
{
    char name[KEY_NAME_MAX + 1];
    const char *dot = strrchr(relative->name, '.');
    assertf(dot && strcmp(dot, ".relative") == 0, "%s has no absolute counterpart", relative->name);
    snprintf(name, sizeof(name), "%.*s.absolute", (int)(dot - relative->name), relative->name);
    for (const struct key *key = keys; key < keys + array_size(keys); key++)
        if (strcmp(key->name, name) == 0)
            return key;
    panic("no key %s", name);
}

/* The last word of a family's key: a dot in it is written "\." as in rabbitmq.conf, but for kinds
 * that have them ("1.authn"). */
static bool read_name(const char *text, char *name, bool dots)
{
    size_t len = 0;
    for (; *text && len < KEY_NAME_MAX; text++) {
        if ((*text == '.' && !dots) || (*text == '\\' && *++text != '.'))
            return false;
        name[len++] = *text;
    }
    name[len] = 0;
    return len > 0 && !*text;
}

static size_t prefix_of(const char *pattern)
{
    size_t len = strlen(pattern);
    return len > 0 && pattern[len - 1] == '*' ? len - 1 : 0;
}

size_t key_prefix(const struct key *key)
{
    assert(key_is_family(key) == (prefix_of(key->name) > 0));
    return prefix_of(key->name);
}

const struct key *key_find(const char *written, char *name)
{
    for (const struct key *key = keys; key < keys + array_size(keys); key++) {
        size_t prefix = key_prefix(key);
        if (prefix ? strncmp(written, key->name, prefix) == 0 &&
                         read_name(written + prefix, name, has_dots(key))
                   : strcmp(written, key->name) == 0)
            return key;
    }
    return NULL;
}

/* The pattern is a key, or "prefix.*" for all with that prefix. */
static bool matches(const char *pattern, const char *written)
{
    size_t prefix = prefix_of(pattern);
    return prefix ? strncmp(written, pattern, prefix) == 0 && written[prefix]
                  : strcmp(written, pattern) == 0;
}

bool key_is_rabbitmqs(const char *written)
{
    for (size_t i = 0; i < array_size(rabbitmq_only); i++)
        if (matches(rabbitmq_only[i], written))
            return true;
    return false;
}

const char *key_moot(const char *written)
{
    for (size_t i = 0; i < array_size(rabbitmq_moot); i++)
        if (matches(rabbitmq_moot[i].name, written))
            return rabbitmq_moot[i].why;
    return NULL;
}

/* How many letters lead to the first dot, which counts; 0 without a dot. */
static size_t first_word(const char *written)
{
    const char *dot = strchr(written, '.');
    return dot ? (size_t)(dot - written) + 1 : 0;
}

unsigned key_nearest(const char *written, bool same_family, char *nearest, size_t size)
{
    unsigned best = UINT32_MAX;
    const char *last = strrchr(written, '.');
    size_t prefix = first_word(written);
    if (same_family && prefix == 0)
        return best;
    for (const struct key *key = keys; key < keys + array_size(keys); key++) {
        char candidate[2 * CONFIG_TEXT_MAX];
        if (same_family && strncmp(written, key->name, prefix) != 0)
            continue;
        if (key_is_family(key)) /* with the last word that was written */
            snprintf(candidate, sizeof(candidate), "%.*s%s", (int)key_prefix(key), key->name,
                     last && last[1] ? last + 1 : "1");
        else
            snprintf(candidate, sizeof(candidate), "%s", key->name);
        unsigned distance = value_distance(written, candidate);
        if (distance < best) {
            best = distance;
            snprintf(nearest, size, "%s", candidate);
        }
    }
    return best;
}
