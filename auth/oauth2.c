/* oauth2.c - the OAuth 2 backend.
 *
 * Owner: its one thread, which has the keys to itself. Invariant: a token is verified with the keys
 * of the one provider of the resource server that it is for, never with another's. A token with an
 * unknown key makes it fetch the key set anew, but not more often than every FETCH_PAUSE_S: who
 * sends made-up key ids cannot keep it busy with that. Failure modes: an authorization server that
 * is down leaves the keys as they were. */
#include "auth/oauth2.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "auth/backend.h"
#include "base/assert.h"
#include "base/mem.h"
#include "base/rand.h"

enum { FETCH_PAUSE_S = 10 };

/* What is known of one authorization server. */
struct issuer {
    const struct oauth2_provider *provider;
    struct jwk_set files, fetched;
    struct http *http;
    char discovered[1024]; /* the key set's address; "" = not known yet */
    time_t fetch_due_s;    /* monotonic */
};

struct verifier {
    const struct oauth2_settings *settings;
    struct issuer issuers[OAUTH2_MAX];
    struct buf answer;
};

static bool load_files(struct jwk_set *set, const struct oauth2_provider *provider, char *error,
                       size_t error_size)
{
    for (size_t i = 0; i < provider->key_file_count; i++) {
        const struct oauth2_key_file *file = &provider->key_files[i];
        if (!jwk_add_pem_file(set, slice_of_string(file->id), file->path, error, error_size))
            return false;
    }
    return true;
}

bool oauth2_check(const struct oauth2_settings *settings, char *error, size_t error_size)
{
    bool good = true;
    for (size_t i = 0; good && i < settings->provider_count; i++) {
        struct jwk_set set;
        jwk_set_init(&set, 1);
        good = load_files(&set, &settings->providers[i], error, error_size);
        jwk_set_free(&set);
    }
    return good;
}

static void *start(struct backend *backend, const void *given)
{
    char error[256];
    struct rand rand = rand_secure();
    const struct oauth2_settings *settings = given;
    struct verifier *verifier = mem_zalloc(sizeof(*verifier));
    assert(settings->provider_count <= OAUTH2_MAX && settings->server_count <= OAUTH2_MAX);
    verifier->settings = settings;
    for (size_t i = 0; i < settings->provider_count; i++) {
        struct issuer *issuer = &verifier->issuers[i];
        issuer->provider = &settings->providers[i];
        jwk_set_init(&issuer->files, rand_u64(&rand));
        jwk_set_init(&issuer->fetched, rand_u64(&rand));
        /* They were good when the server started; if not any more, tokens with these keys are
         * refused. */
        if (!load_files(&issuer->files, issuer->provider, error, sizeof(error)))
            jwk_set_free(&issuer->files);
        issuer->http = http_new(backend, &issuer->provider->http);
    }
    return verifier;
}

static void stop(void *thread)
{
    struct verifier *verifier = thread;
    for (size_t i = 0; i < verifier->settings->provider_count; i++) {
        struct issuer *issuer = &verifier->issuers[i];
        jwk_set_free(&issuer->files);
        jwk_set_free(&issuer->fetched);
        http_free(&issuer->http);
    }
    buf_free(&verifier->answer);
    mem_free(verifier);
}

/* --- fetching --- */

static bool get(struct verifier *verifier, struct issuer *issuer, const char *url, const char *what,
                char *reason, size_t reason_size)
{
    long status = 0;
    char error[150];
    if (!http_request(issuer->http, url, NULL, &status, &verifier->answer, error, sizeof(error)))
        snprintf(reason, reason_size, "the %s cannot be fetched: %s", what, error);
    else if (status != 200)
        snprintf(reason, reason_size, "the %s cannot be fetched: status %ld", what, status);
    else
        return true;
    return false;
}

bool oauth2_read_discovery(struct slice document, bool is_https, char *url, size_t size,
                           char *reason, size_t reason_size)
{
    json_error_t wrong;
    json_t *read =
        json_loadb(document.len ? (const char *)document.at : "", document.len, 0, &wrong);
    const json_t *found = json_object_get(read, "jwks_uri");
    const char *text = json_is_string(found) ? json_string_value(found) : "";
    bool good =
        json_string_length(found) == strlen(text) && strlen(text) < size &&
        !strpbrk(text, " \t\r\n") &&
        (strncmp(text, "https://", 8) == 0 || (!is_https && strncmp(text, "http://", 7) == 0));
    if (good)
        memcpy(url, text, strlen(text) + 1);
    else
        snprintf(reason, reason_size, "the OpenID configuration has no jwks_uri%s that can be used",
                 is_https ? " of https" : "");
    json_decref(read);
    return good;
}

/* Where the key set is: as configured, or as the issuer says; NULL when that cannot be known now.
 */
static const char *find_url(struct verifier *verifier, struct issuer *issuer, char *reason,
                            size_t reason_size)
{
    const struct oauth2_provider *provider = issuer->provider;
    if (*provider->jwks_url || issuer->discovered[0])
        return *provider->jwks_url ? provider->jwks_url : issuer->discovered;
    bool is_https = strncmp(provider->discovery, "https://", 8) == 0;
    bool found =
        get(verifier, issuer, provider->discovery, "OpenID configuration", reason, reason_size) &&
        oauth2_read_discovery(buf_slice(&verifier->answer), is_https, issuer->discovered,
                              sizeof(issuer->discovered), reason, reason_size);
    return found ? issuer->discovered : NULL;
}

/* True when the keys were replaced by those there are now. */
static bool fetch_keys(struct verifier *verifier, struct issuer *issuer, char *reason,
                       size_t reason_size)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    if ((!*issuer->provider->jwks_url && !*issuer->provider->discovery) ||
        now.tv_sec < issuer->fetch_due_s)
        return false;
    const char *url = find_url(verifier, issuer, reason, reason_size);
    bool good = url && get(verifier, issuer, url, "key set", reason, reason_size) &&
                jwk_set_load(&issuer->fetched, buf_slice(&verifier->answer), reason, reason_size);
    if (!good)
        issuer->discovered[0] = 0; /* it may have moved */
    clock_gettime(CLOCK_MONOTONIC, &now);
    issuer->fetch_due_s = now.tv_sec + FETCH_PAUSE_S;
    return good;
}

/* --- answering --- */

static enum token_result verify(const struct issuer *issuer, const struct token_rules *rules,
                                struct slice token, struct token_claims *claims, char *reason,
                                size_t reason_size)
{
    uint64_t now_s = (uint64_t)time(NULL);
    enum token_result result =
        token_verify(token, rules, &issuer->files, now_s, claims, reason, reason_size);
    return result != TOKEN_KEY_MISSING
               ? result
               : token_verify(token, rules, &issuer->fetched, now_s, claims, reason, reason_size);
}

static void answer(void *thread, struct question *question)
{
    struct verifier *verifier = thread;
    const struct oauth2_settings *settings = verifier->settings;
    struct token_claims claims = {0};
    char reason[sizeof(question->reason)] = "";
    struct slice token = question->about.password;
    assert(question->about.kind == QUESTION_LOGIN);
    enum token_result result = TOKEN_BAD;
    size_t place =
        token_choose(token, settings->servers, settings->server_count, reason, sizeof(reason));
    if (place < settings->server_count) {
        const struct token_rules *rules = &settings->servers[place];
        struct issuer *issuer = &verifier->issuers[settings->provider_of[place]];
        result = verify(issuer, rules, token, &claims, reason, sizeof(reason));
        if (result == TOKEN_KEY_MISSING && fetch_keys(verifier, issuer, reason, sizeof(reason)))
            result = verify(issuer, rules, token, &claims, reason, sizeof(reason));
    }
    if (result != TOKEN_GOOD) {
        question_decide(question, VERDICT_DENY, "%s", reason);
        return;
    }
    question->user = claims.user;
    question->tags = claims.tags;
    question->grant = claims.grant;
    question_decide(question, VERDICT_ALLOW, "the token is good");
}

const struct backend_type backend_oauth2 = {"oauth2", start, answer, stop};
