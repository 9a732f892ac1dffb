/* jwk.c - the keys that tokens are signed with.
 *
 * Owner: the thread of the OAuth 2 backend. A key is RSA or EC, public, and checked by OpenSSL when it is
 * read. */
#include "auth/jwk.h"

#include <jansson.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdio.h>

#include "auth/json_text.h"
#include "base/assert.h"
#include "base/mem.h"

enum { RSA_BITS_MIN = 2048, NUMBER_MAX = 2048 };

void jwk_set_init(struct jwk_set *set, uint64_t seed)
{
    map_init(&set->by_id, seed);
}

void jwk_set_free(struct jwk_set *set)
{
    map_each (&set->by_id, i) {
        struct jwk *jwk = set->by_id.slots[i].value;
        EVP_PKEY_free(jwk->key);
        slice_free(&jwk->id);
        mem_free(jwk);
    }
    map_free(&set->by_id);
}

EVP_PKEY *jwk_find(const struct jwk_set *set, struct slice id)
{
    const struct jwk *jwk = map_get(&set->by_id, id);
    return jwk ? jwk->key : NULL;
}

/* Takes over the key. */
static void put(struct jwk_set *set, struct slice id, EVP_PKEY *key)
{
    struct jwk *jwk = map_get(&set->by_id, id);
    if (!jwk) {
        jwk = mem_zalloc(sizeof(*jwk));
        jwk->id = slice_copy(id);
        map_put(&set->by_id, jwk->id, jwk);
    }
    EVP_PKEY_free(jwk->key);
    jwk->key = key;
}

static bool is_strong(EVP_PKEY *key)
{
    int id = EVP_PKEY_get_base_id(key);
    return id == EVP_PKEY_EC || (id == EVP_PKEY_RSA && EVP_PKEY_get_bits(key) >= RSA_BITS_MIN);
}

bool jwk_add_pem_file(struct jwk_set *set, struct slice id, const char *path, char *error,
                      size_t error_size)
{
    BIO *file = BIO_new_file(path, "r");
    if (!file) {
        snprintf(error, error_size, "%s cannot be read", path);
        return false;
    }
    EVP_PKEY *key = PEM_read_bio_PUBKEY(file, NULL, NULL, NULL);
    X509 *certificate = NULL;
    if (!key && BIO_reset(file) == 0 && (certificate = PEM_read_bio_X509(file, NULL, NULL, NULL)))
        key = X509_get_pubkey(certificate);
    X509_free(certificate);
    BIO_free(file);
    if (key && is_strong(key)) {
        put(set, id, key);
        return true;
    }
    EVP_PKEY_free(key);
    snprintf(error, error_size,
             "%s holds no public key in PEM, RSA of at least %d bits or EC, and no certificate of one", path,
             RSA_BITS_MIN);
    return false;
}

/* --- JSON --- */

static int digit(uint8_t c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '-' ? 62 : c == '_' ? 63 : -1;
}

bool jwk_decode(struct slice text, uint8_t *out, size_t *size)
{
    uint32_t bits = 0;
    unsigned have = 0;
    *size = 0;
    for (size_t i = 0; i < text.len; i++) {
        int value = digit(text.at[i]);
        if (value < 0)
            return false;
        bits = bits << 6 | (uint32_t)value;
        have += 6;
        if (have >= 8) {
            have -= 8;
            out[(*size)++] = (uint8_t)(bits >> have);
        }
        bits &= (1u << have) - 1;
    }
    return have < 6 && bits == 0; /* what is left over is zero, or it is written in two ways */
}

static bool number_of(json_t *object, const char *name, uint8_t *bytes, size_t *size)
{
    struct slice text = json_member_text(object, name);
    return text.len > 0 && text.len <= NUMBER_MAX && jwk_decode(text, bytes, size) && *size > 0;
}

static EVP_PKEY *make_key(const char *type, OSSL_PARAM_BLD *builder)
{
    EVP_PKEY *key = NULL;
    OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(builder);
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
    bool made = params && context && EVP_PKEY_fromdata_init(context) == 1 &&
                EVP_PKEY_fromdata(context, &key, EVP_PKEY_PUBLIC_KEY, params) == 1;
    EVP_PKEY_CTX_free(context);
    EVP_PKEY_CTX *check = made ? EVP_PKEY_CTX_new(key, NULL) : NULL;
    if (made && !(check && EVP_PKEY_public_check_quick(check) == 1 && is_strong(key))) {
        EVP_PKEY_free(key);
        key = NULL;
    }
    EVP_PKEY_CTX_free(check);
    OSSL_PARAM_free(params);
    return key;
}

static EVP_PKEY *read_rsa(json_t *object)
{
    uint8_t n_bytes[NUMBER_MAX], e_bytes[NUMBER_MAX];
    size_t n_size, e_size;
    EVP_PKEY *key = NULL;
    if (!number_of(object, "n", n_bytes, &n_size) || !number_of(object, "e", e_bytes, &e_size))
        return NULL;
    BIGNUM *n = BN_bin2bn(n_bytes, (int)n_size, NULL), *e = BN_bin2bn(e_bytes, (int)e_size, NULL);
    OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
    if (n && e && builder && OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_N, n) == 1 &&
        OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_E, e) == 1)
        key = make_key("RSA", builder);
    OSSL_PARAM_BLD_free(builder);
    BN_free(n);
    BN_free(e);
    return key;
}

static EVP_PKEY *read_ec(json_t *object)
{
    static const struct {
        const char *name, *group;
        size_t bytes;
    } curves[] = {{"P-256", "prime256v1", 32}, {"P-384", "secp384r1", 48}, {"P-521", "secp521r1", 66}};
    uint8_t x[NUMBER_MAX], y[NUMBER_MAX], point[1 + 2 * 66] = {4};
    size_t x_size, y_size;
    if (!number_of(object, "x", x, &x_size) || !number_of(object, "y", y, &y_size))
        return NULL;
    for (size_t i = 0; i < array_size(curves); i++) {
        size_t bytes = curves[i].bytes;
        if (!slice_is(json_member_text(object, "crv"), curves[i].name) || x_size != bytes || y_size != bytes)
            continue;
        EVP_PKEY *key = NULL;
        memcpy(point + 1, x, bytes);
        memcpy(point + 1 + bytes, y, bytes);
        OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
        if (builder &&
            OSSL_PARAM_BLD_push_utf8_string(builder, OSSL_PKEY_PARAM_GROUP_NAME, curves[i].group, 0) == 1 &&
            OSSL_PARAM_BLD_push_octet_string(builder, OSSL_PKEY_PARAM_PUB_KEY, point, 1 + 2 * bytes) == 1)
            key = make_key("EC", builder);
        OSSL_PARAM_BLD_free(builder);
        return key;
    }
    return NULL;
}

bool jwk_set_load(struct jwk_set *set, struct slice json, char *error, size_t error_size)
{
    json_error_t wrong;
    struct jwk_set fresh;
    json_t *document = json_loadb((const char *)json.at, json.len, 0, &wrong), *item;
    json_t *list = json_object_get(document, "keys");
    size_t index;
    jwk_set_init(&fresh, set->by_id.seed);
    json_array_foreach(list, index, item)
    {
        if (index >= JWK_KEYS_MAX || !json_is_object(item) || slice_is(json_member_text(item, "use"), "enc"))
            continue;
        struct slice type = json_member_text(item, "kty");
        EVP_PKEY *key = slice_is(type, "RSA")  ? read_rsa(item)
                        : slice_is(type, "EC") ? read_ec(item)
                                               : NULL;
        if (key)
            put(&fresh, json_member_text(item, "kid"), key);
    }
    json_decref(document);
    bool any = fresh.by_id.size > 0;
    if (any) {
        jwk_set_free(set);
        *set = fresh;
    } else {
        jwk_set_free(&fresh);
        snprintf(error, error_size, "the key set has no key that can be used");
    }
    return any;
}
