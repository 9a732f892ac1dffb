/* actor.h - a user of the simulated broker: does random things over one client, and tells the model
 * what it did, what it was told, and what can no longer be told. */
#ifndef TESTS_SIM_ACTOR_H
#define TESTS_SIM_ACTOR_H

#include "base/ring.h"
#include "tests/sim/client.h"
#include "tests/sim/model.h"

enum { ACTOR_CONSUMERS = 3, ACTOR_PENDING = 8 };

/* A request that awaits its answer. */
struct pending {
    uint32_t request, reply; /* method ids */
    bool has_op;
    struct model_op
        op; /* has_op: what it changes; else what must have been there, clean = it was */
    int queue, consumer; /* -1 = none */
    bool no_ack;
    uint64_t fence; /* plain publishes before it */
};

struct subscriber {
    bool active, no_ack, recovering;
    int queue;
    uint16_t prefetch;
    uint32_t serial;         /* in its tag */
    struct model_op removal; /* of an auto-delete queue: may come when it goes */
};

struct held {
    uint64_t tag, offset; /* offset: of the settlement in the client's output */
    uint32_t id;
    int queue;
    uint32_t consumer; /* serial, 0 = fetched */
    bool rejected;
    enum { HELD, HELD_SETTLING, HELD_TX_SETTLE, HELD_TX_REQUEUE } state;
};

RING(id_ring, uint32_t);

/* In a ring of what was sent: the message was sent before. */
#define ACTOR_REPEATED (1u << 31)

/* The last message of a publisher that came from a queue for the first time. */
struct fresh {
    int queue;
    uint32_t publisher, id;
    unsigned level; /* of priority */
};

enum actor_channel_state { CHANNEL_OFF, CHANNEL_UP, CHANNEL_ENDING };

struct actor_channel {
    struct actor *actor;
    uint16_t number;
    enum actor_channel_state state;
    enum { MODE_PLAIN, MODE_CONFIRM, MODE_TX } mode;
    uint32_t publisher;
    uint64_t published, resolved; /* publishes sent, and those of which the outcome is known */
    struct id_ring sent;          /* from resolved + 1 on; of a transaction: not committed */
    struct pending pending[ACTOR_PENDING];
    unsigned pending_count;
    struct subscriber subscribers[ACTOR_CONSUMERS];
    struct held *held;
    size_t held_count, held_capacity;
    struct fresh *fresh;
    size_t fresh_count;
    uint64_t last_tag;
    uint16_t prefetch;
    bool recovering, committing;
};

struct actor {
    struct client client;
    struct model *model;
    struct world *world;
    unsigned index;
    bool closing; /* connection.close was sent or answered */
    bool dying;   /* our end is closed, the server's may not be */
    bool exclusives[MODEL_QUEUES];
    struct model_op exclusive_ops[MODEL_QUEUES];
    struct actor_channel channels[CLIENT_CHANNELS];
};

void actor_init(struct actor *actor, struct world *world, struct model *model, unsigned index);
void actor_free(struct actor *actor);

/* Does something, or nothing. */
void actor_step(struct actor *actor);
/* Moves bytes. */
void actor_turn(struct actor *actor);
/* After the server's turn: what is settled there, which connections are gone. */
void actor_look(struct actor *actor);
/* The server was killed or has closed: nothing more comes. */
void actor_bury(struct actor *actor);
/* Ends the connection in some way. */
void actor_leave(struct actor *actor);

/* True when it awaits no answer and no confirm. */
bool actor_is_quiet(const struct actor *actor);
/* True when it has no connection, nor has the server one of it. */
bool actor_is_off(const struct actor *actor);

/* For actor_ops.c. */
struct pending *actor_expect(struct actor_channel *ch, uint32_t request, uint32_t reply);
void actor_send(struct actor_channel *ch, const struct method *m);

#endif
