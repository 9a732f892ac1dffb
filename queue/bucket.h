/* bucket.h - a bucket of a calendar, for delay.c and delay_look.c alone. */
#ifndef QUEUE_BUCKET_H
#define QUEUE_BUCKET_H

#include "queue/delay.h"
#include "queue/queue.h"

struct bucket {
    uint64_t key;          /* in delay.buckets: level and number, or with the highest bit the lane */
    struct heap_node node; /* in home.delays.opening */
    struct delay *delay;
    struct order order;
    unsigned level, lane;
    bool open;             /* its time is near: it is read, and dealt */
    bool awaits;           /* the disk, to be dealt */
    size_t out;            /* entries in the heap or handed over */
    uint32_t looked;       /* since that list came to its calendar it got what is from `floor` on */
    uint64_t floor;
};

/* A bucket of a level is this many milliseconds, as a power of two. */
unsigned delay_bucket_shift(unsigned level);
struct bucket *delay_find_bucket(const struct delay *delay, uint64_t key);
/* The calendar holds so many more messages, or fewer. */
void delay_add(struct delay *delay, size_t more);
/* Counts an entry that was taken out of the order by other ways than from its front; it is out. */
void delay_bucket_took(struct bucket *bucket, const struct message *m);
/* Drops an entry that is out, with an ack. The bucket stays for this turn. */
void delay_bucket_drop(struct bucket *bucket, struct entry *entry);
/* The i-th of the heap, whose bucket that is, leaves it. */
struct entry delay_bucket_take_near(struct delays *delays, size_t i);

#endif
