/* wire.h - cursors over AMQP's data types (specification, section 4.2.5): big-endian integers, bits packed
 * into octets, strings, tables. A cursor that runs out turns `bad` and stays bad: one test at the end
 * tells. Consecutive bits share an octet; any other type ends the run. */
#ifndef PROTOCOL_WIRE_H
#define PROTOCOL_WIRE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"

struct reader {
    const uint8_t *at, *end; /* never NULL; nothing is left once the reader is bad */
    bool bad;
    uint8_t bits, bits_used; /* the octet that bits are being taken from; 0 used = none open */
};

struct writer {
    uint8_t *at, *end;
    bool bad;             /* did not fit */
    uint8_t *bits_octet;  /* the octet that bits are being put into, NULL = none open */
    uint8_t bits_used;
};

static inline struct reader reader_of(struct slice bytes)
{
    const uint8_t *at = bytes.at ? bytes.at : (const uint8_t *)"";
    return (struct reader){.at = at, .end = at + bytes.len};
}

static inline struct writer writer_of(uint8_t *at, size_t size)
{
    return (struct writer){.at = at, .end = at + size};
}

/* Big-endian integers, at any address. */
static inline uint16_t load_u16(const uint8_t *at)
{
    return (uint16_t)(at[0] << 8 | at[1]);
}

static inline uint32_t load_u32(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static inline uint64_t load_u64(const uint8_t *at)
{
    return (uint64_t)load_u32(at) << 32 | load_u32(at + 4);
}

/* The same way back, for what is written once a message, where there is room; they return what is behind. */
static inline uint8_t *wire_put_u32(uint8_t *at, uint32_t v)
{
    at[0] = (uint8_t)(v >> 24), at[1] = (uint8_t)(v >> 16), at[2] = (uint8_t)(v >> 8), at[3] = (uint8_t)v;
    return at + 4;
}
static inline uint8_t *wire_put_u64(uint8_t *at, uint64_t v)
{
    return wire_put_u32(wire_put_u32(at, (uint32_t)(v >> 32)), (uint32_t)v);
}

static inline uint8_t *wire_put_sstr(uint8_t *at, struct slice v)
{
    *at++ = (uint8_t)v.len;
    if (v.len)
        memcpy(at, v.at, v.len);
    return at + v.len;
}

/* The next `size` octets, or NULL and a bad reader. */
static inline const uint8_t *reader_take(struct reader *r, size_t size)
{
    const uint8_t *at = r->at;
    r->bits_used = 0;
    if ((size_t)(r->end - at) < size) {
        r->bad = true;
        r->at = r->end;
        return NULL;
    }
    r->at = at + size;
    return at;
}

/* All of these are 0, false or empty from a bad reader; the slices point into the input. */
static inline uint8_t read_u8(struct reader *r)
{
    const uint8_t *at = reader_take(r, 1);
    return at ? *at : 0;
}

static inline uint16_t read_u16(struct reader *r)
{
    const uint8_t *at = reader_take(r, 2);
    return at ? load_u16(at) : 0;
}

static inline uint32_t read_u32(struct reader *r)
{
    const uint8_t *at = reader_take(r, 4);
    return at ? load_u32(at) : 0;
}

static inline uint64_t read_u64(struct reader *r)
{
    const uint8_t *at = reader_take(r, 8);
    return at ? load_u64(at) : 0;
}

static inline bool read_bit(struct reader *r)
{
    if (r->bits_used == 0 || r->bits_used == 8)
        r->bits = read_u8(r), r->bits_used = 0;
    return r->bits >> r->bits_used++ & 1;
}

static inline struct slice read_bytes(struct reader *r, size_t size)
{
    const uint8_t *at = reader_take(r, size);
    return at ? slice_of(at, size) : slice_of(r->at, 0);
}

static inline struct slice read_sstr(struct reader *r)
{
    return read_bytes(r, read_u8(r));
}

static inline struct slice read_lstr(struct reader *r)
{
    return read_bytes(r, read_u32(r));
}

/* The fields without the length prefix; not validated. */
static inline struct slice read_table(struct reader *r)
{
    return read_lstr(r);
}

/* From a bad writer on nothing more is written. */
void write_u8(struct writer *w, uint8_t v);
void write_u16(struct writer *w, uint16_t v);
void write_u32(struct writer *w, uint32_t v);
void write_u64(struct writer *w, uint64_t v);
void write_bit(struct writer *w, bool v);
void write_sstr(struct writer *w, struct slice v); /* asserts len <= 255 */
void write_lstr(struct writer *w, struct slice v);
void write_table(struct writer *w, struct slice fields); /* adds the length prefix */
void write_bytes(struct writer *w, struct slice v);

#endif
