/* props.h - the 14 properties of class basic (specification, section 1.8 "basic"), from properties.def.
 * A message keeps its property bytes as they came (flags and values); this reads them in place. */
#ifndef PROTOCOL_PROPS_H
#define PROTOCOL_PROPS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/slice.h"
#include "protocol/fault.h"
#include "protocol/method.h"

enum {
#define PROPERTY(bit, type, name) PROP_##name = 1 << (bit),
#include "protocol/properties.def"
#undef PROPERTY
};

struct props {
    uint16_t flags; /* PROP_… of those present; the others are zero below */
#define PROPERTY(bit, type, name) field_##type name;
#include "protocol/properties.def"
#undef PROPERTY
};

/* Reads flags and values. Faults 502 (malformed), 501 (bad UTF-8 in a shortstr is NOT an error here:
 * property strings pass through). A continuation flag (bit 0) is refused with 502. */
bool props_decode(struct slice bytes, struct props *props, struct fault *f);
/* True when the flags name that property; the bytes need not be checked. */
static inline bool props_have(struct slice bytes, uint16_t flag)
{
    return bytes.len > 2 && ((uint16_t)(bytes.at[0] << 8 | bytes.at[1]) & flag);
}

/* The priority of properties that have one; 0 when they are malformed. */
uint8_t props_priority(struct slice bytes);
/* Appends a copy of checked property bytes with that header, a 64-bit integer, added or replaced. */
void props_put_header(struct buf *out, struct slice bytes, const char *name, int64_t value);
/* Appends flags and values. */
void props_encode(struct buf *out, const struct props *props);

/* The content header frame's payload: class 60, weight 0, body size, property bytes. */
struct content_header {
    uint16_t class_id;
    uint16_t weight;
    uint64_t body_size;
    struct slice props; /* flags and values, not yet checked */
};

/* False when fewer than 14 octets. */
bool content_header_decode(struct slice payload, struct content_header *header);

#endif
