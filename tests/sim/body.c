/* body.c - what the messages of the simulator carry, made from their ids so that every octet can be
 * checked. */
#include "protocol/table.h"
#include "protocol/wire.h"
#include "tests/sim/model.h"

enum { ID_BYTES = 4, SIZE_BYTES = 4, HEAD_BYTES = ID_BYTES + SIZE_BYTES };

static uint8_t filler(uint32_t id, size_t at)
{
    return (uint8_t)(id * 31 + at * 7 + (at >> 8));
}

static void put_u32(uint8_t *at, uint32_t v)
{
    at[0] = (uint8_t)(v >> 24), at[1] = (uint8_t)(v >> 16), at[2] = (uint8_t)(v >> 8),
    at[3] = (uint8_t)v;
}

void model_body(uint32_t id, uint32_t size, struct buf *body)
{
    assert(size >= HEAD_BYTES);
    uint8_t *at = buf_reserve(body, size);
    put_u32(at, id);
    put_u32(at + ID_BYTES, size);
    for (size_t i = HEAD_BYTES; i < size; i++)
        at[i] = filler(id, i);
    body->len += size;
}

uint32_t model_read_body(const struct model *model, struct slice body)
{
    assertf(body.len >= HEAD_BYTES, "a body of %zu bytes", body.len);
    uint32_t id = load_u32(body.at), size = load_u32(body.at + ID_BYTES);
    assertf(id > 0 && id < model->message_count && size == body.len, "message %u of %zu bytes", id,
            body.len);
    assertf(model->messages[id].size == size, "message %u", id);
    for (size_t i = HEAD_BYTES; i < size; i++)
        assertf(body.at[i] == filler(id, i), "message %u differs at %zu", id, i);
    return id;
}

void model_binding_args(const struct model *model, int source, int key, struct buf *args)
{
    if (!slice_is(slice_of_string(model->exchanges[source].type), "headers"))
        return;
    if (key < MODEL_KEYS - 1) /* without a condition all messages match */
        table_put_int(args, "h", key);
}
