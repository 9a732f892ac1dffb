/* ask.h - questions of connections to backends that take their time. The answer is there at once when it is
 * known; else the connection is paused, and does what it was about to do again when the answer has come. */
#ifndef BROKER_ASK_H
#define BROKER_ASK_H

#include "auth/backend.h"
#include "auth/grant.h"
#include "auth/http_backend.h"
#include "base/list.h"
#include "base/map.h"
#include "broker/config.h"
#include "broker/guard.h"

struct connection;
struct server;
struct tokens;

/* Answers by what was asked, for a while. */
struct answer_cache {
    struct map by_key;
    struct list by_age;
    size_t capacity;
};

struct answer {
    struct list age;
    struct slice key; /* own memory */
    uint64_t until_ms;
    bool allowed;
    struct slice said;       /* of a refusal that may be disclosed; own memory */
    unsigned uses;           /* how often it may still be given; 0 = any number of times */
    struct slice user, tags; /* of a login; own memory */
};

/* How users get in: hangs from the server. */
struct logins {
    struct config_chain chain;
    struct http_backend_settings http;
    char http_ciphers[CONFIG_CIPHERS_MAX]; /* a part of them */
    struct tokens *tokens;                  /* OAuth 2's settings; NULL = not used */
    struct backend *backends[CONFIG_CACHE]; /* by enum config_backend_name; NULL = not used */
    struct answer_cache cache;              /* of the backend cache */
    struct guard guard;
    uint64_t passed, refused;
};

enum answer_kind { ANSWER_NO, ANSWER_YES, ANSWER_LATER };

/* Starts the backends that the chain names. False: the reason is in the log. */
bool ask_open(struct server *s);
void ask_close(struct server *s);

void ask_init_answers(struct answer_cache *cache, size_t capacity, uint64_t seed);
void ask_free_answers(struct answer_cache *cache);

/* May the connection's user do that? LATER pauses the connection, NO may have said why: login.said. */
enum answer_kind ask_access(struct connection *conn, const struct inquiry *about);
/* Asks for a login; the answer comes to login_answered. False when the backend takes no more questions. */
bool ask_login(struct connection *conn, enum config_backend_name backend, const struct inquiry *about);
/* The answer to a login that the backend cache has, NULL = none. */
const struct answer *ask_cached_login(struct server *s, const struct inquiry *about);
/* Nobody waits for the connection's question any more. */
void ask_forget(struct connection *conn);
/* Takes what the backends have answered. */
void ask_arrive(struct server *s);

#endif
