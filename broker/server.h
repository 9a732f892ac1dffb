/* server.h - the server: everything hangs from here, and one thread owns it all.
 * It runs in turns: take all input, then act once. See server_turn. */
#ifndef BROKER_SERVER_H
#define BROKER_SERVER_H

#include "auth/users.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/map.h"
#include "base/rand.h"
#include "base/slab.h"
#include "base/timer.h"
#include "broker/alarm.h"
#include "broker/bounds.h"
#include "broker/ask.h"
#include "broker/chatter.h"
#include "broker/company.h"
#include "broker/config.h"
#include "broker/control.h"
#include "broker/parameters.h"
#include "broker/gate.h"
#include "broker/giveback.h"
#include "broker/event.h"
#include "broker/intercept.h"
#include "net/listener.h"
#include "net/loop.h"
#include "net/net.h"
#include "queue/queue.h"
#include "store/store.h"

struct connection;
struct vhost;

/* The clock of deadlines: see expire.h. */
struct server_expire {
    uint64_t offset_ms; /* milliseconds since 1970 when the monotonic clock was 0, as at the start */
    bool clock_is_read; /* in this turn */
};

struct server_counters {
    uint64_t connections_opened, connections_closed;
    uint64_t channels_opened, channels_closed;
    uint64_t published, returned, confirmed, dead_lettered;
};

struct server {
    const struct config *config;
    struct log log;
    struct clock clock;
    struct rand rand;
    struct timers timers;
    struct net net;
    struct loop *loop;            /* NULL in the simulator */
    struct gate gate;             /* listeners, TLS, limits of connections */
    struct store *store;
    struct users users;
    struct map vhosts;            /* name -> vhost */
    struct map memories;          /* id -> what an exchange remembers of messages (duplicate.c) */
    struct slab_pool messages;
    struct queue_home home;
    struct list connections;      /* connection.link */
    struct list doomed;           /* connection.doomed: freed at the end of the turn */
    struct list barred;           /* connection.barred: output waits for the disk */
    struct list throttled;        /* flow.throttled: not read until the journal has caught up */
    struct list slack;            /* channel.slack: asked again when the queues are drained */
    struct list confirming, confirmable; /* channel.confirming: waiting for the disk / to be sent now */
    struct list outboxes;         /* outbox.link of vhosts in which the server has something to publish */
    struct list getting;          /* connection.get.link: basic.get that waits for a page */
    struct list ending;           /* vhost.ending: being deleted */
    uint64_t pace_due_ms;         /* when the last paced publisher is to be read again */
    uint64_t durable_seen;        /* store_durable at the last confirm_durable */
    uint64_t defined_batch;       /* the last batch with a change of definitions */
    uint64_t next_connection_id, last_exchange_id;
    uint64_t next_queue_id;       /* the journal's names of queues: not used again after a restart either */
    struct stored_target *targets; /* scratch of publish */
    size_t targets_capacity;
    struct buf told;              /* scratch of deliver */
    struct dest **screened;       /* scratch of duplicate_screen */
    size_t screened_capacity;
    struct server_counters counters;
    struct alarms alarms;
    struct bounds bounds;         /* on what is declared */
    struct company company;       /* is anybody here who wants little and waits for it? */
    struct givings giving;        /* what takes channels more than a turn */
    struct server_expire expire;
    struct logins logins;
    struct chatter chatter;       /* bounds what the log says of strangers */
    struct parameters parameters;
    struct control control;
    struct intercept intercept;
    struct events events;
    struct timer stop_timer;
    bool stopping;                /* connections are being closed */
};

/* What differs between a process and the simulator. */
struct server_options {
    const struct config *config;
    struct clock clock;
    struct rand rand;
    const struct io *io;      /* NULL = the operating system's */
    const struct probe *probe; /* NULL = the system's; when simulated, none: no alarm goes off */
    FILE *console;            /* NULL = no log there */
    bool simulated;           /* no loop, no listeners, no disk thread */
    size_t segment_bytes;     /* of a journal segment; 0 = the store's default */
    size_t dead_letters_max;  /* that are published in a turn; 0 = DEAD_LETTERS_MAX */
    size_t giveback_max;      /* that channels give back in a turn; 0 = GIVEBACK_TURN */
};

/* Opens the data directory, recovers, makes the default user and vhost on the first start. False when it
 * cannot start: the reason is in the log. */
bool server_open(struct server *s, const struct server_options *options);
/* Everything written, everything freed. */
void server_close(struct server *s);
/* The simulator's kill -9: nothing more is written. */
void server_abandon(struct server *s);

/* The whole life of the process; returns its exit status. */
int server_run(const struct config *config);

/* One turn without waiting for events: what a turn does after its input. */
void server_act(struct server *s);
/* Milliseconds until something is due, 0 = at once, -1 = nothing is. */
int server_patience_ms(struct server *s);

/* A transport with a new peer behind it. */
struct connection *server_accept(struct server *s, const struct transport *transport, void *io,
                                 const struct peer *peer);

/* Starts the orderly end: no new connections, 320 to all clients. */
void server_stop(struct server *s);

/* "leveret@" and the name of the host, as it is known to clients and in the log. */
enum { SERVER_NODE_SIZE = 128 };
void server_node(char name[SERVER_NODE_SIZE]);

struct vhost *server_find_vhost(const struct server *s, struct slice name);

static inline uint64_t server_now_ms(const struct server *s)
{
    return clock_ms(&s->clock);
}

#endif
