/* wire.h - cursors over AMQP's data types (specification, section 4.2.5): big-endian integers, bits packed
 * into octets, short and long strings, tables. A cursor that runs out turns `bad` and stays bad: one
 * test at the end tells. Consecutive bits share an octet; any other type ends the run. */
#ifndef PROTOCOL_WIRE_H
#define PROTOCOL_WIRE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"

struct reader {
    const uint8_t *at, *end;
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
    return (struct reader){.at = bytes.at, .end = bytes.at + bytes.len};
}

static inline struct writer writer_of(uint8_t *at, size_t size)
{
    return (struct writer){.at = at, .end = at + size};
}

uint8_t read_u8(struct reader *r);
uint16_t read_u16(struct reader *r);
uint32_t read_u32(struct reader *r);
uint64_t read_u64(struct reader *r);
bool read_bit(struct reader *r);
struct slice read_sstr(struct reader *r);  /* points into the input */
struct slice read_lstr(struct reader *r);
struct slice read_table(struct reader *r); /* the fields without the length prefix; not validated */
struct slice read_bytes(struct reader *r, size_t size);

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
