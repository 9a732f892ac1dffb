/* token.c - JSON Web Tokens: parts, key, signature. What a verified token says is read in
 * token_claims.c.
 *
 * Nothing of the payload is believed before the signature was verified; its audience is looked at
 * before, since that says whose keys are the right ones, and again after. The algorithm has to fit
 * the key, and there is none without a key pair. */
#include "auth/token.h"

#include <jansson.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <stdio.h>

#include "auth/json_text.h"
#include "auth/token_claims.h"
#include "base/assert.h"
#include "base/mem.h"

enum { SIGNATURE_MAX = 2048 };

static const struct algorithm {
    const char *name;
    const EVP_MD *(*digest)(void);
    int key_type;
    size_t half; /* bytes of each of the two numbers of an EC signature */
    int bits;    /* of the curve */
} algorithms[TOKEN_ALGORITHMS] = {
    [TOKEN_RS256] = {"RS256", EVP_sha256, EVP_PKEY_RSA, 0, 0},
    [TOKEN_RS384] = {"RS384", EVP_sha384, EVP_PKEY_RSA, 0, 0},
    [TOKEN_RS512] = {"RS512", EVP_sha512, EVP_PKEY_RSA, 0, 0},
    [TOKEN_ES256] = {"ES256", EVP_sha256, EVP_PKEY_EC, 32, 256},
    [TOKEN_ES384] = {"ES384", EVP_sha384, EVP_PKEY_EC, 48, 384},
    [TOKEN_ES512] = {"ES512", EVP_sha512, EVP_PKEY_EC, 66, 521},
};

bool token_algorithm_from_name(struct slice name, enum token_algorithm *algorithm)
{
    for (size_t i = 0; i < array_size(algorithms); i++)
        if (slice_is(name, algorithms[i].name)) {
            *algorithm = (enum token_algorithm)i;
            return true;
        }
    return false;
}

/* The three parts between the dots; what is signed is the first two with their dot. */
struct parts {
    struct slice head, payload, signature, signed_text;
};

static bool split(struct slice token, struct parts *parts)
{
    const uint8_t *first = token.len ? memchr(token.at, '.', token.len) : NULL;
    if (!first)
        return false;
    size_t head = (size_t)(first - token.at);
    const uint8_t *second = memchr(first + 1, '.', token.len - head - 1);
    if (!second)
        return false;
    size_t size = (size_t)(second - token.at);
    parts->head = slice_of(token.at, head);
    parts->payload = slice_of(first + 1, size - head - 1);
    parts->signature = slice_of(second + 1, token.len - size - 1);
    parts->signed_text = slice_of(token.at, size);
    return true;
}

/* The JSON object in a part, NULL when it is none. */
static json_t *read_json(struct slice part)
{
    json_error_t wrong;
    size_t size;
    uint8_t *bytes = mem_alloc(part.len + 1);
    json_t *object = NULL;
    if (jwk_decode(part, bytes, &size))
        object = json_loadb((const char *)bytes, size, JSON_REJECT_DUPLICATES, &wrong);
    mem_free(bytes);
    if (object && !json_is_object(object)) {
        json_decref(object);
        object = NULL;
    }
    return object;
}

/* A JWT has the two numbers of an EC signature one after the other, OpenSSL wants them in DER. Returns
 * the size, 0 when it cannot be one. */
static size_t to_der(const struct algorithm *algorithm, const uint8_t *raw, size_t size, uint8_t *der)
{
    if (size != 2 * algorithm->half)
        return 0;
    ECDSA_SIG *pair = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn(raw, (int)algorithm->half, NULL);
    BIGNUM *s = BN_bin2bn(raw + algorithm->half, (int)algorithm->half, NULL);
    if (!pair || !r || !s || ECDSA_SIG_set0(pair, r, s) != 1)
        panic("out of memory for a signature");
    int len = i2d_ECDSA_SIG(pair, &der);
    ECDSA_SIG_free(pair);
    return len > 0 ? (size_t)len : 0;
}

static bool is_signed(const struct parts *parts, const struct algorithm *algorithm, EVP_PKEY *key)
{
    uint8_t raw[SIGNATURE_MAX], der[SIGNATURE_MAX];
    size_t size;
    const uint8_t *signature = raw;
    if (EVP_PKEY_get_base_id(key) != algorithm->key_type ||
        (algorithm->half && EVP_PKEY_get_bits(key) != algorithm->bits) ||
        parts->signature.len > sizeof(raw) || !jwk_decode(parts->signature, raw, &size))
        return false;
    if (algorithm->half) {
        size = to_der(algorithm, raw, size, der);
        signature = der;
    }
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool good = size > 0 && context &&
                EVP_DigestVerifyInit(context, NULL, algorithm->digest(), NULL, key) == 1 &&
                EVP_DigestVerify(context, signature, size, parts->signed_text.at,
                                 parts->signed_text.len) == 1;
    EVP_MD_CTX_free(context);
    return good;
}

/* Finds algorithm and key by the head, and verifies the signature with them. */
static enum token_result verify_signature(const struct parts *parts, json_t *head,
                                          const struct token_rules *rules, const struct jwk_set *keys,
                                          char *reason, size_t reason_size)
{
    enum token_algorithm which;
    if (!token_algorithm_from_name(json_member_text(head, "alg"), &which) ||
        (rules->algorithms && !(rules->algorithms & 1u << which))) {
        snprintf(reason, reason_size, "the token's algorithm is not accepted");
        return TOKEN_BAD;
    }
    if (json_object_get(head, "crit")) { /* RFC 7515, 4.1.11: what is not understood is refused */
        snprintf(reason, reason_size, "the token has critical headers");
        return TOKEN_BAD;
    }
    struct slice id = json_object_get(head, "kid") ? json_member_text(head, "kid")
                                                   : slice_of_string(rules->default_key);
    EVP_PKEY *key = jwk_find(keys, id);
    if (!key) {
        snprintf(reason, reason_size, "the token's key '%.*s' is not known", id.len > 64 ? 64 : (int)id.len,
                 (const char *)id.at);
        return TOKEN_KEY_MISSING;
    }
    if (is_signed(parts, &algorithms[which], key))
        return TOKEN_GOOD;
    snprintf(reason, reason_size, "the token's signature is wrong");
    return TOKEN_BAD;
}

enum token_result token_verify(struct slice token, const struct token_rules *rules,
                               const struct jwk_set *keys, uint64_t now_s, struct token_claims *claims,
                               char *reason, size_t reason_size)
{
    struct parts parts;
    json_t *head = split(token, &parts) ? read_json(parts.head) : NULL;
    *claims = (struct token_claims){0};
    if (!head) {
        snprintf(reason, reason_size, "the password is no token");
        return TOKEN_BAD;
    }
    enum token_result result = verify_signature(&parts, head, rules, keys, reason, reason_size);
    json_decref(head);
    if (result != TOKEN_GOOD)
        return result;
    json_t *payload = read_json(parts.payload);
    bool good = token_claims_read(payload, rules, now_s, claims, reason, reason_size);
    json_decref(payload);
    assert(good == (claims->grant != NULL));
    return good ? TOKEN_GOOD : TOKEN_BAD;
}

size_t token_choose(struct slice token, const struct token_rules *servers, size_t count,
                    char *reason, size_t reason_size)
{
    struct parts parts;
    json_t *payload = split(token, &parts) ? read_json(parts.payload) : NULL;
    size_t named = count, any = count, named_count = 0, any_count = 0;
    if (!payload) {
        snprintf(reason, reason_size, "the password is no token");
        return count;
    }
    for (size_t i = count; i-- > 0;) {
        if (token_claims_are_for(payload, servers[i].resource_server_id))
            named = i, named_count++;
        if (!servers[i].verify_aud)
            any = i, any_count++;
    }
    json_decref(payload);
    if (named_count == 1 || (named_count == 0 && any_count == 1))
        return named_count ? named : any;
    if (named_count == 0 && any_count == 0 && count == 1)
        snprintf(reason, reason_size, "the token is not for the audience '%.60s'",
                 servers[0].resource_server_id);
    else
        snprintf(reason, reason_size, "the token's audience is %s",
                 named_count || any_count ? "more than one of the resource servers"
                                          : "no resource server here");
    return count;
}
