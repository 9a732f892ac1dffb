/* password.c - RabbitMQ's password hashes.
 * They are stored and exchanged as RabbitMQ writes them (definition files, HTTP API), so users move
 * over with their passwords. One round of a fast hash is what that format has: keep the hashes
 * secret. */
#include "auth/password.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "base/assert.h"
#include "base/mem.h"

enum { SALT_BYTES = 4, DIGEST_MAX = 64, RAW_MAX = SALT_BYTES + DIGEST_MAX };
static_assert((RAW_MAX + 2) / 3 * 4 == PASSWORD_HASH_MAX, "the length promised in the header");

static const struct {
    const char *name;
    size_t digest_bytes;
    const EVP_MD *(*digest)(void);
} hashings[PASSWORD_HASHINGS] = {
    [PASSWORD_SHA256] = {"rabbit_password_hashing_sha256", 32, EVP_sha256},
    [PASSWORD_SHA512] = {"rabbit_password_hashing_sha512", 64, EVP_sha512},
    [PASSWORD_MD5] = {"rabbit_password_hashing_md5", 16, EVP_md5},
};

const char *password_hashing_name(enum password_hashing hashing)
{
    assert((size_t)hashing < array_size(hashings));
    return hashings[hashing].name;
}

bool password_hashing_from_name(struct slice name, enum password_hashing *hashing)
{
    for (size_t i = 0; i < array_size(hashings); i++)
        if (slice_is(name, hashings[i].name)) {
            *hashing = (enum password_hashing)i;
            return true;
        }
    *hashing = PASSWORD_SHA256;
    return name.len == 0;
}

static size_t raw_bytes(enum password_hashing hashing)
{
    return SALT_BYTES + hashings[hashing].digest_bytes;
}

static void digest(enum password_hashing hashing, const uint8_t *salt, struct slice password,
                   uint8_t *out)
{
    unsigned size = 0;
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool done = context && EVP_DigestInit_ex(context, hashings[hashing].digest(), NULL) == 1 &&
                EVP_DigestUpdate(context, salt, SALT_BYTES) == 1 &&
                EVP_DigestUpdate(context, password.at, password.len) == 1 &&
                EVP_DigestFinal_ex(context, out, &size) == 1;
    EVP_MD_CTX_free(context);
    assertf(done && size == hashings[hashing].digest_bytes, "%s gave %u bytes",
            hashings[hashing].name, size);
}

/* What is decoded in the place of a hash that is not there, so that the time does not tell: zeros. */
static void write_zeros(uint8_t *text, size_t size, size_t length)
{
    size_t padding = (3 - size % 3) % 3;
    assert(length <= PASSWORD_HASH_MAX && padding < length);
    memset(text, 'A', length);
    memset(text + length - padding, '=', padding);
}

/* False when the text is no hash; `raw` is then all zero. The text has to be what the bytes are written as:
 * padding, if any, where it belongs, and nothing else. */
static bool decode(enum password_hashing hashing, struct slice hash, uint8_t *raw)
{
    size_t size = raw_bytes(hashing), length = (size + 2) / 3 * 4;
    uint8_t bytes[PASSWORD_HASH_MAX], zeros[PASSWORD_HASH_MAX];
    char again[PASSWORD_HASH_MAX + 1];
    bool good = hash.len == length;
    write_zeros(zeros, size, length);
    const uint8_t *text = good ? hash.at : zeros;
    memset(raw, 0, RAW_MAX);
    if (EVP_DecodeBlock(bytes, text, (int)length) != (int)(length / 4 * 3))
        return false;
    EVP_EncodeBlock((unsigned char *)again, bytes, (int)size);
    good = CRYPTO_memcmp(again, text, length) == 0 && good;
    if (good)
        memcpy(raw, bytes, size);
    return good;
}

void password_hash_with(enum password_hashing hashing, struct rand *rand, struct slice password,
                        char *hash)
{
    uint8_t raw[RAW_MAX];
    assert((size_t)hashing < array_size(hashings));
    rand_bytes(rand, raw, SALT_BYTES);
    digest(hashing, raw, password, raw + SALT_BYTES);
    int length = EVP_EncodeBlock((unsigned char *)hash, raw, (int)raw_bytes(hashing));
    assertf(length > 0 && length <= PASSWORD_HASH_MAX, "base64 of %d characters", length);
    OPENSSL_cleanse(raw, sizeof(raw));
}

void password_hash(struct rand *rand, struct slice password, char *hash)
{
    char text[PASSWORD_HASH_MAX + 1];
    password_hash_with(PASSWORD_SHA256, rand, password, text);
    assert(strlen(text) == PASSWORD_HASH_LENGTH);
    memcpy(hash, text, PASSWORD_HASH_LENGTH + 1);
}

bool password_hash_is_valid(enum password_hashing hashing, struct slice hash)
{
    uint8_t raw[RAW_MAX];
    bool valid = hash.len == 0 || decode(hashing, hash, raw);
    OPENSSL_cleanse(raw, sizeof(raw));
    return valid;
}

bool password_matches(enum password_hashing hashing, struct slice hash, struct slice password)
{
    uint8_t raw[RAW_MAX], expected[DIGEST_MAX];
    assert((size_t)hashing < array_size(hashings));
    bool decoded = decode(hashing, hash, raw);
    digest(hashing, raw, password, expected);
    bool equal = CRYPTO_memcmp(raw + SALT_BYTES, expected, hashings[hashing].digest_bytes) == 0;
    OPENSSL_cleanse(expected, sizeof(expected));
    OPENSSL_cleanse(raw, sizeof(raw));
    return decoded && equal && password.len > 0;
}
