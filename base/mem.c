/* mem.c - allocation that never returns NULL. */
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "base/assert.h"

void *mem_alloc(size_t size)
{
    void *block = malloc(size ? size : 1);
    if (!block)
        panic("out of memory for %zu bytes", size);
    return block;
}

void *mem_zalloc(size_t size)
{
    void *block = calloc(1, size ? size : 1);
    if (!block)
        panic("out of memory for %zu bytes", size);
    return block;
}

void *mem_realloc(void *block, size_t size)
{
    void *grown = realloc(block, size ? size : 1);
    if (!grown)
        panic("out of memory for %zu bytes", size);
    return grown;
}

void *mem_copy(const void *bytes, size_t size)
{
    char *copy = mem_alloc(size + 1);
    if (size)
        memcpy(copy, bytes, size);
    copy[size] = 0;
    return copy;
}

void mem_free(void *block)
{
    free(block);
}

/* By itself glibc gives the top of its heap back as soon as 128 KB of it are free, so that each large message
 * would shrink the heap, grow it again, and have its pages zeroed. What is larger by far has pages of its
 * own, and leaves no hole in the heap when it goes. */
void mem_tune(void)
{
#ifdef __GLIBC__
    enum { MAPPED_MIN = 256 * 1024, TOP_KEPT = 8 * 1024 * 1024 };
    (void)mallopt(M_MMAP_THRESHOLD, MAPPED_MIN); /* refused by a sanitizer's malloc: nothing is lost */
    (void)mallopt(M_TRIM_THRESHOLD, TOP_KEPT);
#endif
}

void mem_trim(void)
{
#ifdef __GLIBC__
    malloc_trim(0);
#endif
}

void mem_heap(size_t *bytes, size_t *used)
{
    *bytes = *used = 0;
#ifdef __GLIBC__
    struct mallinfo2 info = mallinfo2();
    *bytes = info.arena + info.hblkhd;
    *used = info.uordblks + info.hblkhd;
#endif
}
