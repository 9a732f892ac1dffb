/* vhost.h - a virtual host: its exchanges and queues by name, and their lives.
 * Durable things are given to the store here, in the same call that changes them in memory. */
#ifndef BROKER_VHOST_H
#define BROKER_VHOST_H

#include "base/buf.h"
#include "base/walk.h"
#include "broker/policies.h"
#include "broker/server.h"
#include "broker/outbox.h"
#include "exchange/route.h"

struct vhost {
    struct server *server;
    struct slice name;      /* own memory */
    struct slice default_queue_type; /* own memory; of queues declared without one, "" = the server's */
    struct map exchanges;   /* name -> struct exchange */
    struct map queues;      /* name -> struct queue */
    struct map replies;     /* address of a direct reply-to consumer -> struct reply (reply.c) */
    struct router router;
    struct exchange *default_exchange; /* its bindings are all queues, in the order of their making */
    struct list exchange_list;         /* exchange.of_vhost, in that order too */
    struct slice metadata;  /* a JSON object, own memory; "" = {} */
    struct limits limits;
    struct list connections;       /* login.of_vhost */
    uint64_t connection_count;
    struct policies policies;
    struct outbox outbox;
    size_t detached;    /* channels without a connection that go on in it (giveback.c) */
    struct list ending; /* in server.ending while it is deleted, a slice a turn */
    bool traced; /* the firehose is on (trace.h) */
};

/* With the pre-declared exchanges (semantics 1.3). The store is not told. */
struct vhost *vhost_new(struct server *s, struct slice name);
/* Without touching the store. */
void vhost_free(struct vhost **v);
/* With everything in it, here and in the store; its connections must have left. It is not found any
 * more, but its name is free only when all of it is gone: at once, or after some turns when there
 * is much in it. */
void vhost_delete(struct vhost **v);
/* Goes on with the vhosts that are being deleted: a slice, or all of it. */
void vhost_end_some(struct server *s, bool all);

static inline struct exchange *vhost_find_exchange(const struct vhost *v, struct slice name)
{
    return map_get(&v->exchanges, name);
}

static inline struct queue *vhost_find_queue(const struct vhost *v, struct slice name)
{
    return map_get(&v->queues, name);
}

static inline struct queue *queue_of_dest(struct dest *dest)
{
    assert(dest->kind == DEST_QUEUE);
    return container_of(dest, struct queue, dest);
}

struct exchange_properties {
    const struct exchange_type *type;
    struct slice args;
    bool durable, auto_delete, internal;
};

struct exchange *vhost_add_exchange(struct vhost *v, struct slice name,
                                    const struct exchange_properties *properties, bool stored);
/* With all bindings from and to it; auto-delete exchanges that lose their last binding by that go too. */
void vhost_delete_exchange(struct vhost *v, struct exchange *x);

struct queue_properties {
    struct slice args;
    bool durable, auto_delete;
    void *exclusive_owner;
    uint64_t id; /* 0 = a new one */
};

struct queue *vhost_add_queue(struct vhost *v, struct slice name,
                              const struct queue_properties *properties, bool stored);
/* So many queues are about to be added. */
void vhost_expect_queues(struct vhost *v, size_t count);
/* Puts a row like that of a queue into the store, or takes it out, so that the store knows the id; the
 * argument says whose it is. */
void vhost_define_keeper(struct vhost *v, const struct exchange *x, const char *prefix, const char *argument,
                         uint64_t id, bool there);
/* The same for the calendar of an exchange that delays. */
void vhost_define_calendar(struct vhost *v, const struct exchange *x, uint64_t id, bool there);
/* Takes a JSON object in; the type of queues that say none is in it. */
void vhost_set_metadata(struct vhost *v, struct slice metadata);
/* What is chosen of it from now on: a policy has changed. */
void vhost_configure_queue(struct vhost *v, struct queue *q, const struct settings *settings);
/* Its consumers are cancelled (with notice), its bindings removed, its messages dropped. */
void vhost_delete_queue(struct vhost *v, struct queue *q);
/* The last consumer may have gone: deletes an auto-delete queue. */
void vhost_consumer_gone(struct vhost *v, struct queue *q);

/* False: the exchange type refuses (406). Nothing happens when the binding is there already. */
bool vhost_bind(struct vhost *v, struct exchange *source, struct dest *dest, struct slice key,
                struct slice args, bool stored, struct fault *f);
void vhost_unbind(struct vhost *v, struct binding *binding);

/* True when the thing is kept in the store. */
static inline bool queue_is_stored(const struct queue *q)
{
    return q->durable;
}

/* Tests: checks every queue and binding (I3-I6). */
void vhost_check(const struct vhost *v);

#endif
