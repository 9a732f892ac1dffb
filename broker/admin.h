/* admin.h - what an administrator changes: users, vhosts, permissions, limits. The control socket, the
 * import of definitions and the HTTP API all come through here.
 *
 * Each function checks, then changes memory, the store and living connections in one call. False: nothing
 * was changed, and `e` says why. True: the change is in memory, and in the batch server.defined_batch of
 * the store; it is on disk when server.durable_seen has reached that. Names are UTF-8 of at most 255
 * bytes; nothing is kept of what is passed. Passwords are hashed here and appear nowhere else. */
#ifndef BROKER_ADMIN_H
#define BROKER_ADMIN_H

#include "broker/server.h"

enum admin_code {
    ADMIN_MISSING = 1, /* there is no such user, vhost, permission, exchange */
    ADMIN_EXISTS,      /* there is one already */
    ADMIN_INVALID,     /* a name, pattern, limit or password that cannot be */
    ADMIN_REFUSED,     /* a wrong password; one too many */
};

struct admin_error {
    enum admin_code code;
    char text[400]; /* one sentence without a full stop, never with a password */
};

/* --- users (admin_user.c) --- */

/* `tags` is a comma separated list here and below, at most USER_TAGS_MAX of them. */
bool admin_add_user(struct server *s, struct slice name, struct slice password, struct slice tags,
                    struct admin_error *e);
/* With a hash that was made elsewhere; adds the user, or replaces hash and tags of the one there is.
 * `algorithm` is RabbitMQ's name of the hash, "" = SHA-256; an empty hash is that of a user without a
 * password. */
bool admin_put_user(struct server *s, struct slice name, struct slice password_hash,
                    struct slice algorithm, struct slice tags, struct admin_error *e);
/* His connections are closed with 320 "user 'u' is deleted". */
bool admin_delete_user(struct server *s, struct slice name, struct admin_error *e);
/* Living connections stay. */
bool admin_change_password(struct server *s, struct slice name, struct slice password,
                           struct admin_error *e);
/* No password fits from now on. */
bool admin_clear_password(struct server *s, struct slice name, struct admin_error *e);
/* Replaces all tags. */
bool admin_set_tags(struct server *s, struct slice name, struct slice tags, struct admin_error *e);
/* Is this his password? Whoever asks is an administrator: no delay, no counting. */
bool admin_authenticate_user(struct server *s, struct slice name, struct slice password,
                             struct admin_error *e);
/* {"max-connections": 10, "max-channels": 100}: those that are named are set, -1 is none. Connections and
 * channels there are stay. */
bool admin_set_user_limits(struct server *s, struct slice name, struct slice json,
                           struct admin_error *e);
/* `limit` is "max-connections", "max-channels" or "all". */
bool admin_clear_user_limits(struct server *s, struct slice name, struct slice limit,
                             struct admin_error *e);

/* --- permissions (admin_permission.c) --- */

/* Takes effect with the next operation of every connection. */
bool admin_set_permissions(struct server *s, struct slice vhost, struct slice user,
                           const struct slice patterns[3], struct admin_error *e);
/* Clearing what is not there is no error, as in RabbitMQ. Connections stay, and may do nothing any more. */
bool admin_clear_permissions(struct server *s, struct slice vhost, struct slice user,
                             struct admin_error *e);
/* patterns[ACCESS_WRITE] for publishing, [ACCESS_READ] for binding. The exchange need not be there yet. */
bool admin_set_topic_permissions(struct server *s, struct slice vhost, struct slice user,
                                 struct slice exchange, const struct slice patterns[3],
                                 struct admin_error *e);
/* An empty `exchange` means those of all exchanges. */
bool admin_clear_topic_permissions(struct server *s, struct slice vhost, struct slice user,
                                   struct slice exchange, struct admin_error *e);

/* --- vhosts (admin_vhost.c) --- */

/* `metadata` is a JSON object (description, tags, default_queue_type), "" = {}. */
bool admin_add_vhost(struct server *s, struct slice name, struct slice metadata,
                     struct admin_error *e);
bool admin_set_vhost_metadata(struct server *s, struct slice name, struct slice metadata,
                              struct admin_error *e);
/* With all that is in it; its connections are closed with 320 "vhost 'v' is deleted". */
bool admin_delete_vhost(struct server *s, struct slice name, struct admin_error *e);
/* {"max-connections": 10, "max-queues": 100} replaces all limits; {} or admin_clear_vhost_limits is none.
 */
bool admin_set_vhost_limits(struct server *s, struct slice name, struct slice json,
                            struct admin_error *e);
bool admin_clear_vhost_limits(struct server *s, struct slice name, struct admin_error *e);
/* `limit` is "max-connections" or "max-queues". */
bool admin_set_vhost_limit(struct server *s, struct slice name, struct slice limit, int64_t value,
                           struct admin_error *e);

/* --- for the files above --- */

bool admin_fail(struct admin_error *e, enum admin_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* 1 to 255 bytes of UTF-8. */
bool admin_check_name(struct slice name, const char *what, struct admin_error *e);
struct user *admin_find_user(struct server *s, struct slice name, struct admin_error *e);
struct vhost *admin_find_vhost(struct server *s, struct slice name, struct admin_error *e);
void admin_define(struct server *s, const struct definition *definition);
void admin_undefine(struct server *s, const struct definition *definition);
/* The user's row in the store, as the user is now. */
void admin_define_user(struct server *s, const struct user *user);
/* What channels remember of permissions in this vhost is asked anew. */
void admin_permissions_changed(struct server *s, struct user *user, struct slice vhost);

#endif
