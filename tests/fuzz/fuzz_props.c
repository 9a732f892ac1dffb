/* fuzz_props.c - content headers: properties that are accepted are written again octet for octet, as a
 * message must leave the broker with the bytes that it came with. */
#include "base/assert.h"
#include "base/mem.h"
#include "protocol/props.h"
#include "protocol/table.h"
#include "tests/fuzz/fuzz.h"

const struct slice fuzz_seeds[] = {
    FUZZ_SEED("\0\x3C\0\0\0\0\0\0\0\0\0\x05\0\0"),
    FUZZ_SEED("\0\x3C\0\0\0\0\0\0\0\0\0\x05\x90\x40\x0Atext/plain\x02\0\0\0\0\x5F\0\0\x01"),
    FUZZ_SEED("\0\x3C\0\0\0\0\0\0\0\0\0\x05\xFF\xFC\x01" "a\x01" "b\0\0\0\x03\x01hV\x02\x09"
              "\x01" "c\x01" "d\x01" "e\x01" "f\0\0\0\0\0\0\0\x07\x01g\x01h\x01i\x01j"),
    FUZZ_SEED("\0\x3C\0\0\0\0\0\0\0\0\0\x05\x20\0\0\0\0\x0C\x01hF\0\0\0\x05\x01xs\0\x01"),
};
const size_t fuzz_seeds_count = array_size(fuzz_seeds);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct content_header header;
    struct props props;
    struct fault f = {0};
    if (!content_header_decode(slice_of(data, size), &header)) {
        assert(size < 14);
        return 0;
    }
    assert(header.props.at == data + 12 && header.props.len == size - 12);
    if (!props_decode(header.props, &props, &f)) {
        assert(f.code == SYNTAX_ERROR && f.class_id == 60);
        assert(memchr(f.text, 0, sizeof(f.text)));
        return 0;
    }
    assert(table_check(props.headers));
    struct buf out = {0};
    props_encode(&out, &props);
    assertf(slice_equal(buf_slice(&out), header.props), "flags 0x%04x", props.flags);
    buf_free(&out);
    return 0;
}
