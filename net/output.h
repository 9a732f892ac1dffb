/* output.h - the bytes a stream still has to write: copied ones gathered in pooled chunks, and
 * references to large bodies where they are. Embedded in a stream; used through stream.h. */
#ifndef NET_OUTPUT_H
#define NET_OUTPUT_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/assert.h"
#include "base/list.h"
#include "base/slice.h"

struct net;
struct out_part; /* private to output.c */
struct transport;

struct output {
    struct list parts;        /* oldest first; none when all is written */
    struct out_part *filling; /* the last part while it can grow, else NULL */
    uint8_t *room;            /* where it grows */
    size_t room_size;
    size_t pending; /* bytes not written yet */
};

/* Called once when the bytes are written or dropped. */
typedef void output_release(void *arg, void *owner);

void output_init(struct output *output);

/* Slow half of output_reserve: starts a part. */
uint8_t *output_reserve_more(struct output *output, struct net *net, size_t size);
/* `bytes` (not empty) stay with the caller until `release(arg, owner)`. */
void output_add_ref(struct output *output, struct net *net, struct slice bytes,
                    output_release *release, void *arg, void *owner);
/* Nothing more will be added to the growing part. */
void output_seal(struct output *output);

/* Writes until all is written, the transport is full or `share` bytes are written, and gives back
 * what is not needed any more. Adds to *sent. 0 or -errno. */
int output_write(struct output *output, struct net *net, const struct transport *transport,
                 void *io, size_t share, uint64_t *sent) __attribute__((warn_unused_result));
/* The first `share` bytes, or as many as fit `max` iovecs, for a writev elsewhere; returns how many
 * iovecs. They lie still until they are consumed, whatever is added meanwhile. */
int output_gather(struct output *output, struct iovec *iovecs, int max, size_t share, size_t *size);
/* Takes `size` written bytes off the front. */
void output_consume(struct output *output, struct net *net, size_t size);
/* Tests: calls `each` with the owner of every reference that is not written yet. */
void output_each_ref(const struct output *output, void (*each)(void *arg, void *owner), void *arg);
/* Forgets all of it. */
void output_drop(struct output *output, struct net *net);

/* Counts `size` bytes written into the room. */
static inline void output_commit(struct output *output, size_t size)
{
    assert(size <= output->room_size);
    output->room += size;
    output->room_size -= size;
    output->pending += size;
}

#endif
