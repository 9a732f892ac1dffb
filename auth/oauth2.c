/* oauth2.c - the OAuth 2 backend.
 *
 * Owner: its one thread, which has the keys to itself. A token with an unknown key makes it fetch the key
 * set anew, but not more often than every FETCH_PAUSE_S: who sends made-up key ids cannot keep it busy
 * with that. Failure modes: an authorization server that is down leaves the keys as they were. */
#include "auth/oauth2.h"

#include <stdio.h>
#include <time.h>

#include "auth/backend.h"
#include "base/assert.h"
#include "base/mem.h"
#include "base/rand.h"

enum { FETCH_PAUSE_S = 10 };

struct verifier {
    const struct oauth2_settings *settings;
    struct jwk_set files, fetched;
    struct http *http;
    struct buf answer;
    time_t fetch_due_s; /* monotonic */
};

static bool load_files(struct jwk_set *set, const struct oauth2_settings *settings, char *error,
                       size_t error_size)
{
    for (size_t i = 0; i < settings->key_file_count; i++) {
        const struct oauth2_key_file *file = &settings->key_files[i];
        if (!jwk_add_pem_file(set, slice_of_string(file->id), file->path, error, error_size))
            return false;
    }
    return true;
}

bool oauth2_check(const struct oauth2_settings *settings, char *error, size_t error_size)
{
    struct jwk_set set;
    jwk_set_init(&set, 1);
    bool good = load_files(&set, settings, error, error_size);
    jwk_set_free(&set);
    return good;
}

static void *start(struct backend *backend, const void *settings)
{
    char error[256];
    struct rand rand = rand_secure();
    struct verifier *verifier = mem_zalloc(sizeof(*verifier));
    verifier->settings = settings;
    jwk_set_init(&verifier->files, rand_u64(&rand));
    jwk_set_init(&verifier->fetched, rand_u64(&rand));
    /* They were good when the server started; if not any more, tokens with these keys are refused. */
    if (!load_files(&verifier->files, verifier->settings, error, sizeof(error)))
        jwk_set_free(&verifier->files);
    verifier->http = http_new(backend, &verifier->settings->http);
    return verifier;
}

static void stop(void *thread)
{
    struct verifier *verifier = thread;
    jwk_set_free(&verifier->files);
    jwk_set_free(&verifier->fetched);
    http_free(&verifier->http);
    buf_free(&verifier->answer);
    mem_free(verifier);
}

/* True when the keys were replaced by those there are now. */
static bool fetch_keys(struct verifier *verifier, char *reason, size_t reason_size)
{
    struct timespec now;
    long status = 0;
    char error[150];
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (!*verifier->settings->jwks_url || now.tv_sec < verifier->fetch_due_s)
        return false;
    bool answered = http_request(verifier->http, verifier->settings->jwks_url, NULL, &status,
                                 &verifier->answer, error, sizeof(error));
    clock_gettime(CLOCK_MONOTONIC, &now);
    verifier->fetch_due_s = now.tv_sec + FETCH_PAUSE_S;
    if (!answered)
        snprintf(reason, reason_size, "the key set cannot be fetched: %s", error);
    else if (status != 200)
        snprintf(reason, reason_size, "the key set cannot be fetched: status %ld", status);
    else
        return jwk_set_load(&verifier->fetched, buf_slice(&verifier->answer), reason, reason_size);
    return false;
}

static enum token_result verify(const struct verifier *verifier, struct slice token,
                                struct token_claims *claims, char *reason, size_t reason_size)
{
    uint64_t now_s = (uint64_t)time(NULL);
    const struct token_rules *rules = &verifier->settings->rules;
    enum token_result result =
        token_verify(token, rules, &verifier->files, now_s, claims, reason, reason_size);
    return result != TOKEN_KEY_MISSING
               ? result
               : token_verify(token, rules, &verifier->fetched, now_s, claims, reason, reason_size);
}

static void answer(void *thread, struct question *question)
{
    struct verifier *verifier = thread;
    struct token_claims claims;
    char reason[sizeof(question->reason)] = "";
    struct slice token = question->about.password;
    assert(question->about.kind == QUESTION_LOGIN);
    enum token_result result = verify(verifier, token, &claims, reason, sizeof(reason));
    if (result == TOKEN_KEY_MISSING && fetch_keys(verifier, reason, sizeof(reason)))
        result = verify(verifier, token, &claims, reason, sizeof(reason));
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
