/* page.c - a page as bytes.
 *
 * Failure modes: bytes that are not what was written are refused by page_check, never read. */
#include "store/page.h"

#include <string.h>

#include "base/assert.h"
#include "store/format.h"

#define FORMAT_PAGE_MAGIC "LEVRPAGE"

void page_begin(struct page_draft *draft, uint8_t *bytes, size_t size)
{
    assertf(size > PAGE_HEADER_BYTES && size <= UINT32_MAX, "a page of %zu bytes", size);
    *draft = (struct page_draft){.bytes = bytes, .used = PAGE_HEADER_BYTES, .size = size};
}

static uint8_t *put_bytes(uint8_t *at, struct slice s)
{
    if (s.len)
        memcpy(at, s.at, s.len);
    return at + s.len;
}

void page_add(struct page_draft *draft, const struct page_record *record)
{
    uint8_t *at = draft->bytes + draft->used;
    size_t size = page_record_size(record);
    assert(size <= draft->size - draft->used && draft->count < PAGE_MESSAGES_MAX);
    assert(record->exchange.len <= UINT8_MAX && record->key.len <= UINT8_MAX);
    at[PAGE_RECORD_FLAGS] = record->flags;
    at[PAGE_RECORD_EXCHANGE_LEN] = (uint8_t)record->exchange.len;
    at[PAGE_RECORD_KEY_LEN] = (uint8_t)record->key.len;
    at[PAGE_RECORD_KEY_LEN + 1] = 0;
    format_put_u32(at + PAGE_RECORD_PROPS_LEN, (uint32_t)record->props.len);
    format_put_u32(at + PAGE_RECORD_BODY_LEN, (uint32_t)record->body.len);
    at += PAGE_RECORD_HEADER_BYTES;
    if (record->flags & PAGE_HAS_BORN) {
        format_put_u64(at, record->born_ms);
        at += PAGE_BORN_BYTES;
    }
    at = put_bytes(at, record->exchange);
    put_bytes(put_bytes(put_bytes(at, record->key), record->props), record->body);
    if (record->flags & PAGE_GONE)
        draft->gone_bits[draft->count / 8] |= (uint8_t)(1u << draft->count % 8);
    draft->used += size;
    draft->count++;
    draft->persistent += (record->flags & PAGE_PERSISTENT) != 0;
    draft->gone += (record->flags & PAGE_GONE) != 0;
    draft->body_bytes += (uint32_t)record->body.len;
}

static uint64_t checksum(const uint8_t *page, size_t size, uint64_t id)
{
    return XXH3_64bits_withSeed(page + PAGE_ID, size - PAGE_ID, id);
}

void page_seal(struct page_draft *draft, uint64_t id, uint64_t queue_id, uint64_t first)
{
    uint8_t *page = draft->bytes;
    assert(draft->used == draft->size && draft->count > 0);
    memset(page, 0, PAGE_HEADER_BYTES);
    memcpy(page + PAGE_MAGIC, FORMAT_PAGE_MAGIC, 8);
    format_put_u64(page + PAGE_ID, id);
    format_put_u64(page + PAGE_QUEUE, queue_id);
    format_put_u64(page + PAGE_FIRST, first);
    format_put_u32(page + PAGE_SIZE, (uint32_t)draft->size);
    format_put_u32(page + PAGE_COUNT, draft->count);
    format_put_u64(page + PAGE_BODY_BYTES, draft->body_bytes);
    format_put_u64(page + PAGE_CHECKSUM, checksum(page, draft->size, id));
}

/* True when the lengths in the records add up: a checksum that holds says only that they are what was
 * written. */
static bool records_fit(struct slice bytes)
{
    const uint8_t *at = bytes.at + PAGE_HEADER_BYTES;
    size_t left = bytes.len - PAGE_HEADER_BYTES;
    for (uint32_t count = format_u32(bytes.at + PAGE_COUNT); count; count--) {
        if (left < PAGE_RECORD_HEADER_BYTES)
            return false;
        uint64_t born = at[PAGE_RECORD_FLAGS] & PAGE_HAS_BORN ? PAGE_BORN_BYTES : 0;
        uint64_t size = PAGE_RECORD_HEADER_BYTES + born + at[PAGE_RECORD_EXCHANGE_LEN] +
                        at[PAGE_RECORD_KEY_LEN] + format_u32(at + PAGE_RECORD_PROPS_LEN) +
                        format_u32(at + PAGE_RECORD_BODY_LEN);
        if (size > left)
            return false;
        at += size, left -= (size_t)size;
    }
    return left == 0;
}

bool page_check(struct slice bytes, uint64_t id)
{
    return bytes.len > PAGE_HEADER_BYTES && memcmp(bytes.at, FORMAT_PAGE_MAGIC, 8) == 0 &&
           format_u64(bytes.at + PAGE_ID) == id && format_u32(bytes.at + PAGE_SIZE) == bytes.len &&
           format_u64(bytes.at + PAGE_CHECKSUM) == checksum(bytes.at, bytes.len, id) && records_fit(bytes);
}

uint32_t page_open(struct slice bytes, struct slice *rest)
{
    assert(bytes.len > PAGE_HEADER_BYTES);
    *rest = slice_of(bytes.at + PAGE_HEADER_BYTES, bytes.len - PAGE_HEADER_BYTES);
    return format_u32(bytes.at + PAGE_COUNT);
}

static struct slice cut(struct slice *rest, size_t len)
{
    struct slice part = slice_of(rest->at, len);
    assert(len <= rest->len);
    *rest = slice_of(rest->at + len, rest->len - len);
    return part;
}

void page_next(struct slice *rest, struct page_record *record)
{
    const uint8_t *head = cut(rest, PAGE_RECORD_HEADER_BYTES).at;
    record->flags = head[PAGE_RECORD_FLAGS];
    record->born_ms = record->flags & PAGE_HAS_BORN ? format_u64(cut(rest, PAGE_BORN_BYTES).at) : 0;
    record->exchange = cut(rest, head[PAGE_RECORD_EXCHANGE_LEN]);
    record->key = cut(rest, head[PAGE_RECORD_KEY_LEN]);
    record->props = cut(rest, format_u32(head + PAGE_RECORD_PROPS_LEN));
    record->body = cut(rest, format_u32(head + PAGE_RECORD_BODY_LEN));
}
