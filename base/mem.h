/* mem.h - allocation that never returns NULL: a broker without memory cannot keep its promises, so
 * it ends. Sizes that a client chose must have passed their limit before they come here. */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include <stddef.h>

/* The struct of `type` whose member `member` is at `ptr`. */
#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr) - offsetof(type, member)))

#define array_size(array) (sizeof(array) / sizeof((array)[0]))

void *mem_alloc(size_t size) __attribute__((malloc, returns_nonnull));
/* As mem_alloc, all bytes zero. */
void *mem_zalloc(size_t size) __attribute__((malloc, returns_nonnull));
void *mem_realloc(void *block, size_t size) __attribute__((returns_nonnull));
/* A private copy of `size` bytes, followed by one zero byte that is not counted. */
void *mem_copy(const void *bytes, size_t size) __attribute__((malloc, returns_nonnull));
/* NULL is allowed. */
void mem_free(void *block);
/* For a server: blocks of a megabyte come and go without a system call each. Once, before all else. */
void mem_tune(void);
/* Gives freed memory that the allocator keeps back to the system. With millions of small blocks that takes a
 * tenth of a second. */
void mem_trim(void);
/* The heap's bytes, and how many of them are in use; 0 where the allocator does not say. */
void mem_heap(size_t *bytes, size_t *used);

#endif
