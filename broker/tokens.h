/* tokens.h - OAuth 2 as configured (auth_oauth2.*), in the words of its backend (auth/oauth2.h). */
#ifndef BROKER_TOKENS_H
#define BROKER_TOKENS_H

#include "auth/oauth2.h"
#include "base/log.h"
#include "broker/config.h"

struct tokens;

/* Points into the configuration, which outlives it. */
struct tokens *tokens_new(const struct config *config);
/* NULL is allowed. */
void tokens_free(struct tokens **tokens);
const struct oauth2_settings *tokens_settings(const struct tokens *tokens);
/* False, and the reason in the log, when no token could be good: no keys, no audience, a file that
 * is none. Warns of keys that come without TLS. */
bool tokens_check(const struct tokens *tokens, struct log *log);

#endif
