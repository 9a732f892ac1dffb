/* props.c - the properties of a message, read in place from the bytes that came (specification, section
 * 4.2.6.1): 16 flags, then the values of those present, in the order of their flags. */
#include "protocol/props.h"

#include "base/assert.h"
#include "protocol/table.h"
#include "protocol/wire.h"

enum {
    CLASS_BASIC = 60,
    CONTENT_HEADER_MIN = 14, /* class, weight, body size, flags */
    FLAG_MORE = 1 << 0,      /* another 16 flags follow; class basic has no property for them */
    FLAG_NONE = 1 << 1,      /* belongs to no property */
};

static __attribute__((cold, noinline)) bool refuse(bool cut, bool bad_headers, struct fault *f)
{
    const char *what = "octets after the last property";
    if (bad_headers)
        what = "malformed or too deeply nested table 'headers'";
    else if (cut)
        what = "properties are cut short";
    fault(f, SYNTAX_ERROR, "%s in a content header", what);
    f->class_id = CLASS_BASIC;
    return false;
}

/* Flattened for the cursor to live in registers, as in method_decode. */
__attribute__((flatten)) bool props_decode(struct slice bytes, struct props *props, struct fault *f)
{
    struct reader r = reader_of(bytes);
    uint16_t flags = read_u16(&r);
    props->flags = flags;
    if (flags & (FLAG_MORE | FLAG_NONE)) {
        fault(f, SYNTAX_ERROR, "property flags 0x%04x name no property", flags);
        f->class_id = CLASS_BASIC;
        return false;
    }
#define PROPERTY(bit, type, name) \
    props->name = flags & PROP_##name ? read_##type(&r) : (field_##type){0};
#include "protocol/properties.def"
#undef PROPERTY
    bool bad_headers = props->headers.len && !table_check(props->headers);
    if (r.bad || r.at != r.end || bad_headers)
        return refuse(r.bad, bad_headers, f);
    return true;
}

uint8_t props_priority(struct slice bytes)
{
    struct reader r = reader_of(bytes);
    uint16_t flags = read_u16(&r);
    assert(flags & PROP_priority);
    if (flags & PROP_content_type)
        read_sstr(&r);
    if (flags & PROP_content_encoding)
        read_sstr(&r);
    if (flags & PROP_headers)
        read_bytes(&r, read_u32(&r));
    if (flags & PROP_delivery_mode)
        read_u8(&r);
    uint8_t priority = read_u8(&r);
    return r.bad ? 0 : priority;
}

/* Octets that a value takes. */
static size_t size_u8(uint8_t v)
{
    return sizeof(v);
}

static size_t size_u64(uint64_t v)
{
    return sizeof(v);
}

static size_t size_sstr(struct slice v)
{
    return 1 + v.len;
}

static size_t size_table(struct slice v)
{
    return 4 + v.len;
}

void props_encode(struct buf *out, const struct props *props)
{
    assertf(!(props->flags & (FLAG_MORE | FLAG_NONE)), "flags 0x%04x", props->flags);
    size_t size = sizeof(props->flags);
#define PROPERTY(bit, type, name)   \
    if (props->flags & PROP_##name) \
        size += size_##type(props->name);
#include "protocol/properties.def"
#undef PROPERTY
    struct writer w = writer_of(buf_reserve(out, size), size);
    write_u16(&w, props->flags);
#define PROPERTY(bit, type, name)   \
    if (props->flags & PROP_##name) \
        write_##type(&w, props->name);
#include "protocol/properties.def"
#undef PROPERTY
    assert(!w.bad && w.at == w.end);
    out->len += size;
}

bool content_header_decode(struct slice payload, struct content_header *header)
{
    if (payload.len < CONTENT_HEADER_MIN)
        return false;
    struct reader r = reader_of(payload);
    header->class_id = read_u16(&r);
    header->weight = read_u16(&r);
    header->body_size = read_u64(&r);
    header->props = slice_of(r.at, (size_t)(r.end - r.at));
    assert(!r.bad && header->props.len >= 2);
    return true;
}

void props_put_header(struct buf *out, struct slice bytes, const char *name, int64_t value)
{
    struct props props;
    struct fault f;
    struct buf headers = {0};
    bool good = props_decode(bytes, &props, &f);
    assertf(good, "properties were checked when they came: %s", f.text);
    struct slice rest = props.headers, found;
    struct field field;
    const uint8_t *from = rest.at;
    while (table_next(&rest, &found, &field)) {
        if (!slice_is(found, name))
            buf_append(&headers, from, (size_t)(rest.at - from));
        from = rest.at;
    }
    table_put_int(&headers, name, value);
    props.headers = buf_slice(&headers);
    props.flags |= PROP_headers;
    props_encode(out, &props);
    buf_free(&headers);
}
