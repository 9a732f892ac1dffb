/* password.h - RabbitMQ's password hashes: base64(salt[4] ‖ H(salt ‖ password)), H = SHA-256 or SHA-512,
 * and MD5 in what very old servers exported. */
#ifndef AUTH_PASSWORD_H
#define AUTH_PASSWORD_H

#include <stdbool.h>

#include "base/rand.h"
#include "base/slice.h"

enum password_hashing { PASSWORD_SHA256, PASSWORD_SHA512, PASSWORD_MD5, PASSWORD_HASHINGS };

/* Bytes of the longest hash as text, without the zero byte behind it; and of a SHA-256 one. */
enum { PASSWORD_HASH_MAX = 92, PASSWORD_HASH_LENGTH = 48 };

/* "rabbit_password_hashing_sha256" and so on. */
const char *password_hashing_name(enum password_hashing hashing);
/* False when the name is none of them; "" means SHA-256, what users had before there was a choice. */
bool password_hashing_from_name(struct slice name, enum password_hashing *hashing);

/* Hashes with a fresh salt; `hash` holds at least PASSWORD_HASH_MAX + 1 bytes and ends with a zero. */
void password_hash_with(enum password_hashing hashing, struct rand *rand, struct slice password,
                        char *hash);
/* The same with SHA-256; `hash` holds at least PASSWORD_HASH_LENGTH + 1 bytes. */
void password_hash(struct rand *rand, struct slice password, char *hash);
/* True when it could be such a hash; an empty one is that of a user who has no password. */
bool password_hash_is_valid(enum password_hashing hashing, struct slice hash);
/* True when the password has that hash. Takes the same time whatever differs; an empty or malformed
 * `hash` costs as much and matches nothing, and neither does a blank password (RabbitMQ's passwords
 * page). */
bool password_matches(enum password_hashing hashing, struct slice hash, struct slice password);

#endif
