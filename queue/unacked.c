/* unacked.c - what a channel was handed and has not settled.
 *
 * Invariants: directory[i] is the chunk with number first_chunk + i, or NULL; chunks with smaller numbers are
 * in the tree; a chunk that exists has a live item, but for the newest, which is kept so that a prefetch of
 * one does not allocate per message; the directory has the newest chunk, if there is any, and its first slot
 * is never NULL. */
#include "queue/unacked.h"

enum {
    CHUNK_TAGS = 32,
    DENSE_MIN = 64,  /* slots that the directory may have whatever is in them */
    DENSE_SHARE = 4  /* beyond that one in so many is used when it grows */
};

struct unacked_chunk {
    struct list link;
    struct tree_node node; /* its key is the chunk's number; in the tree or not */
    uint32_t live;         /* bit i: item i is there */
    uint64_t oldest;       /* no item's message is of an older batch of the journal */
    struct unacked_item items[CHUNK_TAGS];
};

static inline uint64_t number_of(const struct unacked_chunk *chunk)
{
    return chunk->node.key;
}

void unacked_init(struct unacked *u)
{
    *u = (struct unacked){.old.seed = (uintptr_t)u};
    list_init(&u->chunks);
}

static struct unacked_chunk *chunk_of(struct tree_node *node)
{
    return node ? container_of(node, struct unacked_chunk, node) : NULL;
}

/* The chunk of that number, if the directory has it. */
static inline struct unacked_chunk *chunk_of_directory(const struct unacked *u, uint64_t number)
{
    if (number < u->first_chunk || number - u->first_chunk >= u->directory.size)
        return NULL;
    return *chunk_ring_at(&u->directory, number - u->first_chunk);
}

static inline struct unacked_chunk *chunk_at(const struct unacked *u, uint64_t number)
{
    if (number < u->first_chunk && u->old.root)
        return chunk_of(tree_find(&u->old, number));
    return chunk_of_directory(u, number);
}

static void trim(struct unacked *u)
{
    while (u->directory.size && *chunk_ring_at(&u->directory, 0) == NULL) {
        chunk_ring_pop_front(&u->directory);
        u->first_chunk++;
    }
}

/* The oldest chunk of the directory goes to the tree. */
static void set_aside(struct unacked *u)
{
    struct unacked_chunk *chunk = chunk_ring_pop_front(&u->directory);
    assert(chunk && number_of(chunk) == u->first_chunk && u->in_directory > 0);
    tree_add(&u->old, &chunk->node);
    u->in_directory--;
    u->first_chunk++;
    trim(u);
}

/* Gives back slots that were needed once. */
static void shrink(struct unacked *u)
{
    struct chunk_ring smaller = {0};
    if (u->directory.capacity <= RING_KEEP_ITEMS || u->directory.size > u->directory.capacity / 8)
        return;
    while (u->directory.size)
        chunk_ring_push_back(&smaller, chunk_ring_pop_front(&u->directory));
    chunk_ring_free(&u->directory);
    u->directory = smaller;
}

/* Makes the directory reach a new newest number, without growing sparse. */
static struct unacked_chunk **reach(struct unacked *u, uint64_t number)
{
    while (u->directory.size && number - u->first_chunk >= DENSE_MIN &&
           (number - u->first_chunk) / DENSE_SHARE > u->in_directory)
        set_aside(u);
    shrink(u);
    if (u->directory.size == 0)
        u->first_chunk = number;
    while (number - u->first_chunk >= u->directory.size)
        chunk_ring_push_back(&u->directory, NULL);
    return chunk_ring_at(&u->directory, number - u->first_chunk);
}

/* What a chunk of that number, older than the newest, belongs before. In the directory its neighbours are
 * looked for on both sides in step: a search costs as much as the smaller part of the gap that it splits, so
 * that a rollback of n chunks in any order costs O(n log n) and not their square. */
static struct list *next_of(const struct unacked *u, uint64_t number)
{
    if (number < u->first_chunk) {
        struct unacked_chunk *next = chunk_of(tree_from(&u->old, number));
        return next ? &next->link : &(*chunk_ring_at(&u->directory, 0))->link;
    }
    for (uint64_t distance = 1;; distance++) {
        struct unacked_chunk *left = distance <= number ? chunk_of_directory(u, number - distance) : NULL;
        struct unacked_chunk *right = chunk_of_directory(u, number + distance);
        if (left)
            return left->link.next;
        if (right)
            return &right->link;
        assertf(distance < u->directory.size, "chunk %llu has no neighbours", (unsigned long long)number);
    }
}

static struct unacked_chunk *newest(const struct unacked *u)
{
    return list_empty(&u->chunks) ? NULL : container_of(u->chunks.prev, struct unacked_chunk, link);
}

/* Where it is found, and in order of number: at the end for deliveries, anywhere for rollbacks. */
static void link_chunk(struct unacked *u, struct unacked_chunk *chunk)
{
    uint64_t number = number_of(chunk);
    struct list *at = &u->chunks;
    if (newest(u) && number_of(newest(u)) > number)
        at = next_of(u, number);
    list_insert_before(at, &chunk->link);
    if (at != &u->chunks && number < u->first_chunk) {
        tree_add(&u->old, &chunk->node);
        return;
    }
    *(at == &u->chunks ? reach(u, number) : chunk_ring_at(&u->directory, number - u->first_chunk)) = chunk;
    u->in_directory++;
}

static void free_chunk(struct unacked *u, struct unacked_chunk *chunk)
{
    assert(chunk->live == 0);
    list_remove(&chunk->link);
    if (number_of(chunk) < u->first_chunk) {
        tree_remove(&u->old, &chunk->node);
    } else {
        *chunk_ring_at(&u->directory, number_of(chunk) - u->first_chunk) = NULL;
        u->in_directory--;
        trim(u);
    }
    mem_free(chunk);
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
    struct unacked_chunk *before = newest(u);
    struct unacked_chunk *chunk = mem_alloc(sizeof(*chunk));
    chunk->link = (struct list){0};
    chunk->node = (struct tree_node){.key = number};
    chunk->live = 0;
    chunk->oldest = UINT64_MAX;
    link_chunk(u, chunk);
    if (before && before != newest(u))
        release_chunk(u, before);
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
    return number_of(chunk) * CHUNK_TAGS + (unsigned)__builtin_ctz(chunk->live);
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
    uint64_t first = number_of(chunk) * CHUNK_TAGS + i;
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
    if (number <= number_of(first))
        return first;
    if (number > number_of(last))
        return NULL;
    return container_of(next_of(u, number), struct unacked_chunk, link);
}

const struct unacked_item *unacked_next(const struct unacked *u, uint64_t from, uint64_t *tag)
{
    const struct unacked_chunk *chunk = chunk_from(u, from / CHUNK_TAGS);
    if (!chunk)
        return NULL;
    uint32_t live = chunk->live;
    if (number_of(chunk) == from / CHUNK_TAGS)
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
    *tag = number_of(chunk) * CHUNK_TAGS + i;
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
            each(arg, number_of(chunk) * CHUNK_TAGS + i, &chunk->items[i]);
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
