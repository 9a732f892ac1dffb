/* dedup.h - what a queue or an exchange remembers of what it took, to take nothing twice: the highest
 * sequence of each producer, and the ids of the last messages. What it remembers of journalled messages is
 * in the journal with them (store_note), so it is as durable as they are.
 *
 * Owner: the queue or exchange. */
#ifndef QUEUE_DEDUP_H
#define QUEUE_DEDUP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/map.h"
#include "base/slice.h"
#include "store/store.h"

/* By what a message is known again. */
enum dedup_kind { DEDUP_PRODUCER, DEDUP_MESSAGE_ID, DEDUP_HEADER, DEDUP_KINDS };

/* No table remembers more; more than that in a whole server makes the table that grows forget its oldest. */
enum { DEDUP_MAX = 1000000 };

/* In a value that is a time: when the note expires, whatever the age that its table allows. */
#define DEDUP_EXPIRES (UINT64_C(1) << 63)

/* Which notes an exchange has in the journal: those of messages that are there too, none, or all. */
enum dedup_keeping { DEDUP_KEEP_WITH_MESSAGE, DEDUP_KEEP_NONE, DEDUP_KEEP_ALL };

/* What all of a server's share. */
struct dedup_home {
    struct list journalled; /* dedup_note.journalled, by batch */
    size_t count, users;    /* notes, and tables' owners */
};

/* What is remembered: at most so many of a kind (0 = that kind is not looked at), and for so long (0 =
 * however long; not for producers). */
struct dedup_limits {
    uint32_t max[DEDUP_KINDS];
    uint64_t age_ms[DEDUP_KINDS];
};

/* A message's identities, as far as it has any. */
struct dedup_ids {
    struct {
        bool present;
        uint64_t key[2];
        uint64_t value; /* a producer's sequence, else when it came (wall clock, ms), or DEDUP_EXPIRES | when
                           it goes */
    } of[DEDUP_KINDS];
    uint64_t now_ms; /* wall clock */
};

struct dedup;

void dedup_home_init(struct dedup_home *home);

/* `owner_id` is the owner's for ever, as the store will name it. */
struct dedup *dedup_new(struct dedup_home *home, uint64_t owner_id, const struct dedup_limits *limits);
/* As the arguments of a declaration say; NULL when they say nothing of it. `by_header`: messages are known by
 * x-deduplication-header, whatever they say of that. */
struct dedup *dedup_of_args(struct dedup_home *home, uint64_t owner_id, struct slice args, bool by_header);
/* Another id for the store, before anything is remembered. */
void dedup_set_owner(struct dedup *dedup, uint64_t owner_id);
/* What the argument x-cache-persistence said. */
enum dedup_keeping dedup_keeping(const struct dedup *dedup);
void dedup_free(struct dedup **dedup);

/* Sets the key of an identity from the bytes that name it. */
void dedup_identify(struct dedup_ids *ids, enum dedup_kind kind, struct slice name, uint64_t value);
/* True when the message was taken before; then *batch becomes that of the note, if it is later: the repeated
 * message is durable when that is. */
bool dedup_knows(const struct dedup *dedup, const struct dedup_ids *ids, uint64_t *batch);
/* The message is taken. `store` NULL: it is not journalled, and neither is the note. */
void dedup_take(struct dedup *dedup, const struct dedup_ids *ids, struct store *store);

/* As recovery finds it; then, once, dedup_restored. */
void dedup_restore(struct dedup *dedup, const struct stored_note *note, uint64_t batch);
void dedup_restored(struct dedup *dedup);
/* Once a turn: writes old notes again, a bounded number, so that the journal can drop its oldest part. */
void dedup_renew(struct dedup_home *home, struct store *store);

size_t dedup_count(const struct dedup *dedup, enum dedup_kind kind);

#endif
