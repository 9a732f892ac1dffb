/* fuzz_method.c - method payloads: what is accepted can be written again, and reads the same; what is refused
 * says so with a code of the protocol. */
#include "base/assert.h"
#include "base/mem.h"
#include "protocol/method.h"
#include "tests/fuzz/fuzz.h"

const struct slice fuzz_seeds[] = {
    FUZZ_SEED("\0\x3C\0\x28\0\0\x03" "exc\x02rk\x01"),
    FUZZ_SEED("\0\x3C\0\x50\0\0\0\0\0\0\0\x01\x01"),
    FUZZ_SEED("\0\x32\0\x0A\0\0\x01q\x1A\0\0\0\x07\x01" "aI\0\0\0\x01"),
    FUZZ_SEED("\0\x0A\0\x0B\0\0\0\x0B\x01" "cF\0\0\0\x04\x01kt\x01\x05PLAIN\0\0\0\x04\0a\0b\x05" "en_US"),
    FUZZ_SEED("\0\x28\0\x0A\0\0\x01" "e\x06" "direct\x02\0\0\0\x05\x01" "aA\0\0\0\0"),
    FUZZ_SEED("\0\x3C\0\x3C\x01t\0\0\0\0\0\0\0\x09\x01\x01" "e\x03\xED\x95\x9C"),
    FUZZ_SEED("\0\x14\0\x28\x01\x94\x0ANOT_FOUND \0\x32\0\x0A"),
    FUZZ_SEED("\0\x5A\0\x0A"),
};
const size_t fuzz_seeds_count = array_size(fuzz_seeds);

static struct slice encode(const struct method *m, size_t size)
{
    uint8_t *bytes = mem_alloc(size);
    struct writer w = writer_of(bytes, size);
    method_encode(&w, m);
    assertf(!w.bad && w.at == w.end, "%s does not fill %zu octets", method_name(m->id), size);
    return slice_of(bytes, size);
}

static size_t differences(struct slice a, struct slice b)
{
    size_t n = 0;
    for (size_t i = 0; i < a.len; i++)
        n += a.at[i] != b.at[i];
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct method m, back;
    struct fault f = {0};
    struct slice payload = slice_of(data, size);
    if (!method_decode(payload, &m, &f)) {
        assert(f.code == NOT_IMPLEMENTED || f.code == SYNTAX_ERROR || f.code == FRAME_ERROR);
        assert(f.text[0] && memchr(f.text, 0, sizeof(f.text)));
        assert(reply_code_is_hard(f.code));
        return 0;
    }
    /* The same octets, but for the unused bits of the one octet of bits that a method has at most. */
    struct slice canonical = encode(&m, size);
    assertf(differences(payload, canonical) <= 1, "%s", method_name(m.id));
    bool good = method_decode(canonical, &back, &f);
    assertf(good, "%s: %s", method_name(m.id), f.text);
    struct slice again = encode(&back, size);
    assert(slice_equal(canonical, again));
    assert(strcmp(method_name(m.id), "unknown") != 0);
    slice_free(&canonical);
    slice_free(&again);
    return 0;
}
