/* config_text.c - the configuration as text: files in rabbitmq.conf's syntax, and what is printed.
 */
#include "broker/config.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/assert.h"
#include "base/buf.h"
#include "base/mem.h"
#include "broker/key.h"
#include "broker/setting.h"
#include "broker/value.h"

enum { LINE_MAX_LENGTH = 4096 };

static char *trim(char *text)
{
    text += strspn(text, " \t");
    size_t len = strlen(text);
    while (len > 0 && strchr(" \t\r", text[len - 1]))
        len--;
    text[len] = 0;
    return text;
}

/* Cuts the value out of what follows the equals sign; NULL and the reason when it is none. */
static char *cut_value(char *text, const char **reason)
{
    char *value = trim(text);
    if (*value == '\'') {
        char *end = strchr(++value, '\'');
        *reason = end ? "text after the closing quote" : "the quote is not closed";
        if (!end)
            return NULL;
        *end = 0;
        char *after = trim(end + 1);
        return !*after || *after == '#' ? value : NULL;
    }
    value[strcspn(value, "#")] = 0;
    value = trim(value);
    *reason = *value ? "$(…) is not replaced by this version of Leveret" : "no value after '='";
    return *value && !strstr(value, "$(") ? value : NULL;
}

/* What is no line may hold a password: of its text only a key's name is shown. */
static bool refuse_line(char *line, const char *where, const char *reason, char *error, size_t error_size)
{
    char name[KEY_NAME_MAX + 1];
    line[strcspn(line, " \t#:=")] = 0;
    if (key_find(line, name) || key_is_rabbitmqs(line))
        snprintf(error, error_size, "%s: '%.60s': %s", where, line, reason);
    else
        snprintf(error, error_size, "%s: %s", where, reason);
    return false;
}

static bool read_line(struct config *config, char *line, const char *where, char *error,
                      size_t error_size)
{
    line = trim(line);
    if (!*line || *line == '#')
        return true;
    char *equals = strchr(line, '=');
    const char *reason = "expected 'key = value'";
    char *value = NULL;
    if (equals && equals != line) {
        *equals = 0;
        line = trim(line);
        if (!line[strcspn(line, " \t#")])
            value = cut_value(equals + 1, &reason);
    }
    if (!value)
        return refuse_line(line, where, reason, error, error_size);
    return config_set(config, line, value, where, error, error_size);
}

/* 0 or -errno; a file beyond CONFIG_FILE_MAX is no configuration. */
static int load(const char *path, struct buf *text)
{
    FILE *file = fopen(path, "re");
    if (!file)
        return -errno;
    size_t got = 0;
    errno = 0;
    do {
        got = fread(buf_reserve(text, 4096), 1, 4096, file);
        text->len += got;
    } while (got > 0 && text->len <= CONFIG_FILE_MAX);
    int result = ferror(file) ? -errno : text->len > CONFIG_FILE_MAX ? -EFBIG : 0;
    fclose(file);
    return result;
}

bool config_read(struct config *config, const char *path, char *error, size_t error_size)
{
    assert(path && error && error_size > 0);
    struct buf text = {0};
    int result = load(path, &text);
    if (result < 0)
        snprintf(error, error_size, "%s: %s", path, strerror(-result));
    bool good = result == 0;
    unsigned number = 0;
    /* Some editors begin a file with a mark that nobody sees, and that would be part of the first key. */
    size_t at = slice_starts_with(buf_slice(&text), "\xef\xbb\xbf") ? 3 : 0;
    while (good && at < text.len) {
        const uint8_t *end = memchr(text.at + at, '\n', text.len - at);
        size_t len = end ? (size_t)(end - text.at) - at : text.len - at;
        char line[LINE_MAX_LENGTH + 1], where[CONFIG_TEXT_MAX * 4];
        snprintf(where, sizeof(where), "%s:%u", path, ++number);
        if (len > LINE_MAX_LENGTH || memchr(text.at + at, 0, len)) {
            snprintf(error, error_size, "%s: %s", where,
                     len > LINE_MAX_LENGTH ? "the line is too long" : "a zero byte");
            good = false;
        } else {
            memcpy(line, text.at + at, len);
            line[len] = 0;
            good = read_line(config, line, where, error, error_size);
        }
        at += len + 1;
    }
    buf_free(&text);
    return good;
}

/* Quotes what would be read back differently. */
static void print_text(const char *text, FILE *out)
{
    size_t len = strlen(text);
    bool quoted = !len || strchr(text, '#') || *text == '\'' || strstr(text, "$(") ||
                  *text == ' ' || text[len - 1] == ' ';
    fprintf(out, quoted ? "'%s'" : "%s", text);
}

/* "a,b" as "family.a = true", "1=PLAIN" as "family.1 = PLAIN". */
static void print_list(const struct key *key, const char *list, FILE *out)
{
    for (const char *at = list; *at;) {
        size_t len = strcspn(at, ",");
        const char *equals = key_has_items(key) ? memchr(at, '=', len) : NULL;
        size_t name_len = equals ? (size_t)(equals - at) : len;
        assert(name_len > 0 && (equals || !key_has_items(key)));
        fprintf(out, "%.*s", (int)key_prefix(key), key->name);
        for (size_t i = 0; i < name_len; i++)
            fprintf(out, at[i] == '.' && key->kind != KEY_CHAIN ? "\\%c" : "%c", at[i]);
        if (equals)
            fprintf(out, " = %.*s\n", (int)(len - name_len - 1), equals + 1);
        else
            fprintf(out, " = true\n");
        at += len + (at[len] == ',');
    }
    /* An empty list says nothing where only "false" undoes the default. */
    if (!*list && !key_none(key) && !key_has_items(key))
        fprintf(out, "%.*s%.*s = false\n", (int)key_prefix(key), key->name,
                (int)strcspn(key->defaults, "="), key->defaults);
}

static void print_listeners(const struct key *key, const struct listen_list *list, FILE *out)
{
    assert(list->count <= CONFIG_LISTENERS_MAX);
    for (size_t i = 0; i < list->count; i++) {
        const struct listen_address *at = &list->at[i];
        bool v6 = strchr(at->host, ':') != NULL;
        fprintf(out, "%.*s%s = %s%s%s%s%u\n", (int)key_prefix(key), key->name, at->name, v6 ? "[" : "",
                at->host, v6 ? "]" : "", at->host[0] ? ":" : "", at->port);
    }
}

static void print_sni(const struct key *key, const struct config_sni *sni, FILE *out)
{
    bool keyfile = strstr(key->name, "sni_keyfile") != NULL;
    assert(sni->count <= CONFIG_SNI_MAX);
    for (size_t i = 0; i < sni->count; i++) {
        const struct config_sni_name *name = &sni->at[i];
        bool secret = key->kind == KEY_SNI_SECRET;
        if (secret && !*name->password)
            continue;
        fprintf(out, "%s%.*s", secret ? "# " : "", (int)key_prefix(key), key->name);
        for (const char *at = name->name; *at; at++)
            fprintf(out, *at == '.' ? "\\%c" : "%c", *at);
        fputs(secret ? " is set and not shown" : " = ", out);
        if (!secret)
            print_text(keyfile ? name->keyfile : name->certfile, out);
        fputc('\n', out);
    }
}

static void print_amount(const struct key *key, uint64_t amount, FILE *out)
{
    uint64_t part = amount % 1000000;
    int digits = 6;
    for (; digits > 1 && part % 10 == 0; digits--)
        part /= 10;
    if (amount == CONFIG_NONE)
        fputs("none", out);
    else if (key->kind == KEY_AMOUNT)
        fprintf(out, "%" PRIu64, amount);
    else
        fprintf(out, "%" PRIu64 ".%0*" PRIu64, amount / 1000000, digits, part);
}

static void print_scalar(const struct key *key, const void *field, FILE *out)
{
    static const char *const levels[] = {"debug", "info",     "notice", "warning",
                                         "error", "critical", "none"};
    static const char *const overwrites[] = {"none", "false", "true"};
    fprintf(out, "%s = ", key->name);
    switch (key->kind) {
    case KEY_LIMIT:
        if (*(const uint64_t *)field == CONFIG_NONE) {
            fputs("infinity", out);
            break;
        }
        __attribute__((fallthrough));
    case KEY_NUMBER:
    case KEY_SIZE:
        fprintf(out, "%" PRIu64,
                key->size == sizeof(uint32_t) ? *(const uint32_t *)field
                                              : *(const uint64_t *)field);
        break;
    case KEY_AMOUNT:
    case KEY_FRACTION:
        print_amount(key, *(const uint64_t *)field, out);
        break;
    case KEY_FIXED:
        fputs(key->defaults, out);
        break;
    case KEY_VERIFY:
    case KEY_HOSTNAME:
    case KEY_CRL_CHECK:
    case KEY_HASHING:
    case KEY_VALIDATION:
    case KEY_CERT_NAME:
    case KEY_SAN:
    case KEY_HTTP_METHOD:
    case KEY_CACHED:
    case KEY_CACHED_PART:
        fputs(key_choices(key->kind)[*(const uint32_t *)field], out);
        break;
    case KEY_FLAG:
        fputs(*(const bool *)field ? "true" : "false", out);
        break;
    case KEY_OVERWRITE:
        assert(*(const enum config_overwrite *)field < array_size(overwrites));
        fputs(overwrites[*(const enum config_overwrite *)field], out);
        break;
    case KEY_LEVEL:
        assert(*(const enum log_level *)field < array_size(levels));
        fputs(levels[*(const enum log_level *)field], out);
        break;
    default:
        print_text(key->kind == KEY_LOG_FILE && !*(const char *)field ? "false" : field, out);
        break;
    }
    fputc('\n', out);
}

static bool is_blank_text(const struct key *key, const void *field)
{
    bool text = key->kind == KEY_REGEX || key->kind == KEY_URL || key->kind == KEY_TEXT;
    return text && !*key->defaults && !*(const char *)field;
}

static void print_escaped(const char *name, FILE *out)
{
    for (; *name; name++)
        fprintf(out, *name == '.' ? "\\%c" : "%c", *name);
}

static void print_aliases(const struct config_oauth2 *oauth2, size_t server, FILE *out)
{
    for (size_t i = 0; i < oauth2->alias_count; i++) {
        const struct config_alias *alias = &oauth2->aliases[i];
        if (alias->server != server || !*alias->alias || !*alias->scopes)
            continue;
        fputs("auth_oauth2.", out);
        if (server > 0) {
            fputs("resource_servers.", out);
            print_escaped(oauth2->servers[server].name, out);
            fputc('.', out);
        }
        fputs("scope_aliases.", out);
        print_escaped(alias->alias, out);
        fputs(" = ", out);
        print_text(alias->scopes, out);
        fputc('\n', out);
    }
}

static void print_key(const struct config *config, const struct key *key, FILE *out);

/* The fields of one server or provider with a name: those keys of the first one of which something
 * was said. */
static void print_nested(const struct config *config, const struct key *family, const char *name,
                         size_t place, FILE *out)
{
    size_t size = family->size / CONFIG_OAUTH2_MAX;
    const struct config_oauth2_server *server = &config->auth.oauth2.servers[place];
    bool of_server = family->offset == offsetof(struct config, auth.oauth2.servers);
    for (size_t i = 0; i < key_count(); i++) {
        struct key key = *key_at(i);
        char text[CONFIG_TEXT_MAX];
        const char *rest = strchr(key.name, '.');
        if (key.offset < family->offset || key.offset >= family->offset + size ||
            key.kind == KEY_NESTED)
            continue;
        rest = strcmp(key.name, "auth_oauth2.resource_server_id") == 0       ? "id"
               : strcmp(key.name, "auth_oauth2.default_oauth_provider") == 0 ? "oauth_provider_id"
                                                                             : rest + 1;
        snprintf(text, sizeof(text), "%.*s%s.%s", (int)key_prefix(family), family->name, name,
                 rest);
        key.name = text;
        key.offset += place * size;
        bool given = strcmp(rest, "scope_prefix") == 0 ? server->scope_prefix_given
                     : strcmp(rest, "verify_aud") == 0 ? server->verify_aud_given
                     : key.kind == KEY_FLAG            ? server->require_exp_given
                                            : !is_blank_text(&key, key_field(config, &key));
        if (!of_server || given)
            print_key(config, &key, out);
    }
    if (of_server)
        print_aliases(&config->auth.oauth2, place, out);
}

static void print_default_limits(const struct config *config, const struct key *family, FILE *out)
{
    const struct config_topology *topology = &config->topology;
    for (size_t i = 0; i < topology->default_limit_count; i++) {
        size_t entry = family->offset + i * sizeof(topology->default_limits[0]);
        char name[CONFIG_TEXT_MAX];
        struct key key;
        for (size_t k = 0; setting_default_limits_key(k, entry, &key); k++) {
            snprintf(name, sizeof(name), "%.*s%s.%s", (int)key_prefix(family), family->name,
                     topology->default_limits[i].id, key.name);
            key.name = name;
            if (key.kind == KEY_REGEX || *(const uint64_t *)key_field(config, &key) != CONFIG_NONE)
                print_key(config, &key, out);
        }
    }
}

static void print_all_nested(const struct config *config, const struct key *family, FILE *out)
{
    const struct config_oauth2 *oauth2 = &config->auth.oauth2;
    bool of_server = family->offset == offsetof(struct config, auth.oauth2.servers);
    for (size_t i = 1; i <= (of_server ? oauth2->server_count : oauth2->provider_count); i++) {
        const char *name = of_server ? oauth2->servers[i].name : oauth2->providers[i].name;
        char escaped[2 * CONFIG_OAUTH2_NAME_MAX];
        size_t len = 0;
        for (; *name; name++) {
            if (*name == '.')
                escaped[len++] = '\\';
            escaped[len++] = *name;
        }
        escaped[len] = 0;
        print_nested(config, family, escaped, i, out);
    }
}

static void print_key(const struct config *config, const struct key *key, FILE *out)
{
    const void *field = key_field(config, key);
    if (key->kind == KEY_SECRET || (key->kind == KEY_URL && value_has_password(field)))
        fprintf(out, "# %s is %s\n", key->name,
                *(const char *)field ? "set and not shown" : "not set");
    else if (key->kind == KEY_LISTENER)
        print_listeners(key, field, out);
    else if (key->kind == KEY_SNI || key->kind == KEY_SNI_SECRET)
        print_sni(key, field, out);
    else if (key->kind == KEY_NESTED)
        print_all_nested(config, key, out);
    else if (key->kind == KEY_DEFAULT_LIMITS)
        print_default_limits(config, key, out);
    else if (key->kind == KEY_ALIAS)
        print_aliases(&config->auth.oauth2, 0, out);
    else if (key_is_family(key))
        print_list(key, field, out);
    else if ((key->kind == KEY_LIST_NONE && !*(const char *)field) ||
             (key->kind == KEY_NO_LISTENER && ((const struct listen_list *)field)->count == 0))
        fprintf(out, "%s = none\n", key->name);
    else if (key->kind != KEY_LIST_NONE && key->kind != KEY_NO_LISTENER)
        print_scalar(key, field, out);
}

void config_print(const struct config *config, FILE *out)
{
    for (size_t i = 0; i < key_count(); i++) {
        const struct key *key = key_at(i);
        if (is_blank_text(key, key_field(config, key)) &&
            !*key_given((struct config *)(uintptr_t)config, key))
            fprintf(out, "# %s is not set\n", key->name);
        else
            print_key(config, key, out);
    }
}

void config_help(FILE *out)
{
    for (size_t i = 0; i < key_count(); i++) {
        const struct key *key = key_at(i);
        bool shown = *key->defaults;
        fprintf(out, "  %-29s %s%s%s%s\n", key->name, key->help, shown ? " (" : "", key->defaults,
                shown ? ")" : "");
    }
}
