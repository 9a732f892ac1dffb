/* password.c - RabbitMQ's password hash.
 * Hashes are stored and exchanged as RabbitMQ writes them (definition files, HTTP API), so users
 * move over with their passwords. One round of SHA-256 is what that format has: keep the hashes
 * secret. */
#include "auth/password.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "base/assert.h"

enum { SALT_BYTES = 4, DIGEST_BYTES = 32, RAW_BYTES = SALT_BYTES + DIGEST_BYTES };
static_assert(RAW_BYTES % 3 == 0, "the base64 text has no padding");
static_assert(RAW_BYTES / 3 * 4 == PASSWORD_HASH_LENGTH, "the length promised in the header");

static void digest(const uint8_t *salt, struct slice password, uint8_t *out)
{
    unsigned size = 0;
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool done = context && EVP_DigestInit_ex(context, EVP_sha256(), NULL) == 1 &&
                EVP_DigestUpdate(context, salt, SALT_BYTES) == 1 &&
                EVP_DigestUpdate(context, password.at, password.len) == 1 &&
                EVP_DigestFinal_ex(context, out, &size) == 1;
    EVP_MD_CTX_free(context);
    assertf(done && size == DIGEST_BYTES, "SHA-256 gave %u bytes", size);
}

/* False when the text is no hash; `raw` is then all zero. */
static bool decode(struct slice hash, uint8_t *raw)
{
    memset(raw, 0, RAW_BYTES);
    uint8_t bytes[RAW_BYTES];
    if (hash.len != PASSWORD_HASH_LENGTH ||
        EVP_DecodeBlock(bytes, hash.at, PASSWORD_HASH_LENGTH) != RAW_BYTES ||
        memchr(hash.at, '=', hash.len)) /* shorter than it decodes to */
        return false;
    memcpy(raw, bytes, RAW_BYTES);
    return true;
}

void password_hash(struct rand *rand, struct slice password, char *hash)
{
    uint8_t raw[RAW_BYTES];
    rand_bytes(rand, raw, SALT_BYTES);
    digest(raw, password, raw + SALT_BYTES);
    int length = EVP_EncodeBlock((unsigned char *)hash, raw, RAW_BYTES);
    assertf(length == PASSWORD_HASH_LENGTH, "base64 of %d characters", length);
}

bool password_matches(struct slice hash, struct slice password)
{
    uint8_t raw[RAW_BYTES], expected[DIGEST_BYTES];
    bool decoded = decode(hash, raw);
    digest(raw, password, expected);
    bool equal = CRYPTO_memcmp(raw + SALT_BYTES, expected, DIGEST_BYTES) == 0;
    OPENSSL_cleanse(expected, sizeof(expected));
    OPENSSL_cleanse(raw, sizeof(raw));
    return decoded && equal && password.len > 0;
}
