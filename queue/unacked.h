/* unacked.h - what a channel was handed and has not settled, by delivery tag.
 *
 * Tags rise by one (invariant I7), so an item is found by arithmetic: chunks of 32 tags, a directory of
 * chunk pointers, and a list of the chunks that still hold something. Taking one item is O(1); taking all
 * up to a tag visits only chunks that hold items. Where less than a quarter of the directory would be in use,
 * its oldest chunks are in a tree instead: so one tag that is never acked pins one chunk, and no more. */
#ifndef QUEUE_UNACKED_H
#define QUEUE_UNACKED_H

#include "base/ring.h"
#include "base/tree.h"
#include "queue/queue.h"

struct unacked_item {
    struct entry entry;
    struct queue *queue;
    struct consumer *consumer; /* NULL: fetched with basic.get */
};

struct unacked_chunk;
RING(chunk_ring, struct unacked_chunk *);

struct unacked {
    struct chunk_ring directory; /* NULL where a chunk has emptied */
    uint64_t first_chunk;        /* number (tag / 32) of directory[0] */
    size_t in_directory;         /* chunks */
    struct tree old;             /* those with smaller numbers */
    struct list chunks;          /* those that exist, by number */
    size_t size;
};

void unacked_init(struct unacked *u);
/* Must be empty. */
void unacked_free(struct unacked *u);
/* `tag` is new and greater than all before (delivery), or was taken before (tx rollback). */
void unacked_put(struct unacked *u, uint64_t tag, const struct unacked_item *item);
/* False when the tag is unknown or taken already. */
bool unacked_take(struct unacked *u, uint64_t tag, struct unacked_item *item);
/* The item with the smallest tag, if that is <= `up_to`. */
bool unacked_take_first(struct unacked *u, uint64_t up_to, uint64_t *tag,
                        struct unacked_item *item);
/* The item with the smallest tag that is not smaller than `from`; NULL when there is none. */
const struct unacked_item *unacked_next(const struct unacked *u, uint64_t from, uint64_t *tag);
/* Calls `each` for all items whose message is in the journal in a batch up to `limit`, and for some others;
 * it may move the messages on. The others are not looked at one by one. */
void unacked_walk_old(struct unacked *u, uint64_t limit, void (*each)(void *arg, struct unacked_item *item),
                      void *arg);
/* The smallest tag; UINT64_MAX when there is none. */
uint64_t unacked_first(const struct unacked *u);
bool unacked_has(const struct unacked *u, uint64_t tag);
/* Tests: calls `each` for all items, smallest tag first. */
void unacked_each(const struct unacked *u,
                  void (*each)(void *arg, uint64_t tag, const struct unacked_item *item), void *arg);

#endif
