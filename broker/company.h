/* company.h - small clients beside large ones: what one connection may have of a turn, and what all may
 * have of a turn and of a batch while somebody is there who wants little and waits for it.
 *
 * A turn and a batch are as large as what comes: that makes few of them do much. Whoever shares them waits
 * for them, though. So as long as a *modest* publisher is around, one that has brought little a turn for a
 * while, turns and batches are kept short; and no connection has more of a turn than its *effort*, ever. */
#ifndef BROKER_COMPANY_H
#define BROKER_COMPANY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct connection;
struct server;

/* Effort is counted in messages pushed to a queue, about 0.1 us each. */
enum {
    EFFORT_METHOD = 8,  /* of a method, but for those that publish and settle */
    EFFORT_DECLARE = 8, /* more, of one that declares, binds or deletes */
    EFFORT_SETTLED = 4, /* so many messages that an ack with `multiple` settles are one */
    EFFORT_LOOKS = 8,   /* so many bindings that routing looks at are one */
    EFFORT_MAX = 4096,  /* of a connection's turn: what it has sent more waits for the next one */
};

enum {
    COMPANY_MODEST = 4096,          /* bytes of input a turn */
    COMPANY_MS = 1000,              /* how long a modest publisher counts after it has published */
    /* Meanwhile. In a turn: */
    COMPANY_READ = 32 * 1024,       /* by all that bring much, about */
    COMPANY_READ_LEAST = 4096,      /* by one */
    COMPANY_EFFORT = 2048,          /* of one, at most */
    COMPANY_EFFORT_LEAST = 64,
    COMPANY_DELIVERIES = 4096,
    COMPANY_LETTERS = 64,           /* dead letters */
    /* In a batch: */
    COMPANY_BATCH = 128 * 1024,     /* bytes from which on who is not modest is not read */
    COMPANY_PAGES = 64 * 1024,      /* the same of pages, from which on no other page is written */
    COMPANY_DEFINITIONS = 8 * 1024, /* of definitions, from which on who declares is not read */
};

/* Of a connection. */
struct share {
    uint64_t received; /* bytes, when its input was looked at last */
    uint64_t recent;   /* bytes of input a turn lately: the most, fading */
    unsigned effort;   /* spent in this turn */
    bool again;        /* the method in hand is not through: its frame is handled again in the next turn */
};

/* Of the server. */
struct company {
    uint64_t until_ms; /* a modest publisher is around until then */
    bool present;      /* so it is in this turn */
    unsigned effort_max; /* of a connection, in this turn */
    uint64_t copies;     /* effort of what the server itself has published, ever */
};

void company_init(struct company *company);
/* At the beginning of a turn's work. */
void company_look(struct server *s);
/* The connection's input was handled; `publishes`: there was a message in it. */
void company_note(struct connection *conn, bool publishes);
/* The effort that is left in this turn to the connection whose input is being handled; 1 at least. */
unsigned company_room(const struct connection *conn);
/* What the server has published since there were so many copies, for what is counted in messages; at least
 * 1. */
size_t company_published(const struct server *s, uint64_t copies_before);
/* True when the connection is to leave room in the open batch for others. */
bool company_crowds(const struct connection *conn);

#endif
