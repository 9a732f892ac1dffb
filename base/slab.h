/* slab.h - blocks of a few sizes, for messages: one allocation a message, hot when freed and taken
 * again, and whole slabs go back to the system when they empty.
 * A slab is 64 KB, aligned, cut into blocks of one size; the last freed block is the next one taken.
 * Slabs have address space of their own, 16 in a row, and take none of malloc's: what comes and goes there
 * leaves no holes that a slab does not fit into. Larger requests go to malloc. One thread. */
#ifndef BASE_SLAB_H
#define BASE_SLAB_H

#include <stddef.h>
#include <stdint.h>

#include "base/list.h"

enum { SLAB_SIZE = 64 * 1024, SLAB_CLASSES = 32, SLAB_BLOCK_MAX = 8192 };

struct slab_places {
    void **at;
    size_t count, capacity;
};

struct slab_pool {
    struct list partial[SLAB_CLASSES]; /* slabs with a free block, most recently used first */
    struct list empty;                 /* whole slabs kept for reuse, any class */
    size_t empty_count;
    struct slab_places cold;    /* of slabs without memory, the next one last */
    struct slab_places regions; /* all address space: it stays until the pool goes */
    size_t slab_bytes; /* in slabs, used or not */
    size_t large_bytes; /* in blocks beyond SLAB_BLOCK_MAX */
    size_t large_peak;  /* the most it was since somebody set this down */
};

void slab_pool_init(struct slab_pool *pool);
/* All blocks must have been freed. */
void slab_pool_free(struct slab_pool *pool);

void *slab_alloc(struct slab_pool *pool, size_t size);
/* A larger block with the same bytes; both sizes are beyond SLAB_BLOCK_MAX. */
void *slab_grow(struct slab_pool *pool, void *block, size_t size, size_t new_size);
/* `size` as it was asked for. */
void slab_free(struct slab_pool *pool, void *block, size_t size);

#endif
