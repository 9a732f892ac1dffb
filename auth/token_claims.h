/* token_claims.h - what the payload of a verified token says. */
#ifndef AUTH_TOKEN_CLAIMS_H
#define AUTH_TOKEN_CLAIMS_H

#include "auth/token.h"

struct json_t;

/* False, and nothing in `claims`, when the token is for somebody else, has expired, or is NULL or
 * malformed. */
bool token_claims_read(struct json_t *payload, const struct token_rules *rules, uint64_t now_s,
                       struct token_claims *claims, char *reason, size_t reason_size);

/* True when the claim aud, a text or a list, names this audience; "" is nobody's. */
bool token_claims_are_for(struct json_t *payload, const char *audience);
/* What authorization_details (RFC 9396, as RabbitMQ reads them) grant this server: calls `add` with
 * each as a scope. False as soon as `add` says so. */
bool token_details_read(struct json_t *payload, const struct token_rules *rules,
                        bool (*add)(void *arg, struct slice scope), void *arg);

#endif
