/* lab.h - a second simulation: queues with settings by chance, which hand messages on to each
 * other, and a ledger of every copy of every message.
 *
 * A copy is a message in the queue it was routed to first (its origin), wherever dead-lettering
 * takes it. It is in one place at most, ever. Of a queue that keeps (lab_queue.keeps) it leaves
 * only when a client acks it.
 *
 * copies:
 *   NONE      never sent there, or refused
 *   MAYBE     sent, nobody knows; or it may expire, overflow …
 *   MUST      is there, whatever happens
 *   SETTLING  a client has acked it, or rejected it where nobody wants it
 *   GONE      never again */
#ifndef TESTS_SIM_LAB_H
#define TESTS_SIM_LAB_H

#include "base/ring.h"
#include "tests/sim/client.h"
#include "tests/sim/model.h"

RING(publish_ring, uint32_t);

/* Part of a transaction whose commit was not answered when the server went: published, or acked. */
struct lab_doubt {
    uint32_t id, tx;
    uint8_t origin;
    bool acked;
};
RING(doubt_ring, struct lab_doubt);

enum { LAB_QUEUES = 6, LAB_USERS = 4, LAB_GROUPS = 5, LAB_TOMB = 0, LAB_PRIORITIES = 12, LAB_TX_HELD = 8 };
enum { LAB_PUBLISHES = 1, LAB_CONSUMES, LAB_TRANSACTS, LAB_CHANNELS };

struct lab_queue {
    char name[8];
    bool quorum, single, groups, window, producers, by_header, reject, reject_dead;
    bool governed; /* by policies that come and go: shorter times and limits, and what follows */
    int policy_dead;    /* where its dead letters go by a policy, -1 = nowhere */
    uint32_t policy_retry_ms; /* the least that policies say, 0 = they say nothing of it */
    bool policy_refuses;
    uint32_t priority_max, ttl_ms, length_max, delivery_limit, retry_ms, retry_limit;
    int dead; /* where its dead letters go, -1 = nowhere */
    bool keeps;
    uint64_t active; /* connection of the consumer of a queue with a single one, and its channel */
    uint16_t active_channel;
    struct {
        bool known;
        unsigned level;
        uint64_t sequence;
    } top; /* what was first in the largest level when the last turn ended */
    struct {
        uint64_t epoch;
        uint32_t id;
    } last[LAB_GROUPS][LAB_USERS]; /* of each publisher: the last that came for the first time */
};

enum copy_state { COPY_NONE, COPY_MAYBE, COPY_MUST, COPY_SETTLING, COPY_GONE };

struct copy {
    uint8_t state;
    bool taken, found, seen; /* taken: is on disk, or was; seen: by a client */
    uint16_t rejects, nacks;
    int64_t retries; /* as its header said last */
    uint64_t nacked_ms;
    uint8_t nacked_in;
};

struct lab_message {
    uint64_t due_ms, epoch; /* due: of a delayed one, else 0; epoch: the publisher's connection */
    uint8_t origins, exchange, target, group, publisher, priority;
    bool repeated, expires, transient; /* transient: a restart may lose it */
    uint32_t tx;                       /* published by this transaction, 0 = by none */
    uint32_t delay_ms;
    struct copy copies[LAB_QUEUES];
};

struct lab_held {
    uint64_t tag;
    uint32_t id;
    int queue, origin;
    uint16_t channel;
    uint8_t how, before; /* in a transaction: enum lab_settlement, and the copy's state before its end */
};

enum lab_settlement { LAB_ACK, LAB_REJECT, LAB_REQUEUE };

struct lab_user {
    struct client client;
    struct lab *lab;
    unsigned index;
    bool ready, dying;
    uint64_t epoch, published, resolved;
    struct publish_ring sent;
    struct publish_ring tx_sent; /* in the transaction that is open or being committed */
    struct lab_held tx_held[LAB_TX_HELD]; /* settled in it */
    unsigned tx_held_count;
    uint64_t seen_connection, seen_tag[LAB_CHANNELS]; /* lab_levels.c: deliveries up to that were seen */
    /* Of each queue, priority and publisher: the last that came for the first time. */
    struct {
        uint64_t epoch;
        uint32_t id;
    } last[LAB_QUEUES][LAB_PRIORITIES][LAB_USERS];
    bool tx_ready, tx_ends, tx_rolls; /* ends: commit or rollback was sent, and is not answered */
    struct lab_held *held;
    size_t held_count, held_capacity;
};

struct lab_counts {
    uint64_t published, confirmed, refused, delivered, dead, delayed, retried, repeated, musts,
        checked, found;
    uint64_t transient, lost;          /* lost: of these, by a restart */
    uint64_t committed, rolled, whole; /* transactions; whole: those cut short that are there altogether */
    uint64_t tx_settled;               /* deliveries that were settled by transactions which were answered */
    uint64_t leveled;                  /* turns in which a lower priority might have been served first */
    uint64_t policies, ordered;
    uint64_t grouped, alone; /* deliveries of groups, and to a single active consumer */
};

struct lab {
    struct world *world;
    struct model walker; /* for its walk through queues */
    struct lab_queue queues[LAB_QUEUES];
    struct lab_user users[LAB_USERS];
    unsigned user_count;
    struct lab_message *messages;
    uint32_t message_count, message_capacity;
    uint64_t epoch;
    uint32_t tx;                   /* of the last transaction */
    struct doubt_ring doubtful;    /* of commits that were not answered when the server went */
    struct lab_counts counts;
    bool built;
};

void lab_init(struct lab *lab, struct world *world);
void lab_free(struct lab *lab);
/* Queues and exchanges, once the server is open for the first time; on disk when it returns. */
void lab_build(struct lab *lab);
/* An administrator sets a policy, or takes it back. */
void lab_govern(struct lab *lab);
/* What the settings are, for a trace. */
void lab_describe(const struct lab *lab);

uint64_t lab_now_ms(const struct lab *lab);
int lab_find(const struct lab *lab, struct slice name);

/* lab_ledger.c */
void lab_sent(struct lab *lab, uint32_t id);
void lab_resolved(struct lab *lab, uint32_t id, bool confirmed);
/* What a message says of itself: id, origin and retries. */
struct lab_reading {
    uint32_t id;
    int origin;
    int64_t retries;
    bool died;
};
struct lab_reading lab_read(const struct lab *lab, int queue, struct slice props,
                            struct slice body);
void lab_delivered(struct lab *lab, int queue, const struct lab_reading *reading);
void lab_acked(struct lab *lab, int queue, int origin, uint32_t id);
/* It was rolled back, or never committed: it is nowhere. */
void lab_withdrawn(struct lab *lab, uint32_t id);
void lab_rejected(struct lab *lab, int queue, int origin, uint32_t id);
/* No client is there: all is counted. */
void lab_check(struct lab *lab, bool recovered);

/* lab_levels.c: after each turn: nothing of a lower priority was handed out while something higher waited. */
void lab_levels_look(struct lab *lab);

/* lab_user.c */
void lab_user_init(struct lab_user *user, struct lab *lab, unsigned index);
void lab_user_step(struct lab_user *user);
void lab_user_turn(struct lab_user *user);
void lab_user_look(struct lab_user *user);
void lab_user_bury(struct lab_user *user);
bool lab_user_is_quiet(const struct lab_user *user);
bool lab_user_is_off(const struct lab_user *user);

#endif
