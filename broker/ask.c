/* ask.c - questions of connections to backends that take their time.
 *
 * Owner: the server has the backends and the cache that all share, a connection its own answers and at
 * most one question on its way. Failure modes: no answer is a refusal; a backend that is asked too much
 * refuses at once. */
#include "broker/ask.h"

#include "broker/channel.h"
#include "broker/publish.h"
#include "broker/tokens.h"

enum {
    SHARED_ANSWERS_MAX = 16384,
    HTTP_THREADS = 4,
    REFUSAL_USES = 3,
    OWN_TTL_MS = 30000, /* how long a connection goes by what its backend said */
    HTTP_ANSWER_MAX = 64 * 1024,
};

/* --- answers that are known --- */

void ask_init_answers(struct answer_cache *cache, size_t capacity, uint64_t seed)
{
    map_init(&cache->by_key, seed);
    list_init(&cache->by_age);
    cache->capacity = capacity;
}

static void drop_answer(struct answer_cache *cache, struct answer *answer)
{
    map_remove(&cache->by_key, answer->key);
    list_remove(&answer->age);
    slice_free(&answer->key);
    slice_free(&answer->user);
    slice_free(&answer->tags);
    slice_free(&answer->said);
    mem_free(answer);
}

void ask_free_answers(struct answer_cache *cache)
{
    if (!cache->by_age.next)
        return; /* never made */
    while (!list_empty(&cache->by_age))
        drop_answer(cache, list_first(&cache->by_age, struct answer, age));
    map_free(&cache->by_key);
}

static struct answer *find_answer(struct answer_cache *cache, struct slice key, uint64_t now_ms)
{
    struct answer *answer = cache->by_key.size ? map_get(&cache->by_key, key) : NULL;
    if (answer && answer->until_ms <= now_ms) {
        drop_answer(cache, answer);
        return NULL;
    }
    return answer;
}

static struct answer *keep_answer(struct answer_cache *cache, struct slice key, bool allowed,
                                  uint64_t until_ms)
{
    struct answer *old = map_get(&cache->by_key, key);
    if (old)
        drop_answer(cache, old);
    else if (cache->by_key.size == cache->capacity)
        drop_answer(cache, list_first(&cache->by_age, struct answer, age));
    struct answer *answer = mem_zalloc(sizeof(*answer));
    answer->key = slice_copy(key);
    answer->allowed = allowed;
    answer->until_ms = until_ms;
    map_put(&cache->by_key, answer->key, answer);
    list_push_back(&cache->by_age, &answer->age);
    return answer;
}

/* --- asking --- */

static struct backend *backend_of(struct connection *conn, enum config_backend_name name)
{
    assertf(name < CONFIG_CACHE && conn->server->logins.backends[name], "backend %d was not started",
            (int)name);
    return conn->server->logins.backends[name];
}

static bool post(struct connection *conn, enum config_backend_name name, const struct inquiry *about)
{
    struct server *s = conn->server;
    assert(!conn->login.asked);
    struct question *question = question_new(about, conn);
    if (!backend_ask(backend_of(conn, name), question)) {
        chatter_line(s, conn->peer->peer_host, LOG_ERROR, conn->id, "connection (%s): %s", conn->name,
                     question->reason);
        question_free(&question);
        return false;
    }
    conn->login.asked = question;
    flow_pause(conn, FLOW_ASK);
    return true;
}

enum answer_kind ask_access(struct connection *conn, const struct inquiry *about)
{
    struct server *s = conn->server;
    struct buf key = {0};
    uint64_t now = server_now_ms(s);
    inquiry_key(about, &key);
    struct answer *known = find_answer(&conn->login.answers, buf_slice(&key), now);
    if (!known && conn->login.cached)
        known = find_answer(&s->logins.cache, buf_slice(&key), now);
    bool allowed = known && known->allowed;
    slice_free(&conn->login.said);
    if (known && known->said.len)
        conn->login.said = slice_copy(known->said);
    if (known && known->uses && --known->uses == 0)
        drop_answer(&conn->login.answers, known);
    buf_free(&key);
    if (known)
        return allowed ? ANSWER_YES : ANSWER_NO;
    return post(conn, conn->login.authz, about) ? ANSWER_LATER : ANSWER_NO;
}

bool ask_login(struct connection *conn, enum config_backend_name backend, const struct inquiry *about)
{
    return post(conn, backend, about);
}

const struct answer *ask_cached_login(struct server *s, const struct inquiry *about)
{
    struct buf key = {0};
    inquiry_key(about, &key);
    const struct answer *answer = find_answer(&s->logins.cache, buf_slice(&key), server_now_ms(s));
    buf_free(&key);
    return answer;
}

void ask_forget(struct connection *conn)
{
    if (conn->login.asked)
        backend_forget(conn->login.asked);
    conn->login.asked = NULL;
}

/* --- answers that come --- */

static void keep_said(const struct server *s, const struct question *question, struct answer *answer)
{
    if (s->config->auth.http.disclosure && question->verdict == VERDICT_DENY)
        answer->said = slice_copy(question->said);
}

static void share(struct server *s, const struct question *question, struct slice key)
{
    const struct config_auth *auth = &s->config->auth;
    bool allowed = question->verdict == VERDICT_ALLOW;
    if (question->verdict == VERDICT_ERROR || (!allowed && !auth->cache_refusals) || question->grant)
        return;
    struct answer *answer =
        keep_answer(&s->logins.cache, key, allowed, server_now_ms(s) + auth->cache_ttl_ms);
    answer->user = slice_copy(question->user);
    answer->tags = slice_copy(question->tags);
    keep_said(s, question, answer);
}

/* A refusal is given to the method that asked, which may come back for it until it has asked for all three
 * rights; then it is asked anew. */
static void keep_own(struct connection *conn, const struct question *question, struct slice key)
{
    bool allowed = question->verdict == VERDICT_ALLOW;
    struct answer *answer = keep_answer(&conn->login.answers, key, allowed,
                                        server_now_ms(conn->server) + OWN_TTL_MS);
    answer->uses = allowed ? 0 : REFUSAL_USES;
    keep_said(conn->server, question, answer);
    if (question->verdict == VERDICT_ERROR)
        chatter_line(conn->server, conn->peer->peer_host, LOG_ERROR, conn->id,
                     "connection (%s): access refused: %s", conn->name, question->reason);
    else if (question->said.len)
        chatter_line(conn->server, conn->peer->peer_host, LOG_INFO, conn->id, "connection (%s): access %s",
                     conn->name, question->reason);
}

static void take(struct server *s, struct question *question)
{
    struct connection *conn = question->asker;
    struct buf key = {0};
    if (!conn)
        return;
    assert(conn->login.asked == question);
    conn->login.asked = NULL;
    inquiry_key(&question->about, &key);
    if (login_shares_answers(conn))
        share(s, question, buf_slice(&key));
    if (conn->login.attempt) {
        login_answered(conn, question);
    } else {
        keep_own(conn, question, buf_slice(&key));
        publish_resume(conn);
        if (!conn->login.asked)
            flow_resume(conn, FLOW_ASK);
    }
    buf_free(&key);
}

void ask_arrive(struct server *s)
{
    for (size_t i = 0; i < array_size(s->logins.backends); i++) {
        struct backend *backend = s->logins.backends[i];
        for (struct question *question; backend && (question = backend_answered(backend));) {
            take(s, question);
            question_free(&question);
        }
    }
}

/* --- opening and closing --- */

static void set_http(struct server *s)
{
    const struct config_http *config = &s->config->auth.http;
    bool no_name = strcmp(config->server_name, "none") == 0;
    s->logins.http = (struct http_backend_settings){
        .post = config->method == 1,
        .user_path = config->user_path,
        .vhost_path = config->vhost_path,
        .resource_path = config->resource_path,
        .topic_path = config->topic_path,
        .http = {.tls = {.ca_file = config->cacertfile,
                         .cert_file = config->certfile,
                         .key_file = config->keyfile,
                         .password = config->password,
                         .crl_file = config->crlfile,
                         .server_name = no_name ? "" : config->server_name,
                         .ciphers = config_join_items(config->ciphers, ':', s->logins.http_ciphers,
                                                      sizeof(s->logins.http_ciphers)),
                         .tells_no_name = no_name,
                         .crl_check = (enum http_crl_check)config->crl_check,
                         .verify = config->verify_peer,
                         .no_wildcards = config->hostname_verification == 1,
                         .no_tls_1_2 = !config_has_item(config->versions, "tlsv1.2"),
                         .no_tls_1_3 = !config_has_item(config->versions, "tlsv1.3"),
                         .depth = config->depth},
                 .connect_timeout_ms = config->connect_timeout_ms,
                 .timeout_ms = config->timeout_ms,
                 .answer_max = HTTP_ANSWER_MAX}};
}

static void wake(void *arg)
{
    struct server *s = arg;
    loop_wake(s->loop);
}

static bool start(struct server *s, enum config_backend_name name)
{
    struct logins *logins = &s->logins;
    if (name == CONFIG_INTERNAL || logins->backends[name])
        return true;
    struct backend_options options = {.wake = wake, .wake_arg = s};
    if (name == CONFIG_HTTP) {
        char error[CONFIG_PATH_MAX + 200];
        if (!http_tls_check(&logins->http.http.tls, "auth_http.ssl_options.", error, sizeof(error))) {
            log_line(&s->log, LOG_CRITICAL, 0, "%s", error);
            return false;
        }
        options.type = &backend_http, options.settings = &logins->http, options.threads = HTTP_THREADS;
    } else {
        logins->tokens = tokens_new(s->config);
        if (!tokens_check(logins->tokens, &s->log))
            return false;
        options.type = &backend_oauth2, options.settings = tokens_settings(logins->tokens),
        options.threads = 1;
    }
    logins->backends[name] = backend_new(&options);
    return true;
}

bool ask_open(struct server *s)
{
    struct logins *logins = &s->logins;
    char error[200];
    ask_init_answers(&logins->cache, SHARED_ANSWERS_MAX, rand_u64(&s->rand));
    guard_init(&logins->guard, rand_u64(&s->rand));
    if (!config_read_chain(s->config, &logins->chain, error, sizeof(error))) {
        log_line(&s->log, LOG_CRITICAL, 0, "%s", error);
        return false;
    }
    set_http(s);
    for (size_t i = 0; s->loop && i < logins->chain.count; i++)
        if (!start(s, logins->chain.links[i].authn) || !start(s, logins->chain.links[i].authz))
            return false;
    return true;
}

void ask_close(struct server *s)
{
    for (size_t i = 0; i < array_size(s->logins.backends); i++)
        backend_free(&s->logins.backends[i]);
    tokens_free(&s->logins.tokens);
    ask_free_answers(&s->logins.cache);
    if (s->logins.guard.by_age.next)
        guard_free(&s->logins.guard);
}
