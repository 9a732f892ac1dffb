/* tls_context.h - what the TLS listeners of a server share: certificates, keys, whom they trust and
 * which versions and ciphers they speak. Immutable once made and counted by reference, so that
 * connections keep theirs when a reload makes another. */
#ifndef NET_TLS_CONTEXT_H
#define NET_TLS_CONTEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/list.h"
#include "base/slice.h"

struct tls_context;

/* What of a client's chain must not be revoked (ssl_options.crl_check). */
enum tls_crl_check {
    TLS_CRL_NONE,
    TLS_CRL_PEER,        /* its own certificate */
    TLS_CRL_ALL,         /* every one of its chain */
    TLS_CRL_BEST_EFFORT, /* its own, if there is a list of its issuer */
};

/* A certificate with its key. The names in comments are those of the keys, used in errors. */
struct tls_pair {
    const char *name;     /* of the server, as clients ask for it: "broker.example.com" or "*.example.com" */
    const char *certfile; /* PEM: the certificate, then those between it and its CA */
    const char *keyfile;  /* PEM */
    const char *password; /* of the key; "" = none */
};

struct tls_options {
    struct tls_pair main;       /* ssl_options.certfile, .keyfile, .password */
    const struct tls_pair *sni; /* ssl_options.sni_certfile.NAME … */
    size_t sni_count;
    const char *cacertfile; /* "" = none */
    const char *crlfile;    /* "" = none */
    const char *ciphers;    /* OpenSSL's names with colons between, best first; "" = the default */
    enum tls_crl_check crl_check;
    bool verify_peer, fail_if_no_peer_cert;
    bool tls_1_2, tls_1_3;
    bool honor_cipher_order; /* ours counts, not the client's */
    bool reuse_sessions;     /* tickets */
    unsigned depth;          /* certificates between the client's and the CA's, at most */
};

/* Reads all files (so never in the loop). NULL, and one sentence in `error` that names key and file. */
struct tls_context *tls_context_new(const struct tls_options *options, char *error, size_t error_size);
/* Only in the loop's thread. */
struct tls_context *tls_context_ref(struct tls_context *context);
/* Takes the reference away; the last one frees. NULL is allowed. */
void tls_context_unref(struct tls_context **context);

/* True when OpenSSL knows the cipher, of TLS 1.2 or 1.3. */
bool tls_context_knows_cipher(const char *name);

/* ---- for tls.c ---- */

/* Memory that a call of tls_writev needs; of any thread. */
struct tls_scratch {
    struct list letter;
    uint8_t plain[16384];  /* where short pieces become a full record */
    size_t sealed;         /* bytes in cipher[] */
    uint8_t cipher[160 * 1024];
};

struct tls_scratch *tls_context_borrow(struct tls_context *context);
void tls_context_give(struct tls_context *context, struct tls_scratch **scratch);

/* A new SSL whose both ways are `arg`, through these functions: bytes taken or given, 0 at the end of the
 * peer's, -EAGAIN, other -errno. NULL without memory. */
struct ssl_st *tls_context_session(struct tls_context *context, void *arg);
/* Defined by tls.c. */
ssize_t tls_take(void *arg, void *bytes, size_t size);
ssize_t tls_put(void *arg, const void *bytes, size_t size);

#endif
