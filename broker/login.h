/* login.h - who is behind a connection: from a SASL response to a user, by way of the chain of backends
 * (auth_backends.*), into a vhost, within limits. */
#ifndef BROKER_LOGIN_H
#define BROKER_LOGIN_H

#include "base/list.h"
#include "base/slice.h"
#include "base/timer.h"
#include "broker/ask.h"
#include "protocol/fault.h"

struct attempt; /* login.c: a login under way */
struct user;
struct vhost;

enum { LOGIN_ANSWERS_MAX = 64, LOGIN_NAME_SIZE = 64 };

/* A connection's part. */
struct login {
    struct list of_user;  /* in user.connections, from login on */
    struct list of_vhost; /* in vhost.connections, while it is open */
    enum config_backend_name authn, authz; /* who has checked the password; who knows the user's rights */
    bool cached;                    /* and the backend cache stands before it */
    struct grant *grant;            /* what his token says, with oauth2 */
    struct answer_cache answers;    /* what authz has said, with http */
    struct slice said;              /* why the last answer of these was no, if it may be told; own memory */
    struct question *asked;         /* on its way; the connection is paused */
    struct attempt *attempt;        /* until there is a user, or while a token is renewed */
    struct timer timer;             /* the turn of an attempt, then the token's expiry */
    uint16_t asked_channel;         /* whose frame waits for the answer */
    char mechanism[24];
    char generated[LOGIN_NAME_SIZE]; /* a queue's name that was made before it was asked about */
    struct connection_info *info; /* what the client said of itself, own memory; NULL until start-ok */
};

enum login_result { LOGIN_PASSED, LOGIN_REFUSED, LOGIN_WAITS };

/* A start-ok. WAITS: connection_logged_in will be called. REFUSED: `why` has half a sentence for the log.
 */
enum login_result login_start(struct connection *conn, struct slice mechanism, struct slice response,
                              const char **why);
/* connection.update-secret; with WAITS connection_renewed will be called. */
enum login_result login_renew(struct connection *conn, struct slice secret, const char **why);
/* Who it is, or said it was, "" when that could not be read. */
struct slice login_name(const struct connection *conn);
/* What goes before login.said in an error text (auth_http.authorization_failure_disclosure). */
const char *login_said_by(const struct connection *conn);
/* For login_leave: the attempt ends, whether or not its backend has answered. */
void login_drop_attempt(struct connection *conn);
/* A backend answered a question of the attempt. */
void login_answered(struct connection *conn, struct question *question);
/* SASL mechanisms that this connection may use, separated by blanks; `text` has room for 64 bytes. */
struct slice login_mechanisms(const struct connection *conn, char text[64]);
/* True when the backend cache may keep what is answered to this connection. */
bool login_shares_answers(const struct connection *conn);

/* Takes the connection into the vhost when the user may and no limit is reached (530). False without a
 * fault: its backend is being asked. */
bool login_enter(struct connection *conn, struct vhost *v, struct fault *f);
/* The connection ends, or is about to: it counts no more, and nothing is awaited. Any number of times. */
void login_leave(struct connection *conn);
/* After a change of his permissions in the vhost, or of all of them (NULL): asks them anew. */
void login_refresh(struct user *user, const struct vhost *v);

/* handshake.c: the login that went on in the background has passed, or was refused (`why` for the log);
 * the secret that was to be updated is (NULL), or was refused. */
void connection_logged_in(struct connection *conn, bool passed, const char *why);
void connection_renewed(struct connection *conn, const char *why);

#endif
