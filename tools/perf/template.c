/* template.c - encodes the messages that a run publishes, once. */
#include "tools/perf/template.h"

#include "base/assert.h"
#include "base/mem.h"
#include "protocol/props.h"

static void put_method(struct buf *out, const struct method *m)
{
    uint8_t *at = buf_reserve(out, CLIENT_METHOD_MAX + FRAME_OVERHEAD);
    struct writer w = writer_of(at + FRAME_HEAD_SIZE, CLIENT_METHOD_MAX);
    method_encode(&w, m);
    assert(!w.bad);
    size_t size = (size_t)(w.at - at) - FRAME_HEAD_SIZE;
    frame_write_head(at, FRAME_METHOD, CLIENT_CHANNEL, (uint32_t)size);
    *w.at = FRAME_END;
    out->len += size + FRAME_OVERHEAD;
}

static void put_header(struct buf *out, const struct topology *topology, uint64_t v)
{
    const struct publish_options *o = &topology->options->publish;
    struct buf payload = {0}, headers = {0};
    struct props props = {0};
    uint8_t fixed[12];
    struct writer w = writer_of(fixed, sizeof(fixed));
    write_u16(&w, 60);
    write_u16(&w, 0);
    write_u64(&w, o->size);
    assert(!w.bad);
    buf_append(&payload, fixed, sizeof(fixed));
    if (o->persistent)
        props.flags |= PROP_delivery_mode, props.delivery_mode = 2;
    if (topology->kind == EXCHANGE_HEADERS) {
        topology_put_headers(topology, v, &headers);
        props.flags |= PROP_headers, props.headers = buf_slice(&headers);
    }
    props_encode(&payload, &props);
    uint8_t *at = buf_reserve(out, payload.len + FRAME_OVERHEAD);
    at = frame_write_head(at, FRAME_HEADER, CLIENT_CHANNEL, (uint32_t)payload.len);
    memcpy(at, payload.at, payload.len);
    at[payload.len] = FRAME_END;
    out->len += payload.len + FRAME_OVERHEAD;
    buf_free(&payload);
    buf_free(&headers);
}

static void put_body(struct templates *t, uint64_t size, uint32_t frame_max)
{
    uint64_t payload_max = frame_max - FRAME_OVERHEAD;
    for (uint64_t done = 0; done < size;) {
        uint64_t part = size - done < payload_max ? size - done : payload_max;
        uint8_t *at = buf_reserve(&t->body, part + FRAME_OVERHEAD);
        at = frame_write_head(at, FRAME_BODY, CLIENT_CHANNEL, (uint32_t)part);
        for (uint64_t i = 0; i < part; i++)
            at[i] = (uint8_t)('a' + (done + i) % 26);
        at[part] = FRAME_END;
        t->body.len += part + FRAME_OVERHEAD;
        done += part;
    }
    buf_reserve(&t->body, 1); /* an empty body has a place, too */
    t->stamp_at = FRAME_HEAD_SIZE;
    assert(payload_max >= STAMP_SIZE);
}

void templates_init(struct templates *t, const struct topology *topology, uint32_t frame_max)
{
    struct buf key = {0};
    *t = (struct templates){.count = topology->keys};
    t->items = mem_zalloc(t->count * sizeof(*t->items));
    for (uint64_t v = 0; v < t->count; v++) {
        size_t start = t->heads.len;
        key.len = 0;
        topology_put_key(topology, v, &key);
        assertf(key.len <= 255, "routing key of %zu bytes", key.len);
        struct method m = {.id = METHOD_basic_publish,
                           .basic_publish = {.exchange = topology->exchange, .routing_key = buf_slice(&key),
                                             .mandatory = topology->options->publish.mandatory}};
        put_method(&t->heads, &m);
        put_header(&t->heads, topology, v);
        t->items[v].size = (uint32_t)(t->heads.len - start);
        t->items[v].stream = (uint32_t)topology_stream(topology, v);
        if (t->items[v].size > t->message_max)
            t->message_max = t->items[v].size;
    }
    const uint8_t *at = t->heads.at;
    for (uint64_t v = 0; v < t->count; at += t->items[v++].size)
        t->items[v].at = at;
    put_body(t, topology->options->publish.size, frame_max);
    t->message_max += t->body.len;
    buf_free(&key);
}

void templates_free(struct templates *t)
{
    mem_free(t->items);
    buf_free(&t->heads);
    buf_free(&t->body);
    *t = (struct templates){0};
}
