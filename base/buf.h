/* buf.h - a growable run of bytes with one owner. */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

struct buf {
    uint8_t *at; /* NULL until the first byte */
    size_t len, capacity;
};

/* Room for `size` more bytes; returns where they go. The caller adds what it wrote to buf.len. */
uint8_t *buf_reserve(struct buf *buf, size_t size);
void buf_append(struct buf *buf, const void *bytes, size_t size);
void buf_append_slice(struct buf *buf, struct slice s);
/* printf to the end; no terminating zero is counted. */
void buf_printf(struct buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Drops the first `size` bytes (moves the rest). */
void buf_consume(struct buf *buf, size_t size);
void buf_free(struct buf *buf);

static inline struct slice buf_slice(const struct buf *buf)
{
    return slice_of(buf->at, buf->len);
}

#endif
