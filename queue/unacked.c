/* unacked.c - what a channel was handed and has not settled.
 *
 * Invariants: directory[i] is the chunk with number first_chunk + i, or NULL; a chunk that exists has a
 * live item, but for the newest, which is kept so that a prefetch of one does not allocate per message;
 * the directory's first slot is never NULL. */
#include "queue/unacked.h"

enum { CHUNK_TAGS = 32 };

struct unacked_chunk {
    struct list link;
    uint64_t number;
    uint32_t live;   /* bit i: item i is there */
    uint64_t oldest; /* no item's message is of an older batch of the journal */
    struct unacked_item items[CHUNK_TAGS];
};

void unacked_init(struct unacked *u)
{
    *u = (struct unacked){0};
    list_init(&u->chunks);
}

static struct unacked_chunk *chunk_at(const struct unacked *u, uint64_t number)
{
    if (number < u->first_chunk || number - u->first_chunk >= u->directory.size)
        return NULL;
    return *chunk_ring_at(&u->directory, number - u->first_chunk);
}

/* Makes the directory reach `number`, forwards or backwards. */
static struct unacked_chunk **reach(struct unacked *u, uint64_t number)
{
    if (u->directory.size == 0)
        u->first_chunk = number;
    while (number < u->first_chunk) {
        chunk_ring_push_front(&u->directory, NULL);
        u->first_chunk--;
    }
    while (number - u->first_chunk >= u->directory.size)
        chunk_ring_push_back(&u->directory, NULL);
    return chunk_ring_at(&u->directory, number - u->first_chunk);
}

/* What a chunk of that number, older than the newest, belongs before. Its neighbours are looked for on
 * both sides in step: a search costs as much as the smaller part of the gap that it splits, so that a
 * rollback of n chunks in any order costs O(n log n) and not their square. */
static struct list *next_of(const struct unacked *u, uint64_t number)
{
    for (uint64_t distance = 1;; distance++) {
        struct unacked_chunk *left = distance <= number ? chunk_at(u, number - distance) : NULL;
        struct unacked_chunk *right = chunk_at(u, number + distance);
        if (left)
            return left->link.next;
        if (right)
            return &right->link;
        assertf(distance < u->directory.size, "chunk %llu has no neighbours", (unsigned long long)number);
    }
}

/* Links a new chunk in order of number: at the end for deliveries, anywhere for rollbacks. */
static void link_chunk(struct unacked *u, struct unacked_chunk *chunk)
{
    struct list *at = &u->chunks;
    if (!list_empty(&u->chunks) &&
        container_of(u->chunks.prev, struct unacked_chunk, link)->number > chunk->number)
        at = next_of(u, chunk->number);
    list_insert_before(at, &chunk->link);
}

static void free_chunk(struct unacked *u, struct unacked_chunk *chunk)
{
    assert(chunk->live == 0);
    *chunk_ring_at(&u->directory, chunk->number - u->first_chunk) = NULL;
    list_remove(&chunk->link);
    mem_free(chunk);
    while (u->directory.size && *chunk_ring_at(&u->directory, 0) == NULL) {
        chunk_ring_pop_front(&u->directory);
        u->first_chunk++;
    }
}

/* Frees a chunk that has emptied, unless it is the newest: more tags will come. */
static void release_chunk(struct unacked *u, struct unacked_chunk *chunk)
{
    if (chunk->live == 0 && u->chunks.prev != &chunk->link)
        free_chunk(u, chunk);
}

void unacked_free(struct unacked *u)
{
    assert(u->size == 0);
    while (!list_empty(&u->chunks))
        free_chunk(u, list_first(&u->chunks, struct unacked_chunk, link));
    chunk_ring_free(&u->directory);
}

static struct unacked_chunk *new_chunk(struct unacked *u, uint64_t number)
{
    struct list *newest = list_empty(&u->chunks) ? NULL : u->chunks.prev;
    struct unacked_chunk *chunk = mem_alloc(sizeof(*chunk));
    chunk->link = (struct list){0};
    chunk->number = number;
    chunk->live = 0;
    chunk->oldest = UINT64_MAX;
    *reach(u, number) = chunk;
    link_chunk(u, chunk);
    if (newest && newest != u->chunks.prev)
        release_chunk(u, container_of(newest, struct unacked_chunk, link));
    return chunk;
}

void unacked_put(struct unacked *u, uint64_t tag, const struct unacked_item *item)
{
    assert(tag > 0 && item->entry.message != NULL);
    struct unacked_chunk *chunk = chunk_at(u, tag / CHUNK_TAGS);
    if (!chunk)
        chunk = new_chunk(u, tag / CHUNK_TAGS);
    uint32_t bit = 1u << (tag % CHUNK_TAGS);
    assertf(!(chunk->live & bit), "tag %llu is there already", (unsigned long long)tag);
    chunk->live |= bit;
    chunk->items[tag % CHUNK_TAGS] = *item;
    uint64_t batch = entry_batch(&item->entry);
    chunk->oldest = batch < chunk->oldest ? batch : chunk->oldest;
    u->size++;
}

static void take_from(struct unacked *u, struct unacked_chunk *chunk, unsigned i,
                      struct unacked_item *item)
{
    *item = chunk->items[i];
    chunk->live &= ~(1u << i);
    u->size--;
    release_chunk(u, chunk);
}

bool unacked_has(const struct unacked *u, uint64_t tag)
{
    struct unacked_chunk *chunk = chunk_at(u, tag / CHUNK_TAGS);
    return chunk && chunk->live >> (tag % CHUNK_TAGS) & 1;
}

bool unacked_take(struct unacked *u, uint64_t tag, struct unacked_item *item)
{
    if (!unacked_has(u, tag))
        return false;
    take_from(u, chunk_at(u, tag / CHUNK_TAGS), tag % CHUNK_TAGS, item);
    return true;
}

uint64_t unacked_first(const struct unacked *u)
{
    if (u->size == 0)
        return UINT64_MAX;
    const struct unacked_chunk *chunk = list_first(&u->chunks, struct unacked_chunk, link);
    assert(chunk->live != 0);
    return chunk->number * CHUNK_TAGS + (unsigned)__builtin_ctz(chunk->live);
}

bool unacked_take_first(struct unacked *u, uint64_t up_to, uint64_t *tag,
                        struct unacked_item *item)
{
    if (u->size == 0)
        return false;
    struct unacked_chunk *chunk = list_first(&u->chunks, struct unacked_chunk, link);
    if (chunk->live == 0) /* only the newest may be empty, and then nothing would be left */
        panic("an empty chunk among %zu items", u->size);
    unsigned i = (unsigned)__builtin_ctz(chunk->live);
    uint64_t first = chunk->number * CHUNK_TAGS + i;
    if (first > up_to)
        return false;
    *tag = first;
    take_from(u, chunk, i, item);
    return true;
}

/* The chunk with the smallest number that is not smaller than that; NULL when there is none. */
static const struct unacked_chunk *chunk_from(const struct unacked *u, uint64_t number)
{
    const struct unacked_chunk *chunk = chunk_at(u, number);
    if (chunk || list_empty(&u->chunks))
        return chunk;
    const struct unacked_chunk *first = list_first(&u->chunks, struct unacked_chunk, link);
    const struct unacked_chunk *last = container_of(u->chunks.prev, struct unacked_chunk, link);
    if (number <= first->number)
        return first;
    if (number > last->number)
        return NULL;
    return container_of(next_of(u, number), struct unacked_chunk, link);
}

const struct unacked_item *unacked_next(const struct unacked *u, uint64_t from, uint64_t *tag)
{
    const struct unacked_chunk *chunk = chunk_from(u, from / CHUNK_TAGS);
    if (!chunk)
        return NULL;
    uint32_t live = chunk->live;
    if (chunk->number == from / CHUNK_TAGS)
        live &= UINT32_MAX << (from % CHUNK_TAGS);
    if (live == 0) { /* the next one has something, unless it is the newest */
        if (chunk->link.next == &u->chunks)
            return NULL;
        chunk = container_of(chunk->link.next, struct unacked_chunk, link);
        live = chunk->live;
    }
    if (live == 0)
        return NULL;
    unsigned i = (unsigned)__builtin_ctz(live);
    *tag = chunk->number * CHUNK_TAGS + i;
    return &chunk->items[i];
}

void unacked_each(const struct unacked *u,
                  void (*each)(void *arg, uint64_t tag, const struct unacked_item *item), void *arg)
{
    size_t count = 0;
    list_each(node, &u->chunks) {
        const struct unacked_chunk *chunk = container_of(node, struct unacked_chunk, link);
        for (uint64_t i = 0; i < CHUNK_TAGS; i++) {
            if (!(chunk->live >> i & 1))
                continue;
            each(arg, chunk->number * CHUNK_TAGS + i, &chunk->items[i]);
            count++;
        }
    }
    assertf(count == u->size, "%zu of %zu", count, u->size);
}

static void walk_chunk(struct unacked_chunk *chunk, void (*each)(void *arg, struct unacked_item *item),
                       void *arg)
{
    uint64_t oldest = UINT64_MAX;
    for (uint32_t live = chunk->live; live; live &= live - 1) {
        struct unacked_item *item = &chunk->items[__builtin_ctz(live)];
        each(arg, item);
        uint64_t batch = entry_batch(&item->entry);
        oldest = batch < oldest ? batch : oldest;
    }
    chunk->oldest = oldest;
}

void unacked_walk_old(struct unacked *u, uint64_t limit, void (*each)(void *arg, struct unacked_item *item),
                      void *arg)
{
    list_each(node, &u->chunks) {
        struct unacked_chunk *chunk = container_of(node, struct unacked_chunk, link);
        if (chunk->oldest <= limit)
            walk_chunk(chunk, each, arg);
    }
}
