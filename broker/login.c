/* login.c - a login: mechanism, chain of backends, user (semantics 1.1, SASL flow; 3).
 *
 * Owner: the connection, which holds a reference to its user. An attempt lives from start-ok until it has
 * passed or failed, and again while a token is renewed; it is the only place where a password is kept,
 * and wipes it. Failure modes: a backend that does not answer is one that refuses; handshake_timeout ends
 * a login that lasts too long. */
#include "broker/login.h"

#include <stdio.h>

#include "broker/channel.h"
#include "broker/vhost.h"
#include "protocol/table.h"

struct attempt {
    struct slice user, password, tags; /* own memory */
    struct grant *grant;
    size_t link;      /* of the chain: the one that is asked */
    bool authorizing; /* the password was right, now the other backend is asked for the rights */
    bool certified; /* by the certificate: there is no password */
    bool renews;
    char why[256];
};

/* The longest that passes before the clock on the wall is looked at. */
enum { EXPIRY_LOOK_S = 60 };

static void watch_expiry(struct connection *conn);

static const struct config_link *link_of(const struct connection *conn)
{
    const struct config_chain *chain = &conn->server->logins.chain;
    assert(conn->login.attempt->link < chain->count);
    return &chain->links[conn->login.attempt->link];
}

static void replace(struct slice *text, struct slice by)
{
    struct slice old = *text;
    *text = slice_copy(by);
    slice_free(&old);
}

static void wipe_password(struct attempt *attempt)
{
    if (attempt->password.len)
        explicit_bzero((void *)(uintptr_t)attempt->password.at, attempt->password.len);
    slice_free(&attempt->password);
}

void login_drop_attempt(struct connection *conn)
{
    struct server *s = conn->server;
    struct attempt *attempt = conn->login.attempt;
    if (!attempt)
        return;
    /* Else guessers who go before they hear the answer would keep a slow backend busy, uncounted. */
    if (conn->login.asked && !attempt->renews)
        guard_failed(&s->logins.guard, conn->peer->peer_host, server_now_ms(s));
    ask_forget(conn);
    conn->login.attempt = NULL;
    wipe_password(attempt);
    slice_free(&attempt->user);
    slice_free(&attempt->tags);
    grant_drop(&attempt->grant);
    mem_free(attempt);
}

/* --- mechanisms --- */

static bool offers(const struct connection *conn, const char *mechanism)
{
    const struct config *config = conn->server->config;
    if (!config_offers(config, mechanism))
        return false;
    if (strcmp(mechanism, "EXTERNAL") == 0)
        return conn->peer->tls; /* also without a certificate: the refusal says more than its absence */
    if (strcmp(mechanism, "ANONYMOUS") == 0)
        return strcmp(config->auth.anonymous_user, "none") != 0;
    return true;
}

struct slice login_mechanisms(const struct connection *conn, char text[64])
{
    static const char *const names[] = {"AMQPLAIN", "PLAIN", "EXTERNAL", "ANONYMOUS"};
    size_t len = 0;
    for (size_t i = 0; i < array_size(names); i++)
        if (offers(conn, names[i]))
            len += (size_t)snprintf(text + len, 64 - len, "%s%s", len ? " " : "", names[i]);
    return slice_of(text, len);
}

/* AMQPLAIN: a field table without its length prefix, with LOGIN and PASSWORD. */
static bool read_amqplain(struct slice response, struct slice *name, struct slice *password)
{
    struct field field;
    return table_check(response) && table_find(response, "LOGIN", &field) &&
           field_string(&field, name) && table_find(response, "PASSWORD", &field) &&
           field_string(&field, password);
}

/* The user's name as the certificate has it; NULL and the reason otherwise. */
static const char *name_in_certificate(const struct connection *conn, const char **why)
{
    const struct config_auth *auth = &conn->server->config->auth;
    const struct certificate *certificate = conn->peer->certificate;
    const char *name = NULL;
    *why = "the client presented no certificate";
    if (!certificate)
        return NULL;
    if (auth->cert_name == CERT_SUBJECT)
        name = certificate->subject;
    else if (auth->cert_name == CERT_COMMON_NAME)
        name = certificate->common_name;
    else
        name = certificate_san(certificate, (enum san_kind)auth->san_kind, auth->san_index);
    *why = "the certificate has no such name";
    return name && *name ? name : NULL;
}

static bool read_response(struct connection *conn, struct slice mechanism, struct slice response,
                          struct attempt *attempt, const char **why)
{
    const struct config_auth *auth = &conn->server->config->auth;
    struct slice name = SLICE(""), password = SLICE("");
    bool parsed = true;
    *why = "malformed response";
    if (slice_is(mechanism, "PLAIN") && offers(conn, "PLAIN")) {
        parsed = sasl_plain(response, &name, &password);
    } else if (slice_is(mechanism, "AMQPLAIN") && offers(conn, "AMQPLAIN")) {
        parsed = read_amqplain(response, &name, &password);
    } else if (slice_is(mechanism, "EXTERNAL") && offers(conn, "EXTERNAL")) {
        const char *text = name_in_certificate(conn, why);
        parsed = attempt->certified = text != NULL;
        name = slice_of_string(text ? text : "");
    } else if (slice_is(mechanism, "ANONYMOUS") && offers(conn, "ANONYMOUS")) {
        name = slice_of_string(auth->anonymous_user);
        password = slice_of_string(auth->anonymous_pass);
    } else {
        *why = "this mechanism is not offered";
        return false;
    }
    if (!parsed)
        return false;
    if (!attempt->certified && password.len == 0) {
        *why = "a blank password";
        return false;
    }
    attempt->user = slice_copy(name);
    attempt->password = slice_copy(password);
    return true;
}

/* --- the chain --- */

/* What a backend that is not ours is asked: the password, or, when another has checked that, the rights. */
static enum answer_kind ask(struct connection *conn, enum config_backend_name backend)
{
    struct attempt *attempt = conn->login.attempt;
    struct inquiry about = {.kind = attempt->authorizing ? QUESTION_USER : QUESTION_LOGIN,
                            .user = attempt->user,
                            .password = attempt->password};
    if (backend == CONFIG_OAUTH2 && attempt->password.len == 0)
        return ANSWER_NO; /* a certificate is no token */
    const struct answer *known =
        link_of(conn)->cached && !attempt->renews ? ask_cached_login(conn->server, &about) : NULL;
    if (!known)
        return ask_login(conn, backend, &about) ? ANSWER_LATER : ANSWER_NO;
    replace(&attempt->user, known->user.len ? known->user : attempt->user);
    replace(&attempt->tags, known->tags);
    return known->allowed ? ANSWER_YES : ANSWER_NO;
}

/* Our own users; one who comes with a certificate, or whom another backend has checked, needs no
 * password. */
static enum answer_kind look_up(struct connection *conn)
{
    struct attempt *attempt = conn->login.attempt;
    const struct users *users = &conn->server->users;
    const struct user *user = attempt->authorizing || attempt->certified
                                  ? user_find(users, attempt->user)
                                  : user_authenticate(users, attempt->user, attempt->password);
    if (user && !attempt->authorizing)
        replace(&attempt->tags, user->tags);
    return user ? ANSWER_YES : ANSWER_NO;
}

/* The password was right and the rights are known: the connection is this user's. */
static void become(struct connection *conn)
{
    struct attempt *attempt = conn->login.attempt;
    const struct config_link *link = link_of(conn);
    struct server *s = conn->server;
    struct user *user = NULL;
    if (link->authz == CONFIG_INTERNAL) {
        user = user_find(&s->users, attempt->user);
        assert(user);
        user_hold(user);
    } else {
        user = user_new_outsider(attempt->user, attempt->tags, rand_u64(&s->rand));
    }
    conn->login.authn = link->authn;
    conn->login.authz = link->authz;
    conn->login.cached = link->cached;
    conn->login.grant = attempt->grant;
    attempt->grant = NULL;
    if (link->authz == CONFIG_HTTP)
        ask_init_answers(&conn->login.answers, LOGIN_ANSWERS_MAX, rand_u64(&s->rand));
    conn->user = user;
    list_push_back(&user->connections, &conn->login.of_user);
    if (conn->login.grant)
        watch_expiry(conn);
}

/* Goes on after an answer; true when it was the last one that was needed. */
static bool advance(struct connection *conn, bool allowed)
{
    struct attempt *attempt = conn->login.attempt;
    const struct config_link *link = link_of(conn);
    if (allowed && (attempt->authorizing || link->authn == link->authz))
        return true;
    if (allowed) {
        attempt->authorizing = true;
    } else {
        attempt->authorizing = false;
        attempt->link++;
        grant_drop(&attempt->grant);
    }
    return false;
}

static enum login_result proceed(struct connection *conn)
{
    struct attempt *attempt = conn->login.attempt;
    while (attempt->link < conn->server->logins.chain.count) {
        const struct config_link *link = link_of(conn);
        enum config_backend_name backend = attempt->authorizing ? link->authz : link->authn;
        enum answer_kind answer = backend == CONFIG_INTERNAL ? look_up(conn) : ask(conn, backend);
        if (answer == ANSWER_LATER)
            return LOGIN_WAITS;
        if (advance(conn, answer == ANSWER_YES))
            return LOGIN_PASSED;
    }
    return LOGIN_REFUSED;
}

/* What comes at the end of every attempt. Of one that failed the reason is kept until the connection
 * ends. */
static enum login_result conclude(struct connection *conn, enum login_result result, const char **why)
{
    struct server *s = conn->server;
    struct attempt *attempt = conn->login.attempt;
    if (result == LOGIN_WAITS)
        return result;
    *why = attempt->why[0] ? attempt->why : "invalid credentials";
    if (result == LOGIN_REFUSED)
        guard_failed(&s->logins.guard, conn->peer->peer_host, server_now_ms(s));
    if (result == LOGIN_PASSED && !conn->peer->loopback &&
        tags_have(slice_of_string(s->config->loopback_users), attempt->user)) {
        *why = "this user can only connect from localhost";
        result = LOGIN_REFUSED;
    }
    if (result == LOGIN_PASSED) {
        become(conn);
        login_drop_attempt(conn);
    } else {
        wipe_password(attempt);
    }
    return result;
}

/* --- from start-ok to the end --- */

static void take_turn(struct timer *timer)
{
    struct connection *conn = container_of(timer, struct connection, login.timer);
    const char *why = NULL;
    flow_resume(conn, FLOW_ASK);
    enum login_result result = conclude(conn, proceed(conn), &why);
    if (result != LOGIN_WAITS)
        connection_logged_in(conn, result == LOGIN_PASSED, why);
}

enum login_result login_start(struct connection *conn, struct slice mechanism, struct slice response,
                              const char **why)
{
    struct server *s = conn->server;
    uint64_t now = server_now_ms(s);
    struct attempt read = {0};
    assert(!conn->user && !conn->login.attempt);
    if (!read_response(conn, mechanism, response, &read, why))
        return LOGIN_REFUSED;
    conn->login.attempt = mem_copy(&read, sizeof(read));
    uint64_t turn = guard_turn_ms(&s->logins.guard, conn->peer->peer_host, now);
    if (turn == GUARD_NEVER) {
        wipe_password(conn->login.attempt);
        *why = "too many wrong passwords came from this address";
        return LOGIN_REFUSED;
    }
    if (turn == now)
        return conclude(conn, proceed(conn), why);
    conn->login.timer.fire = take_turn;
    timer_set(&s->timers, &conn->login.timer, turn);
    flow_pause(conn, FLOW_ASK);
    return LOGIN_WAITS;
}

/* --- tokens that are renewed --- */

static uint64_t wall_s(const struct server *s)
{
    return s->clock.wall_us(s->clock.arg) / 1000000;
}

/* The clock on the wall may have been set meanwhile: it is looked at again. */
static void expire(struct timer *timer)
{
    struct connection *conn = container_of(timer, struct connection, login.timer);
    struct server *s = conn->server;
    if (conn->login.grant->expires_s > wall_s(s)) {
        watch_expiry(conn);
        return;
    }
    chatter_line(s, conn->peer->peer_host, LOG_WARNING, conn->id,
             "closing AMQP connection (%s) of user '%.*s': credential has expired", conn->name,
             SLICE_ARG(conn->user->name));
    connection_force_close(conn, "credential expired");
}

static void watch_expiry(struct connection *conn)
{
    struct server *s = conn->server;
    uint64_t now = wall_s(s), expires = conn->login.grant->expires_s;
    uint64_t left = expires > now ? expires - now : 0;
    if (expires == UINT64_MAX)
        return;
    conn->login.timer.fire = expire;
    timer_set(&s->timers, &conn->login.timer,
              server_now_ms(s) + (left < EXPIRY_LOOK_S ? left : EXPIRY_LOOK_S) * 1000);
}

enum login_result login_renew(struct connection *conn, struct slice secret, const char **why)
{
    const struct config_chain *chain = &conn->server->logins.chain;
    struct attempt *attempt;
    assert(conn->user && !conn->login.attempt);
    if (!conn->login.grant) /* as RabbitMQ's other backends: their users' sessions do not expire */
        return LOGIN_PASSED;
    attempt = conn->login.attempt = mem_zalloc(sizeof(*attempt));
    attempt->renews = true;
    attempt->user = slice_copy(conn->user->name);
    attempt->password = slice_copy(secret);
    while (chain->links[attempt->link].authz != CONFIG_OAUTH2)
        attempt->link++;
    if (ask(conn, CONFIG_OAUTH2) == ANSWER_LATER)
        return LOGIN_WAITS;
    login_drop_attempt(conn);
    *why = "its backend takes no more questions";
    return LOGIN_REFUSED;
}

static void renew(struct connection *conn, struct question *question)
{
    struct grant *grant = question->grant;
    const char *why = NULL;
    if (question->verdict != VERDICT_ALLOW)
        why = question->reason;
    else if (!slice_equal(question->user, conn->user->name))
        why = "the new token is somebody else's";
    else if (!grant_allows_vhost(grant, conn->vhost->name))
        why = "the new token does not lead into the vhost";
    login_drop_attempt(conn);
    if (!why) {
        question->grant = conn->login.grant;
        conn->login.grant = grant;
        user_set_tags(conn->user, question->tags);
        timer_clear(&conn->server->timers, &conn->login.timer);
        watch_expiry(conn);
        router_changed(&conn->vhost->router); /* and with it what channels remember */
    }
    flow_resume(conn, FLOW_ASK);
    connection_renewed(conn, why);
}

void login_answered(struct connection *conn, struct question *question)
{
    struct attempt *attempt = conn->login.attempt;
    bool allowed = question->verdict == VERDICT_ALLOW;
    const char *why = NULL;
    if (attempt->renews) {
        renew(conn, question);
        return;
    }
    flow_resume(conn, FLOW_ASK);
    if (!allowed)
        snprintf(attempt->why, sizeof(attempt->why), "%.250s", question->reason);
    if (allowed && !attempt->authorizing) {
        replace(&attempt->user, question->user);
        attempt->grant = question->grant;
        question->grant = NULL;
    }
    if (allowed && question->tags.len)
        replace(&attempt->tags, question->tags);
    enum login_result result = advance(conn, allowed) ? LOGIN_PASSED : proceed(conn);
    result = conclude(conn, result, &why);
    if (result != LOGIN_WAITS)
        connection_logged_in(conn, result == LOGIN_PASSED, why);
}

bool login_shares_answers(const struct connection *conn)
{
    return conn->login.attempt ? !conn->login.attempt->renews && link_of(conn)->cached
                               : conn->login.cached;
}

struct slice login_name(const struct connection *conn)
{
    if (conn->user)
        return conn->user->name;
    return conn->login.attempt ? conn->login.attempt->user : SLICE("");
}
