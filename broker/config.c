/* config.c - the configuration: rabbitmq.conf's keys, read by the table in config.def.
 *
 * Owner: main. After a refusal the config may hold part of what was read: the caller ends. */
#include "broker/config.h"

#include <inttypes.h>
#include <string.h>

#include "auth/pattern.h"
#include "base/assert.h"
#include "base/mem.h"
#include "broker/setting.h"
#include "broker/value.h"
#include "queue/kind.h"

/* log.dir and log.file may come in any order, so they are joined after each. */
static void join_log_file(struct config *config)
{
    const struct config_raw *raw = &config->raw;
    bool as_it_is = raw->log_name[0] == '/' || !raw->log_name[0] || strcmp(raw->log_dir, ".") == 0;
    int len = snprintf(config->log_file, sizeof(config->log_file), "%s%s%s",
                       as_it_is ? "" : raw->log_dir, as_it_is ? "" : "/", raw->log_name);
    assert(len >= 0 && (size_t)len < sizeof(config->log_file));
}

static bool set_number(const struct setting *s)
{
    const struct key *key = s->key;
    uint64_t number;
    bool read =
        key->kind == KEY_SIZE ? value_size(s->value, &number) : value_number(s->value, &number);
    if (!read || number < key->min || number > key->max)
        return setting_refuse(s, "expected a %s from %" PRIu64 " to %" PRIu64 "%s",
                      key->kind == KEY_SIZE ? "size" : "whole number", key->min, key->max,
                      key->kind == KEY_SIZE ? " bytes (KB, MB or GB may follow the number)" : "");
    void *field = key_field(s->config, key);
    if (key->size == sizeof(uint32_t)) {
        assert(number <= UINT32_MAX);
        *(uint32_t *)field = (uint32_t)number;
    } else {
        assert(key->size == sizeof(uint64_t));
        *(uint64_t *)field = number;
    }
    return true;
}

static bool set_amount(const struct setting *s)
{
    uint64_t *field = key_field(s->config, s->key);
    assert(s->key->size == sizeof(*field));
    if (strcmp(s->value, "none") == 0)
        *field = CONFIG_NONE;
    else if (!value_amount(s->value, field))
        return setting_refuse(s, "expected bytes (KB, MB, GB, TB or KiB, MiB, GiB, TiB may follow the "
                                 "number) or none");
    return true;
}

/* As in RabbitMQ an absolute limit counts more than a relative one; but not when it is only the default. */
static bool set_fraction(const struct setting *s)
{
    uint64_t *field = key_field(s->config, s->key), ppm;
    assert(s->key->size == sizeof(*field));
    if (strcmp(s->value, "none") == 0) {
        *field = CONFIG_NONE;
        return true;
    }
    if (!value_fraction(s->value, &ppm) || ppm > s->key->max * 1000000)
        return setting_refuse(s, "expected a number from 0 to %" PRIu64 " such as 0.5, or none",
                              s->key->max);
    *field = ppm;
    const struct key *absolute = key_absolute(s->key);
    if (!*key_given(s->config, absolute))
        *(uint64_t *)key_field(s->config, absolute) = CONFIG_NONE;
    return true;
}

static bool set_flag(const struct setting *s)
{
    if (!value_flag(s->value, key_field(s->config, s->key)))
        return setting_refuse(s, "expected true or false");
    return true;
}

static bool set_overwrite(const struct setting *s)
{
    bool overwrite;
    enum config_overwrite *field = key_field(s->config, s->key);
    if (strcmp(s->value, "none") == 0)
        *field = OVERWRITE_NONE;
    else if (value_flag(s->value, &overwrite))
        *field = overwrite ? OVERWRITE_TRUE : OVERWRITE_FALSE;
    else
        return setting_refuse(s, "expected true, false or none");
    return true;
}

static bool set_text(const struct setting *s)
{
    const struct key *key = s->key;
    size_t len = strlen(s->value);
    assert(key->max < key->size);
    if (len < key->min || len > key->max || !value_printable(s->value))
        return setting_refuse(
            s, "expected %" PRIu64 " to %" PRIu64 " bytes of UTF-8 text without control characters",
            key->min, key->max);
    if (strncmp(s->value, "encrypted:", 10) == 0)
        return setting_refuse(s, "encrypted values are not supported by this version of Leveret");
    memcpy(key_field(s->config, key), s->value, len + 1);
    return true;
}

static bool set_regex(const struct setting *s)
{
    char reason[200];
    struct pattern *pattern = pattern_compile(slice_of_string(s->value), reason, sizeof(reason));
    if (!pattern)
        return setting_refuse(s, "%s", reason);
    pattern_free(&pattern);
    return set_text(s);
}

static bool set_queue_type(const struct setting *s)
{
    enum kind_type type;
    if (!kind_type_find(slice_of_string(s->value), &type))
        return setting_refuse(s, "expected classic or quorum");
    return set_text(s);
}

static bool set_backend(const struct setting *s)
{
    if (strcmp(s->value, "local_filesystem") != 0)
        return setting_refuse(s, "expected local_filesystem, the only one of this version of Leveret");
    return set_text(s);
}

static bool set_log_file(const struct setting *s)
{
    if (strcmp(s->value, "false") == 0)
        s->config->raw.log_name[0] = 0;
    else if (!set_text(s))
        return false;
    return true;
}

static bool set_level(const struct setting *s)
{
    if (!log_level_from_name(s->value, key_field(s->config, s->key)))
        return setting_refuse(s, "expected debug, info, notice, warning, error, critical or none");
    return true;
}

static bool set_choice(const struct setting *s)
{
    char words[CONFIG_TEXT_MAX] = "";
    const char *const *choices = key_choices(s->key->kind);
    assert(choices && s->key->size == sizeof(uint32_t));
    for (uint32_t i = 0; choices[i]; i++) {
        if (strcmp(s->value, choices[i]) == 0) {
            *(uint32_t *)key_field(s->config, s->key) = i;
            return true;
        }
        size_t len = strlen(words);
        snprintf(words + len, sizeof(words) - len, "%s%s", i ? ", " : "", choices[i]);
    }
    return setting_refuse(s, "expected one of %s", words);
}

static bool set_list_flag(const struct setting *s)
{
    char *list = key_field(s->config, s->key);
    bool on;
    if (!value_flag(s->value, &on))
        return setting_refuse(s, "expected true or false");
    if (!value_printable(s->name))
        return setting_refuse(s, "the name is not UTF-8 text");
    if (!on)
        value_list_remove(list, s->name);
    else if (!value_list_add(list, s->key->size, s->name))
        return setting_refuse(s, "a name has no comma, and all names together at most %zu bytes",
                      s->key->size - 1);
    return true;
}

static void empty_family(struct config *config, const struct key *family)
{
    if (family->kind == KEY_LISTENER || family->kind == KEY_NO_LISTENER)
        ((struct listen_list *)key_field(config, family))->count = 0;
    else if (family->kind == KEY_SNI || family->kind == KEY_SNI_SECRET ||
             family->kind == KEY_NESTED || family->kind == KEY_ALIAS ||
             family->kind == KEY_DEFAULT_LIMITS)
        return; /* without defaults, and filled by several families */
    else
        *(char *)key_field(config, family) = 0;
}

static bool set_none(const struct setting *s)
{
    if (strcmp(s->value, "none") != 0)
        return setting_refuse(s, "expected none, or keys %s.<name>", s->key->name);
    empty_family(s->config, s->key);
    return true;
}

/* A secret may be in a file of its own. */
static bool set_field(const struct setting *s, bool (*set)(const struct setting *s))
{
    char text[CONFIG_TEXT_MAX];
    struct setting read = *s;
    if (s->key->kind != KEY_SECRET || strncmp(s->value, "file:", 5) != 0)
        return set(s);
    read.value = text;
    bool good = setting_read_secret(s, text, sizeof(text)) && set(&read);
    memset(text, 0, sizeof(text));
    return good;
}

bool config_apply(const struct setting *s)
{
    static bool (*const setters[])(const struct setting *s) = {
        [KEY_NUMBER] = set_number,
        [KEY_SIZE] = set_number,
        [KEY_AMOUNT] = set_amount,
        [KEY_FRACTION] = set_fraction,
        [KEY_FLAG] = set_flag,
        [KEY_TEXT] = set_text,
        [KEY_SECRET] = set_text,
        [KEY_REGEX] = set_regex,
        [KEY_QUEUE_TYPE] = set_queue_type,
        [KEY_BACKEND] = set_backend,
        [KEY_LEVEL] = set_level,
        [KEY_LOG_FILE] = set_log_file,
        [KEY_NO_LISTENER] = set_none,
        [KEY_LIST_NONE] = set_none,
        [KEY_LISTENER] = setting_listener,
        [KEY_LIST_FLAG] = set_list_flag,
        [KEY_MECHANISM] = setting_mechanism,
        [KEY_VERSION] = setting_version,
        [KEY_CIPHER] = setting_cipher,
        [KEY_SOURCE] = setting_source,
        [KEY_SNI] = setting_sni,
        [KEY_SNI_SECRET] = setting_sni,
        [KEY_FIXED] = setting_fixed,
        [KEY_LIMIT] = setting_limit,
        [KEY_CERT_NAME] = set_choice,
        [KEY_SAN] = set_choice,
        [KEY_HTTP_METHOD] = set_choice,
        [KEY_CACHED] = set_choice,
        [KEY_CACHED_PART] = set_choice,
        [KEY_URL] = setting_url,
        [KEY_CHAIN] = setting_backend,
        [KEY_ALGORITHM] = setting_algorithm,
        [KEY_ITEM] = setting_item,
        [KEY_HASHING] = set_choice,
        [KEY_VALIDATION] = set_choice,
        [KEY_VERIFY] = set_choice,
        [KEY_CRL_CHECK] = set_choice,
        [KEY_HOSTNAME] = set_choice,
        [KEY_NESTED] = setting_nested,
        [KEY_ALIAS] = setting_alias,
        [KEY_DEFAULT_LIMITS] = setting_default_limits,
        [KEY_OVERWRITE] = set_overwrite,
    };
    assert((size_t)s->key->kind < array_size(setters));
    setting_note_given(s);
    return set_field(s, setters[s->key->kind]);
}

static bool set_value(const struct setting *s)
{
    if (key_is_family(s->key)) {
        const struct key *none = key_none(s->key);
        if (none && *key_given(s->config, none))
            return setting_refuse(s, "contradicts '%s = none'", none->name);
        if (!*key_given(s->config, s->key))
            empty_family(s->config, s->key);
    }
    *key_given(s->config, s->key) = true;
    if (!config_apply(s))
        return false;
    join_log_file(s->config);
    return true;
}

/* Whether the key at this distance is likely what was meant: a few letters, for the length. */
static bool is_slip(const char *written, unsigned distance)
{
    size_t len = strlen(written);
    return distance <= len / 3 || (distance <= 2 && distance <= len / 2);
}

/* What is far from every key is told the nearest of its own family, or only where the keys are listed. */
static void refuse_far(const struct setting *s)
{
    char nearest[2 * CONFIG_TEXT_MAX], hint[sizeof(nearest) + 32] = "";
    if (key_nearest(s->written, true, nearest, sizeof(nearest)) < UINT32_MAX)
        snprintf(hint, sizeof(hint), "the nearest one is '%s', ", nearest);
    snprintf(s->error, s->error_size, "%s: unknown key '%s' - %sleveret --help lists all", s->where,
             s->written, hint);
}

/* A slip of two letters is taken for one, even where RabbitMQ has a whole family of keys. */
static bool refuse_unknown(const struct setting *s)
{
    char nearest[2 * CONFIG_TEXT_MAX] = "";
    unsigned distance = key_nearest(s->written, false, nearest, sizeof(nearest));
    const char *moot = key_moot(s->written);
    assert(nearest[0]);
    if (moot)
        snprintf(s->error, s->error_size, "%s: '%s' of RabbitMQ has no meaning in Leveret (%s): remove it",
                 s->where, s->written, moot);
    else if (distance > 2 && key_is_rabbitmqs(s->written))
        snprintf(
            s->error, s->error_size,
            "%s: '%s' is known to RabbitMQ, not supported by this version of Leveret: remove it",
            s->where, s->written);
    else if (is_slip(s->written, distance))
        snprintf(s->error, s->error_size, "%s: unknown key '%s' - did you mean '%s'?", s->where, s->written,
                 nearest);
    else
        refuse_far(s);
    return false;
}

bool config_set(struct config *config, const char *key, const char *value, const char *where,
                char *error, size_t error_size)
{
    assert(key && value && where && error_size > 0);
    struct setting s = {.config = config,
                        .written = key,
                        .value = value,
                        .where = where,
                        .error = error,
                        .error_size = error_size};
    if (!*key || strlen(key) >= CONFIG_TEXT_MAX || !value_printable(key)) {
        snprintf(error, error_size, "%s: '%.40s' is no key", where,
                 value_printable(key) ? key : "?");
        return false;
    }
    s.key = key_find(key, s.name);
    return s.key ? set_value(&s) : refuse_unknown(&s);
}

static void set_default(struct config *config, const char *key, const char *value)
{
    char error[CONFIG_TEXT_MAX];
    bool done = config_set(config, key, value, "default", error, sizeof(error));
    assertf(done, "%s", error);
}

/* "1=PLAIN 2=AMQPLAIN" */
static void set_default_family(struct config *config, const struct key *key)
{
    char items[CONFIG_TEXT_MAX], *rest = NULL;
    snprintf(items, sizeof(items), "%s", key->defaults);
    for (char *item = strtok_r(items, " ", &rest); item; item = strtok_r(NULL, " ", &rest)) {
        char name[2 * CONFIG_TEXT_MAX], *equals = strchr(item, '=');
        assert(equals);
        *equals = 0;
        snprintf(name, sizeof(name), "%.*s%s", (int)key_prefix(key), key->name, item);
        set_default(config, name, equals + 1);
    }
}

void config_defaults(struct config *config)
{
    *config = (struct config){0};
    for (size_t i = 0; i < key_count(); i++)
        if (key_is_family(key_at(i)))
            set_default_family(config, key_at(i));
        else if (key_at(i)->defaults[0])
            set_default(config, key_at(i)->name, key_at(i)->defaults);
    memset(config->raw.given, 0, sizeof(config->raw.given));
    config->auth.oauth2.servers[0].scope_prefix_given =
        config->auth.oauth2.servers[0].verify_aud_given = false;
        config->auth.oauth2.servers[0].require_exp_given = false;
    assert(config->listeners.count > 0);
}

bool config_check(const struct config *config, char *error, size_t error_size)
{
    struct config_chain chain;
    return config_read_chain(config, &chain, error, error_size) &&
           setting_check(config, error, error_size) &&
           setting_check_http(config, error, error_size) &&
           setting_check_oauth2(config, &chain, error, error_size);
}

bool config_is_secret(struct slice key)
{
    char written[CONFIG_TEXT_MAX], name[KEY_NAME_MAX + 1];
    snprintf(written, sizeof(written), "%.*s", SLICE_ARG(key));
    const struct key *found = key_find(written, name);
    return found && (found->kind == KEY_SECRET || found->kind == KEY_SNI_SECRET);
}

bool config_offers(const struct config *config, const char *mechanism)
{
    return config_has_item(config->raw.mechanisms, mechanism);
}

bool config_has_item(const char *list, const char *wanted)
{
    struct slice value;
    bool found = false;
    while (!found && config_next_item(&list, &value))
        found = slice_is(value, wanted);
    return found;
}

bool config_next_item(const char **at, struct slice *value)
{
    size_t len = strcspn(*at, ",");
    if (len == 0)
        return false;
    const char *equals = memchr(*at, '=', len);
    assert(equals != NULL);
    *value = slice_of(equals + 1, len - (size_t)(equals + 1 - *at));
    *at += len + ((*at)[len] == ',');
    return true;
}

const char *config_join_items(const char *list, char between, char *to, size_t size)
{
    struct slice value;
    size_t used = 0;
    to[0] = 0;
    while (config_next_item(&list, &value)) {
        char comma[2] = {used ? between : 0};
        used += (size_t)snprintf(to + used, size - used, "%s%.*s", comma, SLICE_ARG(value));
        assertf(used < size, "items of %zu bytes for %zu", used, size);
    }
    return to;
}
