/* wire.c - the writing cursor over AMQP's data types (specification, section 4.2.5); the reading one is
 * small and hot, and lives in the header.
 * A value that does not fit is not written in part: the writer turns bad and stays where it is, even when
 * something smaller that comes later would fit. */
#include "protocol/wire.h"

#include <string.h>

#include "base/assert.h"

/* Room for `size` octets, or NULL and a bad writer. */
static uint8_t *make_room(struct writer *w, size_t size)
{
    assert(w->at && w->at <= w->end);
    uint8_t *at = w->at;
    w->bits_octet = NULL;
    if (w->bad || (size_t)(w->end - at) < size) {
        w->bad = true;
        return NULL;
    }
    w->at = at + size;
    return at;
}

void write_u8(struct writer *w, uint8_t v)
{
    uint8_t *at = make_room(w, 1);
    if (at)
        *at = v;
}

void write_u16(struct writer *w, uint16_t v)
{
    uint8_t *at = make_room(w, 2);
    if (at)
        at[0] = (uint8_t)(v >> 8), at[1] = (uint8_t)v;
}

void write_u32(struct writer *w, uint32_t v)
{
    uint8_t *at = make_room(w, 4);
    if (at)
        wire_put_u32(at, v);
}

void write_u64(struct writer *w, uint64_t v)
{
    uint8_t *at = make_room(w, 8);
    if (at)
        wire_put_u64(at, v);
}

void write_bit(struct writer *w, bool v)
{
    if (!w->bits_octet || w->bits_used == 8) {
        uint8_t *octet = make_room(w, 1);
        if (!octet)
            return;
        *octet = 0;
        w->bits_octet = octet;
        w->bits_used = 0;
    }
    *w->bits_octet |= (uint8_t)(v << w->bits_used++);
}

void write_sstr(struct writer *w, struct slice v)
{
    assertf(v.len <= UINT8_MAX, "a short string of %zu bytes", v.len);
    uint8_t *at = make_room(w, 1 + v.len);
    if (!at)
        return;
    at[0] = (uint8_t)v.len;
    if (v.len)
        memcpy(at + 1, v.at, v.len);
}

void write_lstr(struct writer *w, struct slice v)
{
    assertf(v.len <= UINT32_MAX, "a long string of %zu bytes", v.len);
    uint8_t *at = make_room(w, 4 + v.len);
    if (!at)
        return;
    wire_put_u32(at, (uint32_t)v.len);
    if (v.len)
        memcpy(at + 4, v.at, v.len);
}

void write_table(struct writer *w, struct slice fields)
{
    write_lstr(w, fields);
}

void write_bytes(struct writer *w, struct slice v)
{
    uint8_t *at = make_room(w, v.len);
    if (at && v.len)
        memcpy(at, v.at, v.len);
}
