/* fuzz_page.c - any bytes as a page of a queue: it is refused, or every record lies in it. Of an input that
 * begins with 1 magic, size and checksum are made right first, so that what is behind them is reached. A page
 * that is read is also thinned, and what comes out of that is a page. */
#include "base/assert.h"
#include "base/mem.h"
#include "store/format.h"
#include "store/page.h"
#include "tests/fuzz/fuzz.h"

enum { ID = 7, PAGE_MAX = 1 << 20 };

#define ZERO8 "\0\0\0\0\0\0\0\0"
#define HEAD(count) "LEVRPAGE" ZERO8 "\7\0\0\0\0\0\0\0" "\1\0\0\0\0\0\0\0" "\5\0\0\0\0\0\0\0"               \
                    "\0\0\0\0" count "\0\0\0" ZERO8 ZERO8

const struct slice fuzz_seeds[] = {
    FUZZ_SEED("\1" HEAD("\2") "\1\2\3\0\2\0\0\0\1\0\0\0" "exkeyppb" "\0\0\1\0\0\0\0\0\0\0\0\0" "k"),
    FUZZ_SEED("\1" HEAD("\5") "\x08\0\0\0\0\0\0\0\4\0\0\0" "\x11\0\1\0\0\0\0\0\1\0\0\0" ZERO8 "kb"),
    FUZZ_SEED("\1" HEAD("\1") "\1\2\3\0\2\0\0\0\xff\xff\xff\xff" "exkeypp"),
    FUZZ_SEED("\0" HEAD("\1") "\1\0\0\0\0\0\0\0\0\0\0\0"),
};
const size_t fuzz_seeds_count = array_size(fuzz_seeds);

static void mend(uint8_t *page, size_t size)
{
    memcpy(page + PAGE_MAGIC, "LEVRPAGE", 8);
    format_put_u64(page + PAGE_ID, ID);
    format_put_u32(page + PAGE_SIZE, (uint32_t)size);
    format_put_u64(page + PAGE_CHECKSUM, XXH3_64bits_withSeed(page + PAGE_ID, size - PAGE_ID, ID));
}

static uint32_t walk(struct slice page, uint32_t *persistent)
{
    struct slice rest;
    uint32_t count = page_open(page, &rest), seen = 0;
    while (seen < count) {
        struct page_record record;
        page_next(&rest, &record);
        assert(record.run > 0 && record.run <= count - seen);
        (void)(slice_hash(record.exchange, 1) + slice_hash(record.key, 1) + slice_hash(record.props, 1) +
               slice_hash(record.body, 1));
        *persistent += record.flags & PAGE_PERSISTENT ? record.run : 0;
        seen += record.run;
    }
    assertf(rest.len == 0, "%zu bytes are left", rest.len);
    return seen;
}

/* Every third message is acked. */
static void thin(struct slice page, uint32_t count)
{
    static uint8_t acked[PAGE_MESSAGES_MAX / 8], room[2 * PAGE_MAX];
    struct page_draft draft;
    uint32_t persistent = 0;
    memset(acked, 0x49, sizeof(acked));
    size_t size = page_thin(NULL, page, acked, false);
    if (PAGE_HEADER_BYTES + size > sizeof(room))
        return;
    page_begin(&draft, room, PAGE_HEADER_BYTES + size);
    page_thin(&draft, page, acked, false);
    page_seal(&draft, ID, 1, 5);
    struct slice thinned = slice_of(room, draft.used);
    assert(draft.count == count);
    assert(page_check(thinned, ID));
    assert(walk(thinned, &persistent) == count);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 || size > PAGE_MAX)
        return 0;
    uint8_t *page = mem_alloc(size);
    struct slice bytes = slice_of(page, size - 1);
    memcpy(page, data + 1, size - 1);
    if (data[0] == 1 && bytes.len > PAGE_HEADER_BYTES)
        mend(page, bytes.len);
    if (page_check(bytes, ID)) {
        uint32_t persistent = 0, count = walk(bytes, &persistent);
        assert(persistent <= count);
        if (count <= PAGE_MESSAGES_MAX)
            thin(bytes, count);
    }
    mem_free(page);
    return 0;
}
