/* setting.c - the configuration's values that are about the network: listeners, TLS, proxies.
 *
 * Owner: config.c, whose table of kinds leads here. */
#include "broker/setting.h"

#include <stdarg.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "broker/value.h"
#include "net/address_range.h"
#include "net/tls_context.h"

bool setting_refuse(const struct setting *s, const char *format, ...)
{
    bool secret = s->key && (s->key->kind == KEY_SECRET || s->key->kind == KEY_SNI_SECRET ||
                             value_has_password(s->value));
    int len = secret ? snprintf(s->error, s->error_size, "%s: %s: ", s->where, s->written)
                     : snprintf(s->error, s->error_size, "%s: %s = '%.100s': ", s->where, s->written,
                                s->value);
    assert(len > 0);
    if ((size_t)len < s->error_size) {
        va_list args;
        va_start(args, format);
        vsnprintf(s->error + len, s->error_size - (size_t)len, format, args);
        va_end(args);
    }
    return false;
}

/* ---- families of items ---- */

/* A colon ends the name in a log; a listener is named like rabbitmq.conf's words. */
static bool is_word(const char *name)
{
    return name[strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")] ==
           0;
}

/* Takes the item of that name out of the list. */
static void remove_item(char *list, const char *name)
{
    size_t name_len = strlen(name);
    for (char *at = list; *at;) {
        size_t len = strcspn(at, ",");
        char *after = at + len + (at[len] == ',');
        if (len > name_len && memcmp(at, name, name_len) == 0 && at[name_len] == '=') {
            if (!*after && at > list)
                at--; /* the comma before the last one */
            memmove(at, after, strlen(after) + 1);
            return;
        }
        at = after;
    }
}

bool setting_item(const struct setting *s)
{
    char *list = key_field(s->config, s->key);
    assert(key_has_items(s->key));
    if (!is_word(s->name) && s->key->kind != KEY_CHAIN)
        return setting_refuse(s, "expected a key like %.*s1", (int)key_prefix(s->key), s->key->name);
    if (!value_printable(s->value))
        return setting_refuse(s, "expected UTF-8 text without control characters");
    remove_item(list, s->name);
    size_t used = strlen(list), need = strlen(s->name) + strlen(s->value) + 2;
    if (strpbrk(s->value, ",=") || used + need >= s->key->size)
        return setting_refuse(s, "a value has no comma, and all together have less than %zu bytes",
                              s->key->size);
    snprintf(list + used, s->key->size - used, "%s%s=%s", used ? "," : "", s->name, s->value);
    return true;
}

bool setting_version(const struct setting *s)
{
    if (strcmp(s->value, "tlsv1") == 0 || strcmp(s->value, "tlsv1.1") == 0)
        return setting_refuse(s, "TLS 1.0 and 1.1 are not safe and not supported: use tlsv1.2 or tlsv1.3");
    if (strcmp(s->value, "tlsv1.2") != 0 && strcmp(s->value, "tlsv1.3") != 0)
        return setting_refuse(s, "expected tlsv1.2 or tlsv1.3");
    return setting_item(s);
}

bool setting_cipher(const struct setting *s)
{
    if (!tls_context_knows_cipher(s->value))
        return setting_refuse(s, "OpenSSL knows no such cipher; openssl ciphers -s lists them");
    return setting_item(s);
}

bool setting_source(const struct setting *s)
{
    struct address_range range;
    if (!address_range_read(s->value, &range))
        return setting_refuse(s, "expected an address or a range like 10.0.0.0/8 or 2001:db8::/32");
    return setting_item(s);
}

/* ---- listeners ---- */

bool setting_listener(const struct setting *s)
{
    struct listen_list *list = key_field(s->config, s->key);
    struct listen_address new = {0};
    assert(s->key->size == sizeof(*list));
    if (strlen(s->name) >= sizeof(new.name) || !is_word(s->name))
        return setting_refuse(s, "a listener's name is a word of at most %zu letters",
                              sizeof(new.name) - 1);
    if (!value_address(s->value, new.host, sizeof(new.host), &new.port))
        return setting_refuse(s, "expected a port from 0 to 65535 (0 is any free one) or address:port, "
                                 "where the address "
                                 "is a numeric IPv4 or IPv6 one");
    memcpy(new.name, s->name, strlen(s->name));
    size_t i = 0;
    while (i < list->count && strcmp(list->at[i].name, new.name) != 0)
        i++;
    if (i == CONFIG_LISTENERS_MAX)
        return setting_refuse(s, "there can be %d listeners", CONFIG_LISTENERS_MAX);
    list->at[i] = new;
    if (i == list->count)
        list->count++;
    assert(list->count <= CONFIG_LISTENERS_MAX);
    return true;
}

/* ---- names of the server ---- */

/* A host name; "*." may stand in front. */
static bool is_host(const char *name)
{
    const char *rest = strncmp(name, "*.", 2) == 0 ? name + 2 : name;
    size_t len = strlen(name);
    return *rest && len < sizeof(((struct config_sni_name *)0)->name) && *rest != '.' &&
           rest[strspn(rest, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.")] == 0;
}

bool setting_sni(const struct setting *s)
{
    struct config_sni *sni = key_field(s->config, s->key);
    size_t i = 0, len = strlen(s->value);
    if (!is_host(s->name))
        return setting_refuse(s, "expected a host name as the key's last word, with \\. for each dot in it");
    if (len < s->key->min || len > s->key->max || !value_printable(s->value))
        return setting_refuse(s, "expected %u to %u bytes of text", (unsigned)s->key->min,
                              (unsigned)s->key->max);
    while (i < sni->count && strcmp(sni->at[i].name, s->name) != 0)
        i++;
    if (i == CONFIG_SNI_MAX)
        return setting_refuse(s, "there can be %d server names", CONFIG_SNI_MAX);
    struct config_sni_name *name = &sni->at[i];
    if (i == sni->count) {
        memcpy(name->name, s->name, strlen(s->name) + 1);
        sni->count++;
    }
    char *field = s->key->kind == KEY_SNI_SECRET               ? name->password
                  : strstr(s->key->name, "sni_keyfile") != NULL ? name->keyfile
                                                                : name->certfile;
    memcpy(field, s->value, len + 1);
    return true;
}

/* ---- single values ---- */

bool setting_fixed(const struct setting *s)
{
    if (strcmp(s->value, s->key->defaults) != 0)
        return setting_refuse(s, "it can only be %s: %s", s->key->defaults, s->key->help);
    return true;
}

bool setting_limit(const struct setting *s)
{
    uint64_t *field = key_field(s->config, s->key), number;
    assert(s->key->size == sizeof(*field) && s->key->min <= 1);
    if (strcmp(s->value, "infinity") == 0)
        *field = CONFIG_NONE;
    else if (!value_number(s->value, &number) || number > UINT32_MAX || number < s->key->min)
        return setting_refuse(s, "expected a whole number%s or infinity", s->key->min ? " from 1 on" : "");
    else
        *field = number;
    return true;
}

/* ---- all together ---- */

__attribute__((format(printf, 3, 4))) static bool complain(char *error, size_t size, const char *format,
                                                           ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(error, size, format, args);
    va_end(args);
    return false;
}

/* Both would bind the same port: any address takes it on all. */
static bool collide(const struct listen_address *a, const struct listen_address *b)
{
    return a->port != 0 && a->port == b->port &&
           (!a->host[0] || !b->host[0] || strcmp(a->host, b->host) == 0);
}

/* The i-th listener of both kinds, NULL behind the last. */
static const struct listen_address *listener_at(const struct config *config, size_t i, const char **kind)
{
    const struct listen_list *tcp = &config->listeners, *ssl = &config->tls.listeners;
    *kind = i < tcp->count ? "tcp" : "ssl";
    if (i < tcp->count)
        return &tcp->at[i];
    return i - tcp->count < ssl->count ? &ssl->at[i - tcp->count] : NULL;
}

static bool check_listeners(const struct config *config, char *error, size_t size)
{
    const struct listen_address *a, *b;
    const char *a_kind, *b_kind;
    for (size_t i = 0; (a = listener_at(config, i, &a_kind)); i++)
        for (size_t j = 0; j < i; j++) {
            b = listener_at(config, j, &b_kind);
            if (collide(a, b))
                return complain(error, size,
                                "listeners.%s.%s and listeners.%s.%s both want port %u of the same address",
                                b_kind, b->name, a_kind, a->name, a->port);
        }
    if (!listener_at(config, 0, &a_kind))
        return complain(error, size, "listeners.tcp = none and no listeners.ssl leave no listener");
    return true;
}

static bool check_sni(const struct config_sni *sni, char *error, size_t size)
{
    for (size_t i = 0; i < sni->count; i++) {
        const struct config_sni_name *name = &sni->at[i];
        if (!*name->certfile || !*name->keyfile)
            return complain(error, size, "server name %s: ssl_options.%s is missing", name->name,
                            *name->certfile ? "sni_keyfile" : "sni_certfile");
    }
    return true;
}

static bool check_tls(const struct config_tls *tls, char *error, size_t size)
{
    if (tls->fail_if_no_peer_cert && !tls->verify_peer)
        return complain(error, size, "ssl_options.fail_if_no_peer_cert = true needs ssl_options.verify = "
                                     "verify_peer");
    if (tls->verify_peer && !*tls->cacertfile)
        return complain(error, size, "ssl_options.verify = verify_peer needs ssl_options.cacertfile");
    if (tls->crl_check && (!tls->verify_peer || !*tls->crlfile))
        return complain(error, size, "ssl_options.crl_check needs ssl_options.verify = verify_peer and "
                                     "ssl_options.crlfile");
    if (!*tls->versions)
        return complain(error, size, "ssl_options.versions leave no version of TLS");
    if (tls->listeners.count > 0 && (!*tls->certfile || !*tls->keyfile))
        return complain(error, size, "listeners.ssl.%s needs ssl_options.%s", tls->listeners.at[0].name,
                        *tls->certfile ? "keyfile" : "certfile");
    return check_sni(&tls->sni, error, size);
}

/* OpenSSL has one answer for ciphers and curves. */
static bool check_order(const struct config *config, char *error, size_t size)
{
    char name[KEY_NAME_MAX + 1];
    const struct key *key = key_find("ssl_options.honor_ecc_order", name);
    bool given = *key_given((struct config *)(uintptr_t)config, key);
    return !given || config->tls.honor_ecc_order == config->tls.honor_cipher_order ||
           complain(error, size, "ssl_options.honor_ecc_order and ssl_options.honor_cipher_order have to "
                                 "be the same: OpenSSL has one answer for both");
}

bool setting_check(const struct config *config, char *error, size_t error_size)
{
    return check_listeners(config, error, error_size) && check_order(config, error, error_size) &&
           check_tls(&config->tls, error, error_size);
}
