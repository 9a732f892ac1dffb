/* tls.h - the server's end of one TLS connection over a non-blocking socket.
 *
 * One thread at a time: a worker during the handshake, then the loop, and one of the carrier's threads
 * while it holds a job of the stream (the stream does not read meanwhile). */
#ifndef NET_TLS_H
#define NET_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "net/tls_context.h"

struct tls;

/* Borrows `fd`, keeps a reference to the context. NULL without memory. */
struct tls *tls_new(struct tls_context *context, int fd);
/* NULL is allowed. */
void tls_free(struct tls **tls);

enum tls_status { TLS_DONE, TLS_READ, TLS_WRITE, TLS_FAILED };

/* Goes on with the handshake; TLS_READ and TLS_WRITE say what to wait for. */
enum tls_status tls_handshake(struct tls *tls);
/* Why the handshake failed; valid as long as `tls`. */
const char *tls_reason(const struct tls *tls);
/* The client's certificate if it was verified, else NULL; for the caller to free. */
struct certificate *tls_certificate(const struct tls *tls);
/* "TLSv1.3" and "TLS_AES_256_GCM_SHA384". */
const char *tls_version(const struct tls *tls);
const char *tls_cipher(const struct tls *tls);

/* A read of a stream's transport. `size` is at least TLS_READ_MIN. All that has come is decrypted, so
 * nothing hides in here while the socket has nothing. */
ssize_t tls_read(struct tls *tls, void *bytes, size_t size);
enum { TLS_READ_MIN = 48 * 1024 };
/* A writev of a stream's transport. Bytes count as written when their records are in the socket, so
 * those of a short write are given again with the next one. */
ssize_t tls_writev(struct tls *tls, const struct iovec *parts, int count);
/* No more will be written: close_notify, then FIN. */
void tls_finish(struct tls *tls);

/* True when something of TLS itself waits for the socket to be writable: then tls_flush. */
bool tls_wants_write(const struct tls *tls);
void tls_flush(struct tls *tls);
/* True when tls_read has something to say (an end, an error) that the socket will not tell. */
bool tls_has_news(const struct tls *tls);

#endif
