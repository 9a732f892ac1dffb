/* oauth2.c - the OAuth 2 backend.
 *
 * Owner: its one thread, which has the keys to itself. Invariant: a token is verified with the keys
 * of the one provider of the resource server that it is for, never with another's. A token with an
 * unknown key has the key set fetched anew by another thread, and waits for it; the others do not.
 * Failure modes: an authorization server that is down leaves the keys as they were. */
#include "auth/oauth2.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "auth/backend.h"
#include "auth/key_fetch.h"
#include "base/assert.h"
#include "base/mem.h"
#include "base/rand.h"

/* What is known of one authorization server. */
struct issuer {
    const struct oauth2_provider *provider;
    struct jwk_set files, fetched;
    struct key_fetch *fetch; /* NULL = there is no address to fetch from */
    struct list waiting;     /* questions about tokens whose key may come */
};

struct verifier {
    struct backend *backend;
    const struct oauth2_settings *settings;
    struct issuer issuers[OAUTH2_MAX];
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
        const struct oauth2_provider *provider = &settings->providers[i];
        struct jwk_set set;
        char prefix[128];
        snprintf(prefix, sizeof(prefix), "%s%.64s%shttps.", *provider->name ? "oauth_providers." : "",
                 provider->name, *provider->name ? "." : "");
        jwk_set_init(&set, 1);
        good = load_files(&set, provider, error, error_size) &&
               http_tls_check(&provider->http.tls, prefix, error, error_size);
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
    verifier->backend = backend;
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
        list_init(&issuer->waiting);
        if (*issuer->provider->jwks_url || *issuer->provider->discovery)
            issuer->fetch = key_fetch_new(backend, issuer->provider, issuer);
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
        key_fetch_free(&issuer->fetch);
        for (struct list *link; (link = list_pop_front(&issuer->waiting));) {
            struct question *question = container_of(link, struct question, link);
            question_free(&question);
        }
    }
    mem_free(verifier);
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

static void decide(struct question *question, enum token_result result, const struct token_claims *claims,
                   const char *reason)
{
    if (result != TOKEN_GOOD) {
        question_decide(question, VERDICT_DENY, "%s", reason);
        return;
    }
    question->user = claims->user;
    question->tags = claims->tags;
    question->grant = claims->grant;
    question_decide(question, VERDICT_ALLOW, "the token is good");
}

/* The issuer whose key the token wants and that is not there; NULL when the question is decided. */
static struct issuer *try(struct verifier *verifier, struct question *question, char *reason,
                          size_t reason_size)
{
    const struct oauth2_settings *settings = verifier->settings;
    struct token_claims claims = {0};
    struct slice token = question->about.password;
    assert(question->about.kind == QUESTION_LOGIN);
    enum token_result result = TOKEN_BAD;
    size_t place = token_choose(token, settings->servers, settings->server_count, reason, reason_size);
    if (place < settings->server_count) {
        struct issuer *issuer = &verifier->issuers[settings->provider_of[place]];
        result = verify(issuer, &settings->servers[place], token, &claims, reason, reason_size);
        if (result == TOKEN_KEY_MISSING)
            return issuer;
    }
    decide(question, result, &claims, reason);
    return NULL;
}

static bool answer(void *thread, struct question *question)
{
    struct verifier *verifier = thread;
    char reason[sizeof(question->reason)] = "";
    struct issuer *issuer = try(verifier, question, reason, sizeof(reason));
    if (!issuer)
        return true;
    if (issuer->fetch && (key_fetch_start(issuer->fetch) || key_fetch_is_busy(issuer->fetch))) {
        list_push_back(&issuer->waiting, &question->link);
        return false;
    }
    question_decide(question, VERDICT_DENY, "%s", reason);
    return true;
}

/* The key set has come, or will not. */
static void noted(void *thread, void *note)
{
    struct verifier *verifier = thread;
    struct issuer *issuer = note;
    struct slice document;
    char failure[sizeof(((struct question *)0)->reason)] = "", reason[sizeof(failure)];
    bool come = key_fetch_take(issuer->fetch, &document, failure, sizeof(failure));
    if (come && !jwk_set_load(&issuer->fetched, document, failure, sizeof(failure)))
        key_fetch_doubt(issuer->fetch);
    for (struct list *link; (link = list_pop_front(&issuer->waiting));) {
        struct question *question = container_of(link, struct question, link);
        if (try(verifier, question, reason, sizeof(reason)))
            question_decide(question, VERDICT_DENY, "%s", *failure ? failure : reason);
        backend_give(verifier->backend, question);
    }
}

const struct backend_type backend_oauth2 = {"oauth2", start, answer, stop, noted};
