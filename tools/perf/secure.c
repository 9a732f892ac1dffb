/* secure.c - TLS for a client's socket.
 * Failure: OpenSSL's reason is kept in client.error; the connection is then only good for client_drop. */
#include "tools/perf/secure.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>

#include "base/assert.h"
#include "tools/perf/client.h"

enum { READ_AHEAD = 128 * 1024 };

static const char *reason(void)
{
    const char *text = ERR_reason_error_string(ERR_peek_error());
    return text ? text : "unknown reason";
}

struct ssl_ctx_st *secure_context(const char *cacert, const char *cert, const char *key, char *error,
                                  size_t error_size)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    const char *wrong = NULL;
    ERR_clear_error();
    if (!context)
        wrong = "TLS";
    else if (cacert && SSL_CTX_load_verify_file(context, cacert) != 1)
        wrong = cacert;
    else if (cert && SSL_CTX_use_certificate_chain_file(context, cert) != 1)
        wrong = cert;
    else if (cert && SSL_CTX_use_PrivateKey_file(context, key ? key : cert, SSL_FILETYPE_PEM) != 1)
        wrong = key ? key : cert;
    if (wrong) {
        snprintf(error, error_size, "%s: %s", wrong, reason());
        SSL_CTX_free(context);
        return NULL;
    }
    if (cacert)
        SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_read_ahead(context, 1);
    SSL_CTX_set_default_read_buffer_len(context, READ_AHEAD);
    signal(SIGPIPE, SIG_IGN); /* OpenSSL writes to the socket itself */
    return context;
}

static bool shake(struct client *c, SSL *ssl)
{
    uint64_t deadline = clock_now_ns() + c->timeout_ms * 1000000;
    for (;;) {
        ERR_clear_error();
        int result = SSL_connect(ssl);
        if (result == 1)
            return true;
        int code = SSL_get_error(ssl, result);
        if (code != SSL_ERROR_WANT_READ && code != SSL_ERROR_WANT_WRITE) {
            long verified = SSL_get_verify_result(ssl);
            return client_fail(c, "TLS handshake failed: %s%s%s", reason(), verified ? ": " : "",
                               verified ? X509_verify_cert_error_string(verified) : "");
        }
        struct pollfd p = {.fd = c->fd, .events = code == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT};
        if (clock_now_ns() >= deadline || (poll(&p, 1, 100) < 0 && errno != EINTR))
            return client_fail(c, "no TLS handshake within %.1f s", (double)c->timeout_ms / 1000);
    }
}

bool secure_open(struct client *c, const struct uri *uri)
{
    assert(c->fd >= 0 && !c->tls && uri->context);
    c->tls = SSL_new(uri->context);
    if (!c->tls || SSL_set_fd(c->tls, c->fd) != 1 || !SSL_set_tlsext_host_name(c->tls, uri->host))
        return client_fail(c, "TLS cannot be set up: %s", reason());
    return shake(c, c->tls);
}

void secure_close(struct client *c)
{
    SSL_free(c->tls);
    c->tls = NULL;
}

/* The errno of a failed call; 0 = the peer's end. */
static int errno_of(const SSL *ssl, int result)
{
    switch (SSL_get_error(ssl, result)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        return EAGAIN;
    case SSL_ERROR_ZERO_RETURN:
        return 0;
    case SSL_ERROR_SYSCALL:
        return errno;
    default:
        return EPROTO;
    }
}

ssize_t secure_read(struct client *c, void *bytes, size_t size)
{
    size_t got = 0, more;
    if (!c->tls)
        return recv(c->fd, bytes, size, 0);
    while (got < size) {
        ERR_clear_error();
        if (SSL_read_ex(c->tls, (uint8_t *)bytes + got, size - got, &more) == 1) {
            got += more;
            continue;
        }
        int error = errno_of(c->tls, 0);
        if (got > 0)
            break; /* an end or an error will be there again */
        errno = error;
        return error ? -1 : 0;
    }
    return (ssize_t)got;
}

ssize_t secure_write(struct client *c, const void *bytes, size_t size)
{
    size_t put = 0;
    if (!c->tls)
        return send(c->fd, bytes, size, MSG_NOSIGNAL);
    ERR_clear_error();
    if (SSL_write_ex(c->tls, bytes, size, &put) == 1)
        return (ssize_t)put;
    int error = errno_of(c->tls, 0);
    errno = error ? error : EPIPE;
    return -1;
}

bool secure_pending(const struct client *c)
{
    return c->tls && SSL_has_pending(c->tls);
}
