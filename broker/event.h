/* event.h - what happens in the server, told to whoever binds to the exchange amq.rabbitmq.event of the
 * default vhost (RabbitMQ's page "Event Exchange"): the key says what, headers say of whom, the body is
 * empty. */
#ifndef BROKER_EVENT_H
#define BROKER_EVENT_H

#include "base/buf.h"
#include "base/slice.h"

struct binding;
struct channel;
struct connection;
struct consumer;
struct exchange;
struct limits;
struct queue;
struct server;
struct vhost;

#define EVENT_EXCHANGE "amq.rabbitmq.event"

/* Bytes of a client's table that an event or a trace takes in. Who looks on has to be sent all of it in one
 * frame, and would be stopped by one that is too large (frame_max, 128 KB). */
enum { EVENT_TABLE_MAX = 64 * 1024 };

/* Part of the server. */
struct events {
    struct vhost *vhost;      /* where the exchange is, NULL before it is made */
    struct connection *actor; /* whose input is being taken, NULL = nobody's */
    bool by_ctl;              /* a request of the control socket is being done */
    struct buf headers, props; /* scratch */
};

/* A header of an event: 'S' text, 'l' number, 't' flag, 'F' table, 'A' array; 0 = it is left out. */
struct event_field {
    const char *name;
    char type;
    struct slice text;
    int64_t number;
};

#define EVENT_TEXT(name, value) ((struct event_field){name, 'S', value, 0})
#define EVENT_NUMBER(name, value) ((struct event_field){name, 'l', {0}, (int64_t)(value)})
#define EVENT_FLAG(name, value) ((struct event_field){name, 't', {0}, (value) ? 1 : 0})
#define EVENT_TABLE(name, value) ((struct event_field){name, 'F', value, 0})
#define EVENT_ARRAY(name, value) ((struct event_field){name, 'A', value, 0})

/* True when somebody is bound to the exchange: else nothing needs to be put together. */
bool event_wanted(const struct server *s);
/* Publishes, at the end of what is being done; the fields are copied, and timestamp_in_ms and
 * user_who_performed_action are added. Does nothing when nobody wants it. */
void event_emit(struct server *s, const char *key, const struct event_field *fields, size_t count);

/* event(s, "vhost.deleted", EVENT_TEXT("name", name), …) */
#define event(s, key, ...)                                                                          \
    do {                                                                                            \
        if (event_wanted(s)) {                                                                      \
            const struct event_field fields_[] = {__VA_ARGS__};                                     \
            event_emit(s, key, fields_, sizeof(fields_) / sizeof(fields_[0]));                      \
        }                                                                                           \
    } while (0)

/* The events of the things that a server is made of; `key` is "queue.created" and the like. */
void event_vhost(const struct vhost *v, const char *key);
void event_vhost_down(const struct vhost *v);
void event_exchange(struct vhost *v, const struct exchange *x, const char *key);
void event_queue(struct vhost *v, const struct queue *q, const char *key);
void event_binding(struct vhost *v, const struct binding *binding, const char *key);
void event_connection(struct connection *conn, const char *key);
void event_channel(struct channel *ch, const char *key);
void event_consumer(const struct consumer *c, const char *key);
/* user.authentication.success, or failure with the reason. */
void event_login(struct connection *conn, struct slice name, struct slice mechanism, const char *why);
void event_alarm(struct server *s, const char *source, bool on);
/* "user.limits" or "vhost.limits": what they are now, and `owner`, whose. Nothing set: they are cleared. */
void event_limits(struct server *s, const char *what, const struct event_field *owner,
                  const struct limits *limits);

void event_free(struct events *events);

#endif
