/* model.h - what the server must, may and may not hold, as far as its clients can know.
 *
 * Clients run side by side, so an observer outside does not know the order in which the server
 * takes their requests. The model knows only what follows from answers: a thing is PRESENT or
 * ABSENT when the answer says so and no opposite request was under way meanwhile, else UNSURE. A
 * message must be in a queue when all on its way was PRESENT from before it was sent until it was
 * confirmed.
 *
 * cells: (message, queue)
 *   NONE      may be there if the queue is among `may`
 *   MUST      is there, on disk when the store's batch `batch` is
 *   MAYBE     was there; a purge, an ack or a crash may have taken it
 *   SETTLING  acked or rejected, not known to have arrived
 *   SETTLED   the server took the ack, on disk when `batch` is
 *   DROPPED   its queue was deleted: never again in memory, but a delivery may be under way
 *   GONE      never again */
#ifndef TESTS_SIM_MODEL_H
#define TESTS_SIM_MODEL_H

#include "base/buf.h"
#include "tests/sim/world.h"

enum {
    MODEL_QUEUES = 11,
    MODEL_EXCHANGES = 7, /* 0 is the default exchange */
    MODEL_DESTS = MODEL_QUEUES + MODEL_EXCHANGES,
    MODEL_KEYS = 4,   /* of bindings */
    MODEL_QUORUM = 0, /* a quorum queue, with so high a delivery limit that nothing is ever dropped */
    MODEL_MORTAL = 1, MODEL_HAUNTED = 2, /* queues with a ttl that dead-letter, one by a delivery limit too */
    MODEL_ONCE = 10, /* a queue that takes no message twice, and is never deleted */
    MODEL_ROUTES = 3, /* routing keys of messages, and their values of header h */
};

/* Where the dead letters of MODEL_HAUNTED go: a durable queue that the clients never look at. */
#define MODEL_TOMB "tomb"

enum known { ABSENT, PRESENT, UNSURE };

struct entity {
    enum known known;
    bool durable;
    unsigned adding, removing; /* requests under way */
    uint64_t added, removed;   /* requests ever sent */
};

struct model_queue {
    struct entity entity;
    const char *name;
    bool auto_delete, exclusive, leaky; /* leaky: may be consumed with no_ack */
    const char *limit;     /* an argument of its declaration, NULL = none */
    uint32_t limit_value;
    unsigned priority_max, priority_missing; /* 0 = first in, first out */
    bool quorum; /* what is in it survives, persistent or not */
    unsigned purging, leaks;
    uint64_t cleared; /* stamp of the last request that may empty it */
};

struct model_exchange {
    struct entity entity;
    const char *name, *type;
    bool auto_delete;
};

enum cell_state {
    CELL_NONE,
    CELL_MUST,
    CELL_MAYBE,
    CELL_SETTLING,
    CELL_SETTLED,
    CELL_DROPPED,
    CELL_GONE
};

struct cell {
    uint8_t state;
    bool seen;   /* by a client, in this life of the server */
    bool marked; /* flagged as redelivered after a restart */
    bool there;  /* scratch of model_check_memory */
    bool ever;   /* seen, whenever */
    bool buried; /* so it is in the tomb, if nobody emptied its queue */
    bool in_tomb; /* scratch of model_check_memory */
    uint64_t batch;
};

struct model_message {
    uint32_t publisher;             /* channel of publish, never reused */
    uint32_t size;                  /* of the body */
    uint8_t exchange, route, queue; /* queue: of the default exchange */
    uint8_t priority;
    bool persistent, mandatory, returned;
    bool taken; /* by MODEL_ONCE, as a disk said */
    bool flown, flying; /* it was given to the server; it still is on its way */
    uint32_t group;     /* of the transaction it was committed in, 0 = none */
    uint16_t must, may; /* queues */
    uint64_t stamp;
    struct cell cells[MODEL_QUEUES];
};

struct model_counts {
    uint64_t published, confirmed, delivered, redelivered, settled, returned;
    uint64_t flagged_unseen; /* flagged, and no client had read it */
    uint64_t paged;          /* messages that were looked at on disk */
    uint64_t buried; /* dead letters that were checked to be where they belong */
    uint64_t repeated; /* confirmed again, and nothing came of it */
    uint64_t limited; /* of these, by the delivery limit */
    uint64_t musts, checked; /* cells that were checked to be there; all cells */
};

struct model {
    struct world *world;
    struct model_queue queues[MODEL_QUEUES];
    struct model_exchange exchanges[MODEL_EXCHANGES];
    struct entity bindings[MODEL_EXCHANGES][MODEL_DESTS][MODEL_KEYS];
    struct model_message *messages; /* by id; 0 is none */
    uint32_t message_count, message_capacity;
    uint32_t *flying; /* ids of those published and not resolved */
    size_t flying_count, flying_capacity;
    uint64_t stamp;
    uint32_t publishers, floods; /* channels that ever published; floods that are still to come */
    struct model_counts counts;
};

void model_init(struct model *model, struct world *world);
void model_free(struct model *model);

/* A request about a thing, from when it is sent to when its answer comes or can come no more. */
enum op_kind { OP_QUEUE, OP_EXCHANGE, OP_BINDING };
struct model_op {
    enum op_kind kind;
    bool add, clean;
    uint8_t a, b, key; /* queue; exchange; source, destination and key */
    uint64_t snapshot;
};

void model_begin(struct model *model, struct model_op *op);
/* `answered`: it was done. */
void model_end(struct model *model, const struct model_op *op, bool answered);
/* True when what the op is about was certainly there from its begin until now. */
bool model_was_there(const struct model *model, const struct model_op *op);
/* A purge, or a consumer without acks, from begin to end. */
void model_purge(struct model *model, int queue, bool begin);
void model_leak(struct model *model, int queue, bool begin);

const char *model_binding_key(int key);
void model_binding_args(const struct model *model, int source, int key, struct buf *args);

/* True when that queue keeps the message over a restart, if it is durable. */
static inline bool model_stays(const struct model *model, int queue, uint32_t id)
{
    return model->messages[id].persistent || model->queues[queue].quorum;
}

/* The level of priority that the message has in that queue. */
static inline unsigned model_level(const struct model *model, int queue, uint32_t id)
{
    const struct model_queue *q = &model->queues[queue];
    unsigned max = q->priority_max, priority = model->messages[id].priority;
    priority = priority ? priority : q->priority_missing; /* none has 0 */
    return priority < max ? priority : max;
}

/* Body and headers of a message are made from its id. */
uint32_t model_new_message(struct model *model);
void model_body(uint32_t id, uint32_t size, struct buf *body);
/* The id of a body that is whole; panics when it is not one of ours. */
uint32_t model_read_body(const struct model *model, struct slice body);

/* It goes to the server (in a transaction: its commit does). */
void model_fly(struct model *model, uint32_t id);
/* It has arrived: `batch` 0 = and is on disk. */
void model_land(struct model *model, uint32_t id, uint64_t batch);
/* Nobody will tell; rolled back: it never was. */
void model_lose(struct model *model, uint32_t id);
void model_roll_back(struct model *model, uint32_t id);
void model_return(struct model *model, uint32_t id);

/* True when MODEL_ONCE certainly knows the message: published again, it does nothing. And then it was
 * confirmed again, which says that it is on disk. */
bool model_may_repeat(const struct model *model, uint32_t id);
void model_repeated(struct model *model, uint32_t id);

/* A client reads a delivery, that it may ack, that needs no ack, or that the server may have taken
 * back meanwhile. */
enum manner { MANNER_TO_ACK, MANNER_NO_ACK, MANNER_LATE };
void model_deliver(struct model *model, int queue, uint32_t id, bool redelivered,
                   enum manner manner);
void model_settling(struct model *model, int queue, uint32_t id);
/* The server has certainly dealt with it (`batch` as in model_land), or may have. */
void model_settled(struct model *model, int queue, uint32_t id, bool rejected, uint64_t batch);
void model_unsettled(struct model *model, int queue, uint32_t id);

/* The server was killed; `durable` = the last batch that was certainly on disk. */
void model_crash(struct model *model, uint64_t durable);
/* Compares the server's memory with what must, may and must not be there, and learns from it. No
 * client may have anything under way. `recovered`: this is the first look after a restart. */
void model_check_memory(struct model *model, bool recovered);

/* All that waits in the queue, none of which may be unacked, also what is on disk. Of the model it needs the
 * world alone. */
struct entry;
void model_each_entry(struct model *model, struct queue *q,
                      void (*each)(void *arg, const struct entry *entry), void *arg);

#endif
