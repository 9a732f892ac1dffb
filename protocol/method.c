/* method.c - methods to and from bytes, one switch for each direction, both expanded from methods.def.
 * The decoder reads all fields with a cursor that cannot leave the payload and notes the first thing that
 * is wrong; only the test at the end turns it into a fault, so that a good method pays for one branch. */
#include "protocol/method.h"

#include "base/assert.h"
#include "protocol/table.h"

struct decoder {
    struct reader r;
    const char *bad_text;  /* the first field that is not UTF-8 */
    const char *bad_table; /* the first field that is no table */
};

static inline uint8_t take_u8(struct decoder *d, const char *name)
{
    (void)name;
    return read_u8(&d->r);
}

static inline uint16_t take_u16(struct decoder *d, const char *name)
{
    (void)name;
    return read_u16(&d->r);
}

static inline uint32_t take_u32(struct decoder *d, const char *name)
{
    (void)name;
    return read_u32(&d->r);
}

static inline uint64_t take_u64(struct decoder *d, const char *name)
{
    (void)name;
    return read_u64(&d->r);
}

static inline bool take_bit(struct decoder *d, const char *name)
{
    (void)name;
    return read_bit(&d->r);
}

static inline struct slice take_sstr(struct decoder *d, const char *name)
{
    struct slice s = read_sstr(&d->r);
    if (!slice_is_utf8(s) && !d->bad_text)
        d->bad_text = name;
    return s;
}

static inline struct slice take_lstr(struct decoder *d, const char *name)
{
    (void)name;
    return read_lstr(&d->r);
}

static inline struct slice take_table(struct decoder *d, const char *name)
{
    struct slice s = read_table(&d->r);
    if (s.len && !d->bad_table && !table_check(s))
        d->bad_table = name;
    return s;
}

static __attribute__((cold, noinline)) bool refuse(struct decoder d, uint32_t id, struct fault *f)
{
    const char *name = method_name(id);
    if (d.bad_text)
        fault(f, FRAME_ERROR, "Malformed UTF-8 in shortstr");
    else if (d.bad_table)
        fault(f, SYNTAX_ERROR, "malformed or too deeply nested table '%s' in %s", d.bad_table, name);
    else if (d.r.bad)
        fault(f, SYNTAX_ERROR, "arguments of %s are cut short", name);
    else
        fault(f, SYNTAX_ERROR, "%zu octets too many after the arguments of %s",
              (size_t)(d.r.end - d.r.at), name);
    f->class_id = (uint16_t)(id >> 16);
    f->method_id = (uint16_t)id;
    return false;
}

static __attribute__((cold, noinline)) bool refuse_id(uint32_t id, struct fault *f)
{
    unsigned class_id = id >> 16, method_id = id & 0xFFFF;
    fault(f, NOT_IMPLEMENTED, "unknown method: class %u, method %u", class_id, method_id);
    f->class_id = (uint16_t)class_id;
    f->method_id = (uint16_t)method_id;
    return false;
}

/* Flattened, so that the cursor lives in registers: basic.publish takes 9 ns, not 12. */
__attribute__((flatten)) bool method_decode(struct slice payload, struct method *m, struct fault *f)
{
    struct decoder d = {.r = reader_of(payload)};
    uint32_t id = read_u32(&d.r);
    if (d.r.bad)
        return fault(f, SYNTAX_ERROR, "a method frame of %zu octets has no class and method id",
                     payload.len);
    m->id = id;
    switch ((enum method_id)id) {
#define FIELD(type, name) args->name = take_##type(&d, #name);
#define NO_FIELDS (void)args;
#define METHOD(class, name, class_id, method_id, content, fields)           \
    case METHOD_##class##_##name: {                                         \
        struct amqp_##class##_##name *args = &m->class##_##name;            \
        fields                                                              \
        break;                                                              \
    }
#include "protocol/methods.def"
#undef METHOD
#undef NO_FIELDS
#undef FIELD
    default:
        return refuse_id(id, f);
    }
    if (d.r.bad || d.r.at != d.r.end || d.bad_text || d.bad_table)
        return refuse(d, id, f);
    return true;
}

void method_encode(struct writer *w, const struct method *m)
{
    write_u32(w, m->id);
    switch ((enum method_id)m->id) {
#define FIELD(type, name) write_##type(w, args->name);
#define NO_FIELDS (void)args;
#define METHOD(class, name, class_id, method_id, content, fields)            \
    case METHOD_##class##_##name: {                                          \
        const struct amqp_##class##_##name *args = &m->class##_##name;       \
        fields                                                               \
        return;                                                              \
    }
#include "protocol/methods.def"
#undef METHOD
#undef NO_FIELDS
#undef FIELD
    }
    panic("no method %u.%u", m->id >> 16, m->id & 0xFFFF);
}

const char *method_name(uint32_t id)
{
    switch ((enum method_id)id) {
#define METHOD(class, name, class_id, method_id, content, fields) \
    case METHOD_##class##_##name:                                 \
        return #class "." #name;
#include "protocol/methods.def"
#undef METHOD
    }
    return "unknown";
}

bool method_has_content(uint32_t id)
{
    switch ((enum method_id)id) {
#define METHOD(class, name, class_id, method_id, content, fields) \
    case METHOD_##class##_##name:                                 \
        return content;
#include "protocol/methods.def"
#undef METHOD
    }
    return false;
}
