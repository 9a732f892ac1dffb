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
    bool gone = record->flags & PAGE_GONE;
    assert(!gone || (record->run == 1 && record->body.len == 0));
    assert(size <= draft->size - draft->used && draft->count < PAGE_MESSAGES_MAX);
    assert(record->exchange.len <= UINT8_MAX && record->key.len <= UINT8_MAX);
    at[PAGE_RECORD_FLAGS] = record->flags;
    at[PAGE_RECORD_EXCHANGE_LEN] = (uint8_t)record->exchange.len;
    at[PAGE_RECORD_KEY_LEN] = (uint8_t)record->key.len;
    at[PAGE_RECORD_KEY_LEN + 1] = 0;
    format_put_u32(at + PAGE_RECORD_PROPS_LEN, (uint32_t)record->props.len);
    format_put_u32(at + PAGE_RECORD_BODY_LEN, gone ? record->run : (uint32_t)record->body.len);
    at += PAGE_RECORD_HEADER_BYTES;
    if (record->flags & PAGE_HAS_BORN) {
        format_put_u64(at, record->born_ms);
        at += PAGE_BORN_BYTES;
    }
    at = put_bytes(at, record->exchange);
    put_bytes(put_bytes(put_bytes(at, record->key), record->props), record->body);
    if (gone)
        draft->gone_bits[draft->count / 8] |= (uint8_t)(1u << draft->count % 8);
    draft->used += size;
    draft->count++;
    draft->persistent += (record->flags & PAGE_PERSISTENT) != 0;
    draft->gone += gone;
    draft->body_bytes += (uint32_t)record->body.len;
}

void page_append(struct page_draft *draft, struct slice page, uint32_t persistent)
{
    size_t size = page.len - PAGE_HEADER_BYTES;
    assert(page.len > PAGE_HEADER_BYTES && size <= draft->size - draft->used);
    memcpy(draft->bytes + draft->used, page.at + PAGE_HEADER_BYTES, size);
    draft->used += size;
    draft->count += format_u32(page.at + PAGE_COUNT);
    draft->persistent += persistent;
    draft->body_bytes += (uint32_t)format_u64(page.at + PAGE_BODY_BYTES);
    assert(draft->count <= PAGE_MESSAGES_MAX && persistent <= draft->count);
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

uint32_t page_part_check(struct slice record)
{
    return (uint32_t)XXH3_64bits(record.at, record.len);
}

/* True when the lengths in the records add up: a checksum that holds says only that they are what was
 * written. */
static bool records_fit(struct slice bytes)
{
    const uint8_t *at = bytes.at + PAGE_HEADER_BYTES;
    size_t left = bytes.len - PAGE_HEADER_BYTES;
    uint32_t run = 1;
    for (uint32_t count = format_u32(bytes.at + PAGE_COUNT); count; count -= run) {
        if (left < PAGE_RECORD_HEADER_BYTES)
            return false;
        uint64_t born = at[PAGE_RECORD_FLAGS] & PAGE_HAS_BORN ? PAGE_BORN_BYTES : 0;
        bool gone = at[PAGE_RECORD_FLAGS] & PAGE_GONE;
        run = gone ? format_u32(at + PAGE_RECORD_BODY_LEN) : 1;
        if (run == 0 || run > count)
            return false;
        uint64_t size = PAGE_RECORD_HEADER_BYTES + born + at[PAGE_RECORD_EXCHANGE_LEN] +
                        at[PAGE_RECORD_KEY_LEN] + format_u32(at + PAGE_RECORD_PROPS_LEN) +
                        (gone ? 0 : format_u32(at + PAGE_RECORD_BODY_LEN));
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

uint32_t page_identity(struct slice bytes, uint64_t *queue_id, uint64_t *first)
{
    assert(bytes.len > PAGE_HEADER_BYTES);
    *queue_id = format_u64(bytes.at + PAGE_QUEUE);
    *first = format_u64(bytes.at + PAGE_FIRST);
    return format_u32(bytes.at + PAGE_COUNT);
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
    uint32_t body = format_u32(head + PAGE_RECORD_BODY_LEN);
    bool gone = record->flags & PAGE_GONE;
    record->body = cut(rest, gone ? 0 : body);
    record->run = gone ? body : 1;
}

/* One record for a run of messages that are not needed. */
static size_t put_run(struct page_draft *draft, bool persistent, uint32_t run)
{
    if (run == 0)
        return 0;
    if (draft) {
        uint8_t *at = draft->bytes + draft->used;
        assert(draft->size - draft->used >= PAGE_RECORD_HEADER_BYTES);
        memset(at, 0, PAGE_RECORD_HEADER_BYTES);
        at[PAGE_RECORD_FLAGS] = PAGE_GONE | (persistent ? PAGE_PERSISTENT : 0);
        format_put_u32(at + PAGE_RECORD_BODY_LEN, run);
        draft->used += PAGE_RECORD_HEADER_BYTES;
        draft->count += run;
        draft->persistent += persistent ? run : 0;
    }
    return PAGE_RECORD_HEADER_BYTES;
}

size_t page_thin(struct page_draft *draft, struct slice page, const uint8_t *acked, bool only_persistent)
{
    struct slice rest;
    uint32_t count = page_open(page, &rest), run = 0;
    size_t size = 0;
    bool run_persistent = false;
    for (uint32_t i = 0; i < count;) {
        struct page_record record;
        page_next(&rest, &record);
        bool persistent = record.flags & PAGE_PERSISTENT;
        bool gone = record.flags & PAGE_GONE || acked[i / 8] >> i % 8 & 1 ||
                    (only_persistent && !persistent);
        if (run > 0 && (!gone || persistent != run_persistent)) {
            size += put_run(draft, run_persistent, run);
            run = 0;
        }
        run_persistent = persistent;
        if (gone)
            run += record.run;
        else
            size += page_record_size(&record);
        if (!gone && draft)
            page_add(draft, &record);
        i += record.run;
    }
    return size + put_run(draft, run_persistent, run);
}
