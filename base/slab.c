/* slab.c - blocks of a few sizes.
 *
 * Classes: multiples of 32 up to 256, then four per doubling up to 8192. A slab starts with its
 * header; blocks never touched yet are handed out in order, freed ones are chained. */
#include "base/slab.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "base/assert.h"
#include "base/mem.h"

enum { SLAB_KEEP_EMPTY = 64, REGION_SLABS = 16 };

struct block {
    struct block *next;
};

struct slab {
    struct list link; /* in partial[class] or empty; in neither when full */
    struct block *freed;
    uint32_t live, capacity; /* blocks */
    uint32_t fresh;          /* blocks never handed out start here */
    uint32_t class;
};

static const uint16_t class_sizes[] = {32,   64,   96,   128,  160,  192,  224,  256,  320, 384,
                                       448,  512,  640,  768,  896,  1024, 1280, 1536, 1792, 2048,
                                       2560, 3072, 3584, 4096, 5120, 6144, 7168, 8192};

_Static_assert(array_size(class_sizes) <= SLAB_CLASSES, "one list a class");

static unsigned class_of(size_t size)
{
    if (size <= 256)
        return size ? (unsigned)((size - 1) / 32) : 0;
    unsigned doubling = 63 - (unsigned)__builtin_clzl(size - 1); /* 2^doubling < size */
    unsigned quarter = (unsigned)((size - 1) >> (doubling - 2)) & 3;
    return 8 + (doubling - 8) * 4 + quarter;
}

void slab_pool_init(struct slab_pool *pool)
{
    *pool = (struct slab_pool){0};
    for (unsigned i = 0; i < SLAB_CLASSES; i++)
        list_init(&pool->partial[i]);
    list_init(&pool->empty);
}

static void put_place(struct slab_places *places, void *at)
{
    if (places->count == places->capacity) {
        places->capacity = places->capacity ? places->capacity * 2 : REGION_SLABS;
        places->at = mem_realloc(places->at, places->capacity * sizeof(*places->at));
    }
    places->at[places->count++] = at;
}

/* One slab's room more is asked for than is needed: somewhere in it is an aligned beginning. */
static void map_region(struct slab_pool *pool)
{
    size_t size = (REGION_SLABS + 1) * (size_t)SLAB_SIZE;
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    void *region = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (region == MAP_FAILED)
        panic("out of memory for slabs: %s", strerror(errno));
    put_place(&pool->regions, region);
    char *first = (char *)region + (SLAB_SIZE - ((uintptr_t)region & (SLAB_SIZE - 1)));
    for (size_t i = REGION_SLABS; i-- > 0;)
        put_place(&pool->cold, first + i * SLAB_SIZE);
}

static void release_empty(struct slab_pool *pool, size_t keep)
{
    while (pool->empty_count > keep) {
        void *slab = container_of(list_pop_front(&pool->empty), struct slab, link);
        if (madvise(slab, SLAB_SIZE, MADV_DONTNEED) != 0)
            panic("cannot give memory of a slab back: %s", strerror(errno));
        put_place(&pool->cold, slab);
        pool->empty_count--;
        pool->slab_bytes -= SLAB_SIZE;
    }
}

void slab_pool_free(struct slab_pool *pool)
{
    release_empty(pool, 0);
    assertf(pool->slab_bytes == 0 && pool->large_bytes == 0, "%zu + %zu bytes still in use",
            pool->slab_bytes, pool->large_bytes);
    assert(pool->cold.count == pool->regions.count * REGION_SLABS);
    for (size_t i = 0; i < pool->regions.count; i++)
        munmap(pool->regions.at[i], (REGION_SLABS + 1) * (size_t)SLAB_SIZE);
    mem_free(pool->regions.at);
    mem_free(pool->cold.at);
    pool->regions = pool->cold = (struct slab_places){0};
}

static struct slab *slab_new(struct slab_pool *pool, unsigned class)
{
    struct list *kept = list_pop_front(&pool->empty);
    struct slab *slab;
    if (kept) {
        pool->empty_count--;
        slab = container_of(kept, struct slab, link);
    } else {
        if (pool->cold.count == 0)
            map_region(pool);
        slab = pool->cold.at[--pool->cold.count];
        pool->slab_bytes += SLAB_SIZE;
    }
    *slab = (struct slab){.class = class};
    slab->capacity = (uint32_t)((SLAB_SIZE - sizeof(*slab)) / class_sizes[class]);
    list_push_front(&pool->partial[class], &slab->link);
    return slab;
}

static void *slab_take(struct slab *slab)
{
    void *block = slab->freed;
    if (block)
        slab->freed = slab->freed->next;
    else
        block = (char *)(slab + 1) + (size_t)slab->fresh++ * class_sizes[slab->class];
    if (++slab->live == slab->capacity)
        list_remove(&slab->link);
    return block;
}

#ifdef __SANITIZE_ADDRESS__
#define SLAB_USE_MALLOC 1 /* so that the sanitizer sees every block */
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SLAB_USE_MALLOC 1
#endif
#endif
#ifndef SLAB_USE_MALLOC
#define SLAB_USE_MALLOC 0
#endif

static void count_large(struct slab_pool *pool, size_t size)
{
    pool->large_bytes += size;
    if (pool->large_bytes > pool->large_peak)
        pool->large_peak = pool->large_bytes;
}

void *slab_alloc(struct slab_pool *pool, size_t size)
{
    if (SLAB_USE_MALLOC || size > SLAB_BLOCK_MAX) {
        count_large(pool, size);
        return mem_alloc(size);
    }
    unsigned class = class_of(size);
    assert(class < array_size(class_sizes) && class_sizes[class] >= size);
    struct list *partial = &pool->partial[class];
    struct slab *slab = list_empty(partial) ? slab_new(pool, class)
                                            : list_first(partial, struct slab, link);
    return slab_take(slab);
}

void *slab_grow(struct slab_pool *pool, void *block, size_t size, size_t new_size)
{
    assert(size > SLAB_BLOCK_MAX && new_size >= size && pool->large_bytes >= size);
    count_large(pool, new_size - size);
    return mem_realloc(block, new_size);
}

void slab_free(struct slab_pool *pool, void *block, size_t size)
{
    if (SLAB_USE_MALLOC || size > SLAB_BLOCK_MAX) {
        assert(pool->large_bytes >= size);
        pool->large_bytes -= size;
        mem_free(block);
        return;
    }
    struct slab *slab = (struct slab *)((uintptr_t)block & ~(uintptr_t)(SLAB_SIZE - 1));
    assert(slab->live > 0 && slab->class == class_of(size));
    ((struct block *)block)->next = slab->freed;
    slab->freed = block;
    if (slab->live-- == slab->capacity)
        list_push_front(&pool->partial[slab->class], &slab->link);
    if (slab->live == 0) {
        list_remove(&slab->link);
        list_push_front(&pool->empty, &slab->link);
        pool->empty_count++;
        release_empty(pool, SLAB_KEEP_EMPTY);
    }
}
