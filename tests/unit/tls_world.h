/* tls_world.h - for tests of net/tls: the server's end and OpenSSL's client, both in this thread, over a
 * socket pair, with a certificate made here. */
#ifndef TESTS_UNIT_TLS_WORLD_H
#define TESTS_UNIT_TLS_WORLD_H

#include <check.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "net/tls.h"

enum { SMALL_BUFFER = 20000, RECORD_OVERHEAD_1_3 = 5 + 1 + 16 };

static char folder[64];
static struct tls_context *context;
static struct tls *tls;
static SSL_CTX *client_context;
static SSL *client;
static int ends[2]; /* server, client */

/* ---- certificates ---- */

static inline void add_name(X509_NAME *name, const char *field, const char *text, int len)
{
    const unsigned char *bytes = (const unsigned char *)text;
    int added = X509_NAME_add_entry_by_txt(name, field, MBSTRING_UTF8, bytes, len, -1, 0);
    ck_assert_int_eq(added, 1);
}

/* Signed by itself, valid from now on. */
static inline X509 *make_certificate(EVP_PKEY *key, const char *sans)
{
    X509 *x509 = X509_new();
    X509_set_version(x509, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x509), 0xABCDEF);
    X509_gmtime_adj(X509_getm_notBefore(x509), -60);
    X509_gmtime_adj(X509_getm_notAfter(x509), 3600);
    X509_set_pubkey(x509, key);
    X509_NAME *name = X509_get_subject_name(x509);
    add_name(name, "C", "DE", -1);
    add_name(name, "O", "Hase, Igel & Co", -1);
    add_name(name, "CN", "guest", -1);
    X509_set_issuer_name(x509, name);
    if (sans) {
        X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, sans);
        ck_assert_ptr_nonnull(extension);
        X509_add_ext(x509, extension, -1);
        X509_EXTENSION_free(extension);
    }
    ck_assert_int_ne(X509_sign(x509, key, EVP_sha256()), 0);
    return x509;
}

static inline const char *path_of(const char *name)
{
    static char paths[4][128];
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof(paths[0]), "%s/%s", folder, name);
    return path;
}

static inline void make_files(void)
{
    snprintf(folder, sizeof(folder), "/tmp/leveret-tls-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *x509 = make_certificate(key, NULL);
    FILE *file = fopen(path_of("cert.pem"), "w");
    ck_assert_int_eq(PEM_write_X509(file, x509), 1);
    fclose(file);
    file = fopen(path_of("key.pem"), "w");
    ck_assert_int_eq(PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL), 1);
    fclose(file);
    X509_free(x509);
    EVP_PKEY_free(key);
}

static inline void remove_files(void)
{
    unlink(path_of("cert.pem"));
    unlink(path_of("key.pem"));
    rmdir(folder);
}

/* ---- both ends ---- */

static inline struct tls_options options_for(void)
{
    return (struct tls_options){
        .main = {NULL, path_of("cert.pem"), path_of("key.pem"), ""},
        .cacertfile = "",
        .crlfile = "",
        .ciphers = "",
        .tls_1_2 = true,
        .tls_1_3 = true,
        .reuse_sessions = true,
        .depth = 10,
    };
}

/* A client that comes with a session of before, or NULL. */
static inline void open_client(int version, SSL_SESSION *session)
{
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
    for (int i = 0; i < 2; i++) {
        int size = SMALL_BUFFER;
        setsockopt(ends[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    }
    client_context = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_max_proto_version(client_context, version);
    SSL_CTX_set_mode(client_context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    client = SSL_new(client_context);
    SSL_set_fd(client, ends[1]);
    if (session)
        ck_assert_int_eq(SSL_set_session(client, session), 1);
}

static inline void close_client(void)
{
    /* Else its session is not good any more. */
    SSL_set_shutdown(client, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_free(client);
    SSL_CTX_free(client_context);
    close(ends[0]);
    close(ends[1]);
}

static inline void open_context(void)
{
    char error[500];
    struct tls_options options = options_for();
    context = tls_context_new(&options, error, sizeof(error));
    ck_assert_msg(context != NULL, "%s", error);
}

static inline void open_ends(int version)
{
    open_context();
    open_client(version, NULL);
    tls = tls_new(context, ends[0]);
}

static inline void shake(void)
{
    enum tls_status status = TLS_READ;
    int done = 0;
    for (int i = 0; i < 100 && (status != TLS_DONE || done != 1); i++) {
        if (done != 1)
            done = SSL_connect(client);
        if (status != TLS_DONE)
            status = tls_handshake(tls);
        ck_assert_msg(status != TLS_FAILED, "%s", tls_reason(tls));
    }
    ck_assert_int_eq(status, TLS_DONE);
    ck_assert_int_eq(done, 1);
}

static inline void close_ends(void)
{
    tls_free(&tls);
    ck_assert_ptr_null(tls);
    tls_context_unref(&context);
    close_client();
}

static inline void fill(uint8_t *bytes, size_t size, size_t from)
{
    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)((from + i) * 2654435761u >> 13);
}

static inline void check_bytes(const struct buf *got, size_t size)
{
    ck_assert_uint_eq(got->len, size);
    uint8_t *expected = mem_alloc(size + 1);
    fill(expected, size, 0);
    ck_assert(size == 0 || memcmp(got->at, expected, size) == 0);
    mem_free(expected);
}

/* Reads what there is; returns the number of records with data. */
static inline size_t hear(struct buf *heard)
{
    size_t records = 0, got;
    while (SSL_read_ex(client, buf_reserve(heard, 16384), 16384, &got) == 1) {
        heard->len += got;
        records++; /* SSL_read gives no more than one */
    }
    return records;
}

#endif
