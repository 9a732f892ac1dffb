/* net.h - what all streams of a server share: the read buffer, the pool of output chunks, the list
 * of streams that have something to write and of those whose input is to be offered again. */
#ifndef NET_NET_H
#define NET_NET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"

enum {
    NET_READ_SIZE = 256 * 1024,  /* most that one stream reads in a turn */
    NET_CHUNK_SIZE = 64 * 1024,  /* of output, with its headers */
    NET_SPARE_CHUNKS = 64,       /* kept for reuse */
};

/* A block of output. Parts (output.c) are cut from it in order; it goes back when the last one is
 * written. */
struct net_chunk {
    struct list link; /* in net.free_chunks while it is spare */
    size_t capacity;  /* of bytes[] */
    size_t parts;
    _Alignas(16) uint8_t bytes[];
};

struct carrier;
struct worker;

struct net {
    uint8_t *read_buffer;
    size_t read_buffer_size;
    size_t read_max;          /* of one stream in a turn, at most NET_READ_SIZE; TLS may read more */
    unsigned full_reads;      /* that brought at least half of that, since it was set */
    bool reading;             /* a `bytes` handler is looking at the read buffer */
    struct list dirty;        /* stream.dirty: output to flush at the end of the turn */
    struct list deferred;     /* stream.deferred: resumed, the tail is to be offered again */
    struct list free_chunks;  /* last used first: it is still in the cache */
    size_t free_chunk_count;
    struct carrier *carrier;  /* threads for large reads and writes, NULL = the loop does all; borrowed */
    bool has_placed;          /* this turn the loop has read to a place: other such reads are for threads */
    struct worker *worker;    /* threads for TLS handshakes, NULL = none; borrowed */
    uint8_t *scratch;         /* where what is written to a closed stream goes */
    size_t scratch_size;
};

void net_init(struct net *net);
/* From now on one stream may read that much in a turn. */
void net_set_read_max(struct net *net, size_t size);
/* All streams must have been freed. */
void net_free(struct net *net);

/* One flush per stream that has output; the rest waits until the socket is writable. What handlers
 * dirty meanwhile stays for the next call (so this ends); loop_poll does not sleep before it. */
void net_flush_all(struct net *net);
/* Offers their tails to the streams that were resumed before this call. loop_poll and the simulator
 * start with it. */
void net_run_deferred(struct net *net);

/* True when nothing waits for net_flush_all or net_run_deferred: the loop may sleep. */
static inline bool net_is_idle(const struct net *net)
{
    return list_empty(&net->dirty) && list_empty(&net->deferred);
}

/* For stream.c: a chunk with at least `size` bytes, and its way back; and throw-away room of `size`
 * bytes. */
struct net_chunk *net_chunk_take(struct net *net, size_t size);
void net_chunk_give(struct net *net, struct net_chunk **chunk);
uint8_t *net_scratch(struct net *net, size_t size);

#endif
