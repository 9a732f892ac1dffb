/* jwk.h - the keys that tokens are signed with: from PEM files, or a JSON Web Key Set (RFC 7517). */
#ifndef AUTH_JWK_H
#define AUTH_JWK_H

#include <stdbool.h>
#include <stddef.h>

#include "base/map.h"
#include "base/slice.h"

struct evp_pkey_st; /* OpenSSL's EVP_PKEY */

enum { JWK_KEYS_MAX = 256 };

/* A public key by its id (kid). */
struct jwk {
    struct slice id; /* own memory */
    struct evp_pkey_st *key;
};

struct jwk_set {
    struct map by_id;
};

void jwk_set_init(struct jwk_set *set, uint64_t seed);
void jwk_set_free(struct jwk_set *set);
struct evp_pkey_st *jwk_find(const struct jwk_set *set, struct slice id);
/* Adds or replaces a public key or certificate in PEM; false and a sentence otherwise. */
bool jwk_add_pem_file(struct jwk_set *set, struct slice id, const char *path, char *error,
                      size_t error_size);
/* Replaces all keys by those of {"keys": […]} that are RSA of at least 2048 bits or EC on P-256, P-384 or
 * P-521 and not meant for encryption; others are left out. False, and the set as it was, when none is
 * left. */
bool jwk_set_load(struct jwk_set *set, struct slice json, char *error, size_t error_size);

/* Decodes base64url without padding, as in a JWK or JWT; `out` holds at least text.len bytes. False when
 * the text is anything else. */
bool jwk_decode(struct slice text, uint8_t *out, size_t *size);

#endif
