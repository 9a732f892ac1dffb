/* world.h - everything around a simulated server: network, disk, clock and chance, all from one
 * seed. The world runs the server's turns, lets its disk lag behind, and kills it. */
#ifndef TESTS_SIM_WORLD_H
#define TESTS_SIM_WORLD_H

#include <stdio.h>

#include "broker/server.h"
#include "tests/sim/fakedisk.h"
#include "tests/sim/fakenet.h"
#include "tests/sim/trace.h"

enum { WORLD_SEGMENT_BYTES = 64 * 1024 }; /* of the journal */

struct world {
    uint64_t seed;
    struct rand rand, net_rand; /* the scheduler's, the network's */
    struct trace trace;
    struct fakenet *net;
    struct fakedisk *disk;
    struct config config;
    struct server server;
    bool up;  /* the server runs */
    bool late_letters; /* one dead letter is published in a turn: most follow in a later batch */
    bool log; /* the server's log to standard error */
    FILE *console; /* where else it goes; NULL = nowhere */
    uint64_t now_ns, turns;
    int64_t jump_us; /* of the wall clock, so far */
    unsigned lag;   /* one turn in so many is followed by a sync; 0 = none is */
    uint64_t lives; /* how often the server was opened */
};

void world_init(struct world *world, uint64_t seed, bool verbose);
void world_free(struct world *world);

/* 0 … bound - 1. */
static inline uint64_t world_pick(struct world *world, uint64_t bound)
{
    return rand_below(&world->rand, bound);
}

/* True once in `bound`. */
static inline bool world_chance(struct world *world, uint64_t bound)
{
    return rand_below(&world->rand, bound) == 0;
}

/* Starts the server on what the disk has. False when it refuses: its memory is freed then. */
bool world_open(struct world *world);
/* Lets some time pass, then input, one turn and perhaps the disk. */
void world_turn(struct world *world);
/* The disk does all it was given. */
void world_sync(struct world *world);
/* kill -9 (FAKEDISK_LOSE_NONE) or the plug. Returns the last batch that was known to be durable. */
uint64_t world_crash(struct world *world, enum fakedisk_loss loss);
/* The end of an orderly stop. */
void world_close(struct world *world);

/* The server's connection of that id, NULL when it is gone. */
struct connection *world_connection(const struct world *world, uint64_t id);

#endif
