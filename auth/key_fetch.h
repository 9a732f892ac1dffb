/* key_fetch.h - fetching the key set of an authorization server, by a thread that may wait for it: those
 * whose keys are known should not. */
#ifndef AUTH_KEY_FETCH_H
#define AUTH_KEY_FETCH_H

#include <stdbool.h>
#include <stddef.h>

#include "base/slice.h"

struct backend;
struct key_fetch;
struct oauth2_provider;

/* For a provider that has an address. Starts the thread; `note` comes back by backend_note when something was
 * fetched, or could not be. */
struct key_fetch *key_fetch_new(struct backend *backend, const struct oauth2_provider *provider, void *note);
/* Waits for the thread, which gives up what it does. NULL is allowed. */
void key_fetch_free(struct key_fetch **fetch);

/* Fetches; false when that is under way already, or was a moment ago. */
bool key_fetch_start(struct key_fetch *fetch);
bool key_fetch_is_busy(const struct key_fetch *fetch);
/* After the note: the key set, good until the next start; false and half a sentence when there is none. */
bool key_fetch_take(struct key_fetch *fetch, struct slice *document, char *reason, size_t reason_size);
/* What was taken was of no use: where it is is to be asked for again. */
void key_fetch_doubt(struct key_fetch *fetch);

#endif
