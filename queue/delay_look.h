/* delay_look.h - looking at what waits in calendars, in memory and on disk: to list it, or to take something
 * out. In steps, a turn each; one look at a time of a home, because pages are read for it.
 *
 * Coarse buckets come first, so nothing is missed that is dealt to finer ones meanwhile. A list has each
 * message once: what was in a calendar when it came there, and stays until it leaves. What comes to a bucket
 * after that is passed over (bucket.floor), for it is new, or was seen where it came from, or is seen when it
 * leaves from there (delay_look_moves). Who takes something out may see it twice. */
#ifndef QUEUE_DELAY_LOOK_H
#define QUEUE_DELAY_LOOK_H

#include "base/walk.h"
#include "queue/delay.h"

struct delay_look {
    struct queue_home *home;
    /* Called for what waits; true = it is taken out and dropped. */
    bool (*picks)(void *arg, const struct delay *delay, const struct message *m);
    void *arg;
    uint64_t id;           /* of the calendar that is looked at, 0 = all */
    uint64_t due_ms;       /* what is due then, 0 = all */
    bool lists;            /* each once */
    uint32_t number;       /* of this look: delays.looks */
    struct walk walk;
    struct delay *delay;   /* where it is */
    uint64_t key;          /* of the bucket */
    unsigned level;
    uint64_t sequence;     /* all up to this was seen in that bucket */
    bool in_bucket, begun, done;
};

/* False when another look is under way: later. */
bool delay_look_begin(struct delay_look *look, struct queue_home *home);
/* Goes on; look->done when all was seen. */
void delay_look_step(struct delay_look *look);
/* Also of one that is not done, or never began. */
void delay_look_end(struct delay_look *look);

/* For paging.c: does the look of the home want this message of a page of the order? */
bool delay_look_picks(struct order *order, const struct message *m, uint64_t sequence);
/* It was taken out of its page. */
void delay_look_took(struct order *order, struct entry *entry);
/* All up to this sequence was seen in the order. */
void delay_look_saw(struct order *order, uint64_t sequence);
/* For delay.c: the calendar goes; something is about to be put into the bucket; its first entry is about to
 * go to a finer one, or to the heap: the list that has it, if it was seen. */
void delay_look_leave(struct delay *delay);
void delay_look_puts(struct bucket *bucket);
void delay_look_moves(struct bucket *bucket);
uint32_t delay_look_nears(const struct bucket *bucket);

#endif
