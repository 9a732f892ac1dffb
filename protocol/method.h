/* method.h - the methods of AMQP 0-9-1 and RabbitMQ's extensions, all from methods.def:
 * for each one a struct `amqp_<class>_<method>`, an id METHOD_<CLASS>_<METHOD>-like constant
 * (lower case kept: METHOD_basic_publish), a decoder and an encoder. Slices point into the input. */
#ifndef PROTOCOL_METHOD_H
#define PROTOCOL_METHOD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"
#include "protocol/fault.h"
#include "protocol/wire.h"

#define METHOD_ID(class_id, method_id) ((uint32_t)(class_id) << 16 | (method_id))

enum method_id {
#define METHOD(class, name, class_id, method_id, content, fields) \
    METHOD_##class##_##name = METHOD_ID(class_id, method_id),
#include "protocol/methods.def"
#undef METHOD
};

/* C types of the field types in methods.def. */
typedef uint8_t field_u8;
typedef uint16_t field_u16;
typedef uint32_t field_u32;
typedef uint64_t field_u64;
typedef bool field_bit;
typedef struct slice field_sstr;  /* valid UTF-8 when decoded, at most 255 bytes */
typedef struct slice field_lstr;
typedef struct slice field_table; /* the fields without the length prefix, well-formed when decoded */

/* One struct a method; C has no empty struct, so a method without fields gets a member nobody uses. */
#define FIELD(type, name) field_##type name;
#define NO_FIELDS uint8_t no_fields;
#define METHOD(class, name, class_id, method_id, content, fields) \
    struct amqp_##class##_##name {                                \
        fields                                                    \
    };
#include "protocol/methods.def"
#undef METHOD
#undef NO_FIELDS
#undef FIELD

struct method {
    uint32_t id; /* enum method_id */
    union {
#define METHOD(class, name, class_id, method_id, content, fields) \
    struct amqp_##class##_##name class##_##name;
#include "protocol/methods.def"
#undef METHOD
    };
};

/* Decodes a method frame's payload. Faults: 540 for an unknown class or method, 501 "Malformed UTF-8 in
 * shortstr", 502 for a malformed or too deep table and for ids or arguments that are cut short or
 * followed by more. The fault's class_id/method_id are set. *m is of no use after a fault. */
bool method_decode(struct slice payload, struct method *m, struct fault *f);

/* Writes class id, method id and arguments; m->id is a known one. Does not fit: the writer is bad. */
void method_encode(struct writer *w, const struct method *m);

/* "basic.publish", "basic.get_ok" (as RabbitMQ writes them); "unknown" for an id not in methods.def. */
const char *method_name(uint32_t id);
/* True when a content header and body follow (basic.publish, return, deliver, get-ok). */
bool method_has_content(uint32_t id);

#endif
