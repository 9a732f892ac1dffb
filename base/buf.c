/* buf.c - a growable run of bytes with one owner. */
#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"

uint8_t *buf_reserve(struct buf *buf, size_t size)
{
    size_t need = buf->len + size;
    assert(need >= size);
    if (need > buf->capacity) {
        size_t capacity = buf->capacity ? buf->capacity : 64;
        while (capacity < need)
            capacity *= 2;
        buf->at = mem_realloc(buf->at, capacity);
        buf->capacity = capacity;
    }
    return buf->at ? buf->at + buf->len : NULL; /* NULL + 0 is no pointer in C */
}

void buf_append(struct buf *buf, const void *bytes, size_t size)
{
    if (size == 0)
        return;
    memcpy(buf_reserve(buf, size), bytes, size);
    buf->len += size;
}

void buf_append_slice(struct buf *buf, struct slice s)
{
    buf_append(buf, s.at, s.len);
}

void buf_printf(struct buf *buf, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    assert(len >= 0);
    va_start(args, format);
    vsnprintf((char *)buf_reserve(buf, (size_t)len + 1), (size_t)len + 1, format, args);
    va_end(args);
    buf->len += (size_t)len;
}

void buf_consume(struct buf *buf, size_t size)
{
    assert(size <= buf->len);
    buf->len -= size;
    if (size && buf->len)
        memmove(buf->at, buf->at + size, buf->len);
}

void buf_free(struct buf *buf)
{
    mem_free(buf->at);
    *buf = (struct buf){0};
}
