/* secure.h - TLS for a client's socket; recv and send of a plain one. One thread at a time. */
#ifndef PERF_SECURE_H
#define PERF_SECURE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct client;
struct ssl_ctx_st;
struct uri;

/* What all connections share: whom to trust (cacert; NULL trusts everybody) and the own certificate with its
 * key (NULL = none). NULL, with the reason in `error`, when a file cannot be used. */
struct ssl_ctx_st *secure_context(const char *cacert, const char *cert, const char *key, char *error,
                                  size_t error_size);
/* Puts TLS on the connected socket of `c` and does the handshake; false: client.error says why. */
bool secure_open(struct client *c, const struct uri *uri);
void secure_close(struct client *c);

/* As recv and send on a non-blocking socket: -1 with errno, EAGAIN when it would block; a read of TLS goes on
 * until then. 0 = the peer's end. */
ssize_t secure_read(struct client *c, void *bytes, size_t size);
ssize_t secure_write(struct client *c, const void *bytes, size_t size);
/* True when secure_read has bytes that the socket does not know of. */
bool secure_pending(const struct client *c);

#endif
