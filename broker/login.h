/* login.h - who is behind a connection: from a SASL response to a user, into a vhost, within limits. */
#ifndef BROKER_LOGIN_H
#define BROKER_LOGIN_H

#include "base/list.h"
#include "base/slice.h"
#include "protocol/fault.h"

struct connection;
struct user;
struct vhost;

/* A connection's part. */
struct login {
    struct list of_user;  /* in user.connections, from login on */
    struct list of_vhost; /* in vhost.connections, while it is open */
    struct connection_info *info; /* what the client said of itself, own memory; NULL until start-ok */
};

/* The user who passed; the connection holds a reference from now on. */
void login_as(struct connection *conn, struct user *user);
/* Takes the connection into the vhost when the user may and no limit is reached (530). */
bool login_enter(struct connection *conn, struct vhost *v, struct fault *f);
/* The connection ends, or is about to: it counts no more. Any number of times. */
void login_leave(struct connection *conn);
/* After a change of his permissions in the vhost, or of all of them (NULL): asks them anew. */
void login_refresh(struct user *user, const struct vhost *v);

#endif
