/* setting_auth.c - the configuration's values that are about who gets in: mechanisms, backends, secrets.
 *
 * Owner: config.c, whose table of kinds leads here. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "auth/token.h"
#include "base/assert.h"
#include "base/mem.h"
#include "broker/setting.h"
#include "broker/value.h"

bool setting_mechanism(const struct setting *s)
{
    static const char *const names[] = {"PLAIN", "AMQPLAIN", "EXTERNAL", "ANONYMOUS"};
    for (size_t i = 0; i < array_size(names); i++)
        if (strcmp(s->value, names[i]) == 0)
            return setting_item(s);
    return setting_refuse(s, "expected PLAIN, AMQPLAIN, EXTERNAL or ANONYMOUS");
}

/* auth_backends.1, auth_backends.1.authn, auth_backends.1.authz */
bool setting_backend(const struct setting *s)
{
    enum config_backend_name backend;
    const char *rest = s->name + strspn(s->name, "0123456789");
    size_t digits = (size_t)(rest - s->name);
    if (digits == 0 || digits > 3 || (*rest && strcmp(rest, ".authn") != 0 && strcmp(rest, ".authz") != 0))
        return setting_refuse(s, "expected a key like auth_backends.1 or auth_backends.1.authn");
    if (!config_find_backend(slice_of_string(s->value), &backend))
        return setting_refuse(s, "expected internal, http, oauth2 or cache, the backends there are");
    if (*rest && backend == CONFIG_CACHE)
        return setting_refuse(s, "cache stands for both: auth_backends.1 = cache, and auth_cache.*");
    return setting_item(s);
}

bool setting_algorithm(const struct setting *s)
{
    enum token_algorithm algorithm;
    if (!token_algorithm_from_name(slice_of_string(s->value), &algorithm))
        return setting_refuse(s, "expected RS256, RS384, RS512, ES256, ES384 or ES512");
    return setting_item(s);
}

bool setting_url(const struct setting *s)
{
    size_t len = strlen(s->value);
    assert(s->key->size > s->key->max);
    if (strncmp(s->value, "http://", 7) != 0 && strncmp(s->value, "https://", 8) != 0 && len > 0)
        return setting_refuse(s, "expected an address that begins with http:// or https://");
    if (len > s->key->max || strpbrk(s->value, " \t\"<>"))
        return setting_refuse(s, "expected an address without blanks, of at most %llu bytes",
                              (unsigned long long)s->key->max);
    if (!value_printable(s->value))
        return setting_refuse(s, "expected UTF-8 text without control characters");
    memcpy(key_field(s->config, s->key), s->value, len + 1);
    return true;
}

bool setting_read_secret(const struct setting *s, char *text, size_t size)
{
    const char *path = s->value + strlen("file:");
    FILE *file = fopen(path, "re");
    if (!file)
        return setting_refuse(s, "%s cannot be read: %s", path, strerror(errno));
    size_t len = fread(text, 1, size - 1, file);
    bool whole = !ferror(file) && fgetc(file) == EOF;
    fclose(file);
    if (len && text[len - 1] == '\n')
        len--;
    text[len] = 0;
    if (!whole || memchr(text, 0, len))
        return setting_refuse(s, "%s is not a line of at most %zu bytes", path, size - 2);
    return true;
}

bool setting_check_http(const struct config *config, char *error, size_t error_size)
{
    const struct config_http *http = &config->auth.http;
    bool good = false;
    if (http->crl_check && (!http->verify_peer || !*http->crlfile))
        snprintf(error, error_size, "auth_http.ssl_options.crl_check needs auth_http.ssl_options.verify = "
                                    "verify_peer and auth_http.ssl_options.crlfile");
    else if (!*http->versions)
        snprintf(error, error_size, "auth_http.ssl_options.versions leave no version of TLS");
    else if (*http->keyfile && !*http->certfile)
        snprintf(error, error_size, "auth_http.ssl_options.keyfile needs auth_http.ssl_options.certfile");
    else
        good = true;
    return good;
}
