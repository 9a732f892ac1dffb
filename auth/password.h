/* password.h - RabbitMQ's password hash: base64(salt[4] ‖ SHA-256(salt ‖ password)). */
#ifndef AUTH_PASSWORD_H
#define AUTH_PASSWORD_H

#include <stdbool.h>

#include "base/rand.h"
#include "base/slice.h"

/* Bytes of the hash as text, without the zero byte behind it. */
enum { PASSWORD_HASH_LENGTH = 48 };

/* Hashes with a fresh salt; `hash` holds at least PASSWORD_HASH_LENGTH + 1 bytes and ends with a
 * zero. */
void password_hash(struct rand *rand, struct slice password, char *hash);
/* True when the password has that hash. Takes the same time whatever differs; an empty or malformed
 * `hash` costs as much and matches nothing, and neither does a blank password (RabbitMQ's passwords
 * page). */
bool password_matches(struct slice hash, struct slice password);

#endif
