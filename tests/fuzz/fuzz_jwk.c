/* fuzz_jwk.c - the key set of an authorization server: what is no key is left out, and a set without keys
 * leaves the old ones. */
#include "auth/jwk.h"
#include "base/assert.h"
#include "base/mem.h"
#include "tests/fuzz/fuzz.h"

#define EC_KEY(id)                                                                                           \
    "{\"kty\":\"EC\",\"crv\":\"P-256\",\"kid\":\"" id "\",\"use\":\"sig\","                                  \
    "\"x\":\"axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY\","                                                 \
    "\"y\":\"T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU\"}"

const struct slice fuzz_seeds[] = {
    FUZZ_SEED("{\"keys\":[" EC_KEY("a") "," EC_KEY("b") "]}"),
    FUZZ_SEED("{\"keys\":[{\"kty\":\"RSA\",\"kid\":\"r\",\"e\":\"AQAB\",\"n\":\"AQAB\"}," EC_KEY("a") "]}"),
    FUZZ_SEED("{\"keys\":[{\"kty\":\"oct\",\"k\":\"AAAA\"},{\"kty\":\"EC\",\"use\":\"enc\"}]}"),
    FUZZ_SEED("{\"keys\":{}}"),
};
const size_t fuzz_seeds_count = array_size(fuzz_seeds);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct jwk_set set;
    char error[200] = "";
    jwk_set_init(&set, 1);
    bool first = jwk_set_load(&set, fuzz_seeds[0], error, sizeof(error));
    assertf(first && set.by_id.size == 2, "%s", error);
    bool loaded = jwk_set_load(&set, slice_of(data, size), error, sizeof(error));
    assert(set.by_id.size > 0 && set.by_id.size <= JWK_KEYS_MAX);
    if (!loaded) {
        assert(error[0] && set.by_id.size == 2);
        assert(jwk_find(&set, SLICE("a")) && jwk_find(&set, SLICE("b")));
    }
    jwk_set_free(&set);
    return 0;
}
