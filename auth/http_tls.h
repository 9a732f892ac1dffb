/* http_tls.h - TLS to the services that backends ask: whom to trust, what to show. */
#ifndef AUTH_HTTP_TLS_H
#define AUTH_HTTP_TLS_H

#include <stdbool.h>
#include <stddef.h>

/* What of the service's chain must not be revoked. */
enum http_crl_check {
    HTTP_CRL_NONE,
    HTTP_CRL_PEER,        /* its own certificate */
    HTTP_CRL_ALL,         /* every one of its chain */
    HTTP_CRL_BEST_EFFORT, /* its own, if there is a list of its issuer */
};

/* Of https addresses. Texts are the configuration's, "" = none. */
struct http_tls {
    const char *ca_file; /* PEM: whom to trust; "" = whom the system trusts */
    const char *cert_file, *key_file, *password; /* what Leveret shows; PEM */
    const char *crl_file; /* PEM, read for every connection */
    const char *server_name; /* said and verified in the place of the address's host */
    const char *ciphers;     /* OpenSSL's names with colons between, of both versions */
    enum http_crl_check crl_check;
    bool tells_no_name; /* the host is verified, but not told */
    bool verify;
    bool no_wildcards; /* the host's name as it is; else *.example.com is good for it */
    bool no_tls_1_2;   /* only 1.3 */
    bool no_tls_1_3;   /* only 1.2 */
    unsigned depth;    /* CAs between; 0 = OpenSSL's own bound */
};

/* Sets the options of a libcurl handle, which go by `tls` as long as they live. */
void http_tls_set(void *curl, const struct http_tls *tls);
/* Reads all files. False, and one sentence that begins with the key, `prefix` before its last word. */
bool http_tls_check(const struct http_tls *tls, const char *prefix, char *error, size_t error_size);
/* Why the handshake of this libcurl handle failed, when it was about the certificate; else NULL. */
const char *http_tls_refusal(void *curl);

#endif
