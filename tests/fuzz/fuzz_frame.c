/* fuzz_frame.c - a stream of frames: whatever comes, a frame that is cut lies inside the input, is not cut
 * before it is whole, and is the one that was written. */
#include "base/assert.h"
#include "base/mem.h"
#include "protocol/frame.h"
#include "protocol/wire.h"
#include "tests/fuzz/fuzz.h"

const struct slice fuzz_seeds[] = {
    FUZZ_SEED("\x08\0\0\0\0\0\0\xCE"),
    FUZZ_SEED("\x01\0\x01\0\0\0\x0D\0\x3C\0\x50\0\0\0\0\0\0\0\x01\0\xCE"),
    FUZZ_SEED("\x02\0\x01\0\0\0\x0E\0\x3C\0\0\0\0\0\0\0\0\0\x02\0\0\xCE\x03\0\x01\0\0\0\x02hi\xCE"),
    FUZZ_SEED("\x03\0\x01\0\0\x10\0"),
    FUZZ_SEED("\x03\0\x01\0\0\x10\x01"),
};
const size_t fuzz_seeds_count = array_size(fuzz_seeds);

static void check_complete(struct slice in, const struct frame *frame, size_t used, uint32_t frame_max)
{
    uint8_t head[FRAME_HEAD_SIZE];
    struct frame again;
    struct fault f;
    size_t size;
    assertf(used <= in.len && used == frame->payload.len + FRAME_OVERHEAD, "used %zu", used);
    assert(frame->payload.len <= frame_max);
    assert(frame->payload.at == in.at + FRAME_HEAD_SIZE);
    assert(in.at[used - 1] == FRAME_END);
    frame_write_head(head, frame->type, frame->channel, (uint32_t)frame->payload.len);
    assert(memcmp(head, in.at, sizeof(head)) == 0);
    assert(frame_cut(slice_of(in.at, used - 1), frame_max, &again, &size, &f) == FRAME_NEEDS_MORE);
    assert(frame_cut(slice_of(in.at, used), frame_max, &again, &size, &f) == FRAME_COMPLETE);
}

/* What is neither whole nor wrong is shorter than it says; of an unknown type, too. */
static void check_needs_more(struct slice in, uint32_t frame_max)
{
    struct frame frame;
    struct fault f;
    uint32_t size;
    if (in.len < FRAME_HEAD_SIZE)
        return;
    bool good = frame_head(in, frame_max, &frame, &size, &f);
    assert(size == load_u32(in.at + 3) && frame.channel == load_u16(in.at + 1));
    assert(good || (f.code == FRAME_ERROR && strstr(f.text, "unknown_frame")));
    assert(size <= frame_max && in.len < (size_t)size + FRAME_OVERHEAD);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice in = slice_of(data, size);
    /* The first octet chooses frame_max, so that both sides of the limit are near. */
    uint32_t frame_max = FRAME_MIN_SIZE + (size ? data[0] : 0u);
    while (in.len) {
        struct frame frame;
        struct fault f = {0};
        size_t used = 0;
        enum frame_status status = frame_cut(in, frame_max, &frame, &used, &f);
        if (status == FRAME_BAD)
            assert(f.code == FRAME_ERROR && memchr(f.text, 0, sizeof(f.text)));
        else if (status == FRAME_NEEDS_MORE)
            check_needs_more(in, frame_max);
        if (status != FRAME_COMPLETE)
            return 0;
        check_complete(in, &frame, used, frame_max);
        in = slice_of(in.at + used, in.len - used);
    }
    return 0;
}
