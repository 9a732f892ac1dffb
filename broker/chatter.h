/* chatter.h - bounds what the log says of clients: accepted, refused, wrong passwords, errors; and of what
 * they declare. Else whoever can open a connection could fill the disk with it. */
#ifndef BROKER_CHATTER_H
#define BROKER_CHATTER_H

#include "base/list.h"
#include "base/log.h"
#include "base/map.h"
#include "base/timer.h"

struct server;

/* In place of an address, for what is said of queues on nobody's behalf: they share one allowance. */
#define CHATTER_QUEUES ""

enum {
    CHATTER_ADDRESSES_MAX = 4096,  /* known at a time; all others together have one allowance */
    CHATTER_BURST = 1000,          /* lines of an address at once, and then */
    CHATTER_LINE_MS = 500,         /* one each half second */
    CHATTER_BURST_ALL = 10000,     /* the same for all addresses together */
    CHATTER_LINE_ALL_MS = 50,
    CHATTER_TELL_MS = 10000,       /* how often it is said what was left out */
    CHATTER_TOLD_MAX = 10,         /* addresses named then */
};

/* Lines that may be written: a bucket that fills with time. */
struct chatter_allowance {
    uint64_t used, counted_ms;
};

struct chatter {
    struct map by_address;
    struct list by_age;  /* of addresses, the one that was quiet for longest first */
    struct list left_out; /* of those of which lines were left out */
    struct chatter_allowance all;
    struct timer timer;
    uint64_t total; /* lines left out since the start */
};

void chatter_init(struct server *s, uint64_t seed);
/* Says what was left out, and forgets all. */
void chatter_free(struct server *s);
/* log_line, but not more often than the address may. An IPv6 address stands for its /64. */
void chatter_line(struct server *s, const char *address, enum log_level level, uint64_t id,
                  const char *format, ...) __attribute__((format(printf, 5, 6)));

#endif
