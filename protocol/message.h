/* message.h - a message: one immutable, reference counted block. The only thing that is shared.
 * Bytes behind the struct: exchange, routing key, property bytes as they came, body. */
#ifndef PROTOCOL_MESSAGE_H
#define PROTOCOL_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/assert.h"
#include "base/slab.h"
#include "base/slice.h"
#include "protocol/props.h"

struct message {
    uint32_t refs;         /* holders: entries, unacked, out-buffers, the one that assembles it */
    uint32_t props_size;
    uint32_t body_size;
    uint32_t journal_refs; /* queues that still hold the journalled message (store accounting) */
    uint64_t batch;        /* journal batch of its record; 0 = not in the journal */
    uint64_t born_ms;      /* when it was put into its queues, milliseconds since 1970 */
    uint8_t exchange_size, key_size;
    bool persistent : 1;   /* delivery-mode 2 */
    bool has_headers : 1;  /* the headers property is there: routing must look */
    bool has_expiration : 1; /* the expiration property is there */
    bool dead_letter : 1;  /* published by the broker: its x-death header is the broker's own */
    bool has_id : 1;       /* the message_id property is there: so may be duplicates */
    bool retried : 1;      /* came back by a retry: its x-retry-count header is the broker's own */
    bool moved : 1;        /* its record was written again, to let an old part of the journal go */
    bool has_priority : 1;
    uint8_t priority;      /* the property; 0 when it is missing */
    uint8_t bytes[];
};

static inline struct slice message_exchange(const struct message *m)
{
    return slice_of(m->bytes, m->exchange_size);
}

static inline struct slice message_key(const struct message *m)
{
    return slice_of(m->bytes + m->exchange_size, m->key_size);
}

static inline struct slice message_props(const struct message *m)
{
    return slice_of(m->bytes + m->exchange_size + m->key_size, m->props_size);
}

static inline uint8_t *message_body_at(struct message *m)
{
    return m->bytes + m->exchange_size + m->key_size + m->props_size;
}

static inline struct slice message_body(const struct message *m)
{
    return slice_of(m->bytes + m->exchange_size + m->key_size + m->props_size, m->body_size);
}

static inline size_t message_size(const struct message *m)
{
    return offsetof(struct message, bytes) + m->exchange_size + m->key_size + m->props_size +
           (size_t)m->body_size;
}

/* One reference for the caller; the body's bytes are the caller's to fill in. exchange and key are at most
 * 255 bytes; the caller has checked body_size against max_message_size. */
static inline struct message *message_new(struct slab_pool *pool, struct slice exchange,
                                          struct slice key, struct slice props, uint64_t body_size)
{
    assert(exchange.len <= 255 && key.len <= 255);
    assert(body_size <= UINT32_MAX);
    size_t size =
        offsetof(struct message, bytes) + exchange.len + key.len + props.len + (size_t)body_size;
    struct message *m = slab_alloc(pool, size);
    memset(m, 0, offsetof(struct message, bytes)); /* the block may end within the struct's padding */
    m->refs = 1;
    m->props_size = (uint32_t)props.len;
    m->body_size = (uint32_t)body_size;
    m->exchange_size = (uint8_t)exchange.len;
    m->key_size = (uint8_t)key.len;
    if (exchange.len)
        memcpy(m->bytes, exchange.at, exchange.len);
    if (key.len)
        memcpy(m->bytes + exchange.len, key.at, key.len);
    if (props.len) {
        memcpy(m->bytes + exchange.len + key.len, props.at, props.len);
        if (props_have(props, PROP_expiration | PROP_priority)) {
            m->has_expiration = props_have(props, PROP_expiration);
            m->has_priority = props_have(props, PROP_priority);
            m->priority = m->has_priority ? props_priority(props) : 0;
        }
    }
    return m;
}

static inline struct message *message_ref(struct message *m)
{
    m->refs++;
    return m;
}

/* Drops the caller's reference and NULLs it. */
static inline void message_unref(struct slab_pool *pool, struct message **m)
{
    struct message *message = *m;
    *m = NULL;
    assert(message->refs > 0);
    if (--message->refs == 0)
        slab_free(pool, message, message_size(message));
}

#endif
