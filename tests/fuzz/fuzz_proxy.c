/* fuzz_proxy.c - a PROXY header: whatever comes, it is cut inside the input, does not depend on how much has
 * come when it was complete, and what needs more is shorter than the longest header. */
#include "base/assert.h"
#include "base/mem.h"
#include "net/proxy.h"
#include "tests/fuzz/fuzz.h"

const struct slice fuzz_seeds[] = {
    FUZZ_SEED("PROXY TCP4 192.0.2.9 192.0.2.1 56324 5672\r\nAMQP\0\0\x09\x01"),
    FUZZ_SEED("PROXY TCP6 2001:db8::9 ::1 1 65535\r\n"),
    FUZZ_SEED("PROXY UNKNOWN\r\n"),
    FUZZ_SEED("\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\2\x09\xc0\0\2\1\xdc\4\x16\x28"),
    FUZZ_SEED("\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"),
    FUZZ_SEED("\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24"
              "\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x09\0\0\0\0\0\0\0\0\0\0\0\0"
              "\0\0\0\1\xdc\4\x16\x28"),
};
const size_t fuzz_seeds_count = array_size(fuzz_seeds);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct proxy_header header, again;
    const char *reason;
    size_t used, used_again;
    char host[64];
    enum proxy_status status = proxy_parse(slice_of(data, size), &header, &used, &reason);
    if (status == PROXY_NEEDS_MORE)
        assertf(size < PROXY_HEADER_MAX, "%zu bytes and no end", size);
    if (status == PROXY_BAD)
        assert(reason && reason[0]);
    if (status != PROXY_COMPLETE)
        return 0;
    assertf(used > 0 && used <= size && used <= PROXY_HEADER_MAX, "used %zu of %zu", used, size);
    status = proxy_parse(slice_of(data, used), &again, &used_again, &reason);
    assert(status == PROXY_COMPLETE && used_again == used && again.local == header.local);
    status = proxy_parse(slice_of(data, used - 1), &again, &used_again, &reason);
    assert(status == PROXY_NEEDS_MORE);
    if (!header.local) {
        assert(header.source.any.sa_family == header.destination.any.sa_family);
        address_text(&header.source, host, sizeof(host));
        assert(host[0] && host[0] != 'u'); /* not "unknown" */
    }
    return 0;
}
