/* token_claims.c - what the payload of a verified token says: for whom, how long, who, and which scopes. */
#include "auth/token_claims.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>

#include "auth/json_text.h"
#include "base/assert.h"
#include "base/buf.h"

enum { USER_NAME_MAX = 255, EARLY_S = 60 }; /* clocks differ: nbf may lie that far ahead */

/* One token being read. */
struct reading {
    json_t *payload;
    const struct token_rules *rules;
    struct token_claims *claims;
    struct buf tags;
    char *reason;
    size_t reason_size;
};

__attribute__((format(printf, 2, 3))) static bool refuse(const struct reading *r, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(r->reason, r->reason_size, format, args);
    va_end(args);
    return false;
}

/* The next word off the front; words are separated by one of `separators`. */
static bool next_word(struct slice *rest, const char *separators, struct slice *word)
{
    while (rest->len && strchr(separators, rest->at[0]))
        *rest = slice_of(rest->at + 1, rest->len - 1);
    if (rest->len == 0)
        return false;
    size_t len = 0;
    while (len < rest->len && !strchr(separators, rest->at[len]))
        len++;
    *word = slice_of(rest->at, len);
    *rest = slice_of(rest->at + len, rest->len - len);
    return true;
}

/* --- for whom, how long --- */

static bool has_word(json_t *text, const char *wanted)
{
    struct slice rest = json_text(text), word;
    while (next_word(&rest, " ", &word))
        if (slice_is(word, wanted))
            return true;
    return false;
}

bool token_claims_are_for(json_t *payload, const char *wanted)
{
    json_t *audience = json_object_get(payload, "aud"), *item;
    size_t index;
    if (*wanted && json_is_string(audience) && has_word(audience, wanted))
        return true;
    json_array_foreach(audience, index, item)
    {
        if (*wanted && json_is_string(item) && slice_is(json_text(item), wanted))
            return true;
    }
    return false;
}

static bool check_audience(const struct reading *r)
{
    const char *wanted = r->rules->resource_server_id;
    return !r->rules->verify_aud || token_claims_are_for(r->payload, wanted) ||
           refuse(r, "the token is not for the audience '%.60s'", wanted);
}

static bool check_time(const struct reading *r, uint64_t now_s, uint64_t *expires_s)
{
    json_t *exp = json_object_get(r->payload, "exp"), *nbf = json_object_get(r->payload, "nbf");
    *expires_s = UINT64_MAX;
    if (!exp && r->rules->require_exp)
        return refuse(r, "the token has no expiry");
    if (exp && !json_is_number(exp))
        return refuse(r, "the token's expiry is no number");
    if (exp && json_number_value(exp) < (double)INT64_MAX)
        *expires_s = json_number_value(exp) < 0 ? 0 : (uint64_t)json_number_value(exp);
    if (*expires_s <= now_s)
        return refuse(r, "the token has expired");
    if (nbf && !json_is_number(nbf))
        return refuse(r, "the token's beginning is no number");
    if (nbf && json_number_value(nbf) > (double)(now_s + EARLY_S))
        return refuse(r, "the token is not valid yet");
    return true;
}

/* --- who --- */

static json_t *find_claim(const struct reading *r, struct slice name)
{
    char text[128];
    if (name.len >= sizeof(text) || memchr(name.at, 0, name.len))
        return NULL;
    snprintf(text, sizeof(text), "%.*s", SLICE_ARG(name));
    json_t *value = json_object_get(r->payload, text);
    return json_is_string(value) ? value : NULL;
}

static bool read_user(const struct reading *r)
{
    struct slice rest = slice_of_string(r->rules->username_claims), word;
    json_t *found = NULL;
    while (!found && next_word(&rest, ",", &word))
        found = find_claim(r, word);
    if (!found)
        found = find_claim(r, SLICE("sub"));
    if (!found)
        found = find_claim(r, SLICE("client_id"));
    struct slice name = found ? json_text(found) : SLICE("unknown");
    if (name.len == 0 || name.len > USER_NAME_MAX)
        return refuse(r, "the token's user name has %zu bytes", name.len);
    r->claims->user = slice_copy(name);
    return true;
}

/* --- scopes --- */

/* "{sub}" becomes the claim, with every byte as %XX, so that it means only itself; {vhost} stays. */
static void expand(const struct reading *r, struct slice scope, struct buf *out)
{
    while (scope.len) {
        const uint8_t *end = scope.at[0] == '{' ? memchr(scope.at, '}', scope.len) : NULL;
        struct slice name = end ? slice_of(scope.at + 1, (size_t)(end - scope.at) - 1) : SLICE("");
        json_t *claim = end && !slice_is(name, "vhost") ? find_claim(r, name) : NULL;
        struct slice value = json_text(claim);
        for (size_t i = 0; i < value.len; i++)
            buf_printf(out, "%%%02X", value.at[i]);
        if (!claim)
            buf_append(out, scope.at, 1);
        size_t step = claim ? name.len + 2 : 1;
        scope = slice_of(scope.at + step, scope.len - step);
    }
}

static void add_tag(struct reading *r, struct slice tag)
{
    struct slice rest = buf_slice(&r->tags), word;
    while (next_word(&rest, ",", &word))
        if (slice_equal(word, tag))
            return;
    buf_printf(&r->tags, "%s%.*s", r->tags.len ? "," : "", SLICE_ARG(tag));
}

static bool add_scope(struct reading *r, struct slice scope)
{
    const char *prefix = r->rules->scope_prefix;
    if (!slice_starts_with(scope, prefix))
        return true;
    scope = slice_of(scope.at + strlen(prefix), scope.len - strlen(prefix));
    if (slice_starts_with(scope, "tag:")) {
        add_tag(r, slice_of(scope.at + 4, scope.len - 4));
        return true;
    }
    struct buf expanded = {0};
    expand(r, scope, &expanded);
    bool fits = grant_add(r->claims->grant, buf_slice(&expanded));
    buf_free(&expanded);
    return fits || refuse(r, "the token has more than %d scopes", GRANT_SCOPES_MAX);
}

/* The scopes that this one stands for, and itself. What stands for others is not looked up again.
 */
static bool add_with_aliases(struct reading *r, struct slice scope)
{
    bool good = add_scope(r, scope);
    for (size_t i = 0; good && i < r->rules->alias_count; i++) {
        struct slice rest = slice_of_string(r->rules->aliases[i].scopes), word;
        if (!slice_is(scope, r->rules->aliases[i].alias))
            continue;
        while (good && next_word(&rest, " ", &word))
            good = add_scope(r, word);
    }
    return good;
}

/* `prefix` is put before each: the server's id and a dot, where scopes hang from the id. */
static bool add_word(struct reading *r, const char *prefix, struct slice word)
{
    struct buf whole = {0};
    if (!*prefix)
        return add_with_aliases(r, word);
    buf_printf(&whole, "%s.%.*s", prefix, SLICE_ARG(word));
    bool good = add_with_aliases(r, buf_slice(&whole));
    buf_free(&whole);
    return good;
}

static bool add_words(struct reading *r, const char *prefix, json_t *scopes)
{
    json_t *item;
    size_t index;
    bool good = true;
    if (json_is_string(scopes)) {
        struct slice rest = json_text(scopes), word;
        while (good && next_word(&rest, " ", &word))
            good = add_word(r, prefix, word);
    }
    json_array_foreach(scopes, index, item)
    {
        good = good && (!json_is_string(item) || add_word(r, prefix, json_text(item)));
    }
    return good;
}

/* A text, a list, or {"id of the server": a text or list, without the prefix}. */
static bool add_scopes(struct reading *r, json_t *scopes)
{
    const char *id = r->rules->resource_server_id;
    if (json_is_object(scopes))
        return !*id || add_words(r, id, json_object_get(scopes, id));
    return add_words(r, "", scopes);
}

static bool add_detail(void *arg, struct slice scope)
{
    return add_scope(arg, scope);
}

/* Follows a path such as "authorization.permissions.scopes"; arrays on the way are gone through, their
 * members one level down. */
static bool add_scopes_at(struct reading *r, json_t *from, struct slice path)
{
    struct slice word;
    char name[128];
    json_t *item;
    size_t index;
    if (json_is_array(from)) {
        bool good = true;
        json_array_foreach(from, index, item)
        {
            good = good && (!json_is_object(item) || add_scopes_at(r, item, path));
        }
        return good;
    }
    if (!next_word(&path, ".", &word) || word.len >= sizeof(name))
        return true;
    snprintf(name, sizeof(name), "%.*s", SLICE_ARG(word));
    json_t *value = json_object_get(from, name);
    return path.len ? add_scopes_at(r, value, path) : add_scopes(r, value);
}

static bool read_scopes(struct reading *r)
{
    struct slice rest = slice_of_string(r->rules->additional_scopes), path;
    bool good = add_words(r, "", json_object_get(r->payload, "scope")) &&
                token_details_read(r->payload, r->rules, add_detail, r) &&
                add_scopes_at(r, r->payload, SLICE("authorization.permissions.scopes"));
    while (good && next_word(&rest, " ", &path))
        good = add_scopes_at(r, r->payload, path);
    return good;
}

bool token_claims_read(json_t *payload, const struct token_rules *rules, uint64_t now_s,
                       struct token_claims *claims, char *reason, size_t reason_size)
{
    struct reading r = {payload, rules, claims, {0}, reason, reason_size};
    uint64_t expires_s;
    assert(!claims->grant);
    if (!payload)
        return refuse(&r, "the token has no payload");
    if (!check_audience(&r) || !check_time(&r, now_s, &expires_s))
        return false;
    claims->grant = grant_new();
    claims->grant->expires_s = expires_s;
    bool good = read_user(&r) && read_scopes(&r);
    if (good) {
        claims->tags = slice_copy(buf_slice(&r.tags));
    } else {
        slice_free(&claims->user);
        grant_drop(&claims->grant);
    }
    buf_free(&r.tags);
    return good;
}
