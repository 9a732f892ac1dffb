/* tls_context.c - certificates, keys and rules of TLS.
 *
 * Owner: whoever holds a reference: the server, and each connection. Failure modes: a file that cannot be
 * used is named with its key; nothing is half made. OpenSSL's queue of errors is emptied before each
 * call whose errors are looked at: it belongs to the thread and may hold somebody else's. */
#include "net/tls_context.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/assert.h"
#include "base/mailbox.h"
#include "base/mem.h"

enum {
    CHAIN_BYTES_MAX = 32 * 1024, /* of a client's certificates, before it is known */
    SESSION_SECONDS = 3600,      /* a ticket is good for */
    KEY_SIZE = 64,
    NAME_MAX_LENGTH = 255,
};

/* Forward secret and authenticated; what clients of the last ten years speak. */
static const char default_ciphers[] = "ECDHE+AESGCM:ECDHE+CHACHA20";

struct server_name {
    char *name;
    SSL_CTX *ssl;
};

struct tls_context {
    size_t refs;
    SSL_CTX *ssl;
    BIO_METHOD *method;
    struct server_name *names;
    size_t name_count;
    struct mailbox scratch;
};

/* What is being made, and where to complain. */
struct making {
    const struct tls_options *options;
    char *error;
    size_t error_size;
};

__attribute__((format(printf, 4, 5))) static bool refuse(const struct making *m, const char *key,
                                                         const char *file, const char *format, ...)
{
    int len = snprintf(m->error, m->error_size, "%s = '%s': ", key, file);
    assert(len > 0);
    if ((size_t)len < m->error_size) {
        va_list args;
        va_start(args, format);
        vsnprintf(m->error + len, m->error_size - (size_t)len, format, args);
        va_end(args);
    }
    return false;
}

static const char *openssl_reason(void)
{
    const char *reason = ERR_reason_error_string(ERR_peek_error()); /* the first one is the cause */
    return reason ? reason : "OpenSSL does not say why";
}

static bool can_read(const struct making *m, const char *key, const char *file)
{
    FILE *opened = *file ? fopen(file, "re") : NULL;
    if (!*file)
        return refuse(m, key, file, "no file is named");
    if (!opened)
        return refuse(m, key, file, "%s", strerror(errno));
    fclose(opened);
    return true;
}

/* ---- certificate and key ---- */

static void write_date(const ASN1_TIME *time, char *text, size_t size)
{
    struct tm tm;
    if (!ASN1_TIME_to_tm(time, &tm) || !strftime(text, size, "%Y-%m-%d %H:%M:%S UTC", &tm))
        snprintf(text, size, "an unknown date");
}

static bool check_dates(const struct making *m, const char *key, const char *file, const X509 *x509)
{
    char date[64];
    if (X509_cmp_current_time(X509_get0_notBefore(x509)) > 0) {
        write_date(X509_get0_notBefore(x509), date, sizeof(date));
        return refuse(m, key, file, "the certificate is not valid before %s", date);
    }
    if (X509_cmp_current_time(X509_get0_notAfter(x509)) < 0) {
        write_date(X509_get0_notAfter(x509), date, sizeof(date));
        return refuse(m, key, file, "the certificate has expired on %s", date);
    }
    return true;
}

static bool use_certificate(const struct making *m, SSL_CTX *ssl, const char *key, const char *file)
{
    if (!can_read(m, key, file))
        return false;
    ERR_clear_error();
    if (SSL_CTX_use_certificate_chain_file(ssl, file) != 1) {
        bool no_pem = ERR_GET_LIB(ERR_peek_error()) == ERR_LIB_PEM;
        return refuse(m, key, file, "%s (%s)",
                      no_pem ? "no certificate in PEM form can be read from it"
                             : "the certificate cannot be used",
                      openssl_reason());
    }
    return check_dates(m, key, file, SSL_CTX_get0_certificate(ssl));
}

struct password {
    const char *text;
    bool asked;
};

static int give_password(char *to, int size, int for_writing, void *arg)
{
    struct password *password = arg;
    size_t len = strlen(password->text);
    (void)for_writing;
    password->asked = true;
    if (len == 0 || len > (size_t)size)
        return -1;
    memcpy(to, password->text, len);
    return (int)len;
}

static bool use_key(const struct making *m, SSL_CTX *ssl, const char *key, const struct tls_pair *pair)
{
    const char *file = pair->keyfile;
    if (!can_read(m, key, file))
        return false;
    struct password password = {.text = pair->password};
    BIO *opened = BIO_new_file(file, "r");
    ERR_clear_error();
    EVP_PKEY *private = opened ? PEM_read_bio_PrivateKey(opened, NULL, give_password, &password) : NULL;
    BIO_free(opened);
    if (!private && password.asked)
        return refuse(m, key, file, "%s", *pair->password
                                              ? "the password does not open this key"
                                              : "the key has a password and none is configured");
    if (!private)
        return refuse(m, key, file, "no private key in PEM form can be read from it (%s)", openssl_reason());
    ERR_clear_error();
    bool fits = X509_check_private_key(SSL_CTX_get0_certificate(ssl), private) == 1;
    bool used = fits && SSL_CTX_use_PrivateKey(ssl, private) == 1;
    EVP_PKEY_free(private);
    if (!fits)
        return refuse(m, key, file, "this key is not the one of the certificate in '%s'", pair->certfile);
    return used || refuse(m, key, file, "%s", openssl_reason());
}

/* ---- whom to trust ---- */

static int allow_missing_list(int good, X509_STORE_CTX *store)
{
    if (!good && X509_STORE_CTX_get_error(store) == X509_V_ERR_UNABLE_TO_GET_CRL) {
        X509_STORE_CTX_set_error(store, X509_V_OK); /* else it stays the result of the verification */
        good = 1;
    }
    return good;
}

static bool use_revocations(const struct making *m, SSL_CTX *ssl)
{
    static const char key[] = "ssl_options.crlfile";
    const char *file = m->options->crlfile;
    enum tls_crl_check check = m->options->crl_check;
    if (check == TLS_CRL_NONE)
        return true;
    if (!can_read(m, key, file))
        return false;
    X509_STORE *store = SSL_CTX_get_cert_store(ssl);
    X509_LOOKUP *lookup = X509_STORE_add_lookup(store, X509_LOOKUP_file());
    ERR_clear_error();
    if (!lookup || X509_load_crl_file(lookup, file, X509_FILETYPE_PEM) <= 0)
        return refuse(m, key, file, "no revocation list in PEM form can be read from it (%s)",
                      openssl_reason());
    X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK |
                                    (check == TLS_CRL_ALL ? X509_V_FLAG_CRL_CHECK_ALL : 0));
    return true;
}

static bool use_authorities(const struct making *m, SSL_CTX *ssl)
{
    static const char key[] = "ssl_options.cacertfile";
    const struct tls_options *options = m->options;
    const char *file = options->cacertfile;
    if (!options->verify_peer && !*file)
        return true;
    if (!can_read(m, key, file))
        return false;
    ERR_clear_error();
    STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(file);
    if (!names || SSL_CTX_load_verify_file(ssl, file) != 1) {
        sk_X509_NAME_pop_free(names, X509_NAME_free);
        return refuse(m, key, file, "no certificate in PEM form can be read from it (%s)", openssl_reason());
    }
    SSL_CTX_set_client_CA_list(ssl, names);
    if (!options->verify_peer)
        return true;
    SSL_CTX_set_verify(ssl,
                       SSL_VERIFY_PEER |
                           (options->fail_if_no_peer_cert ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0),
                       options->crl_check == TLS_CRL_BEST_EFFORT ? allow_missing_list : NULL);
    SSL_CTX_set_verify_depth(ssl, (int)options->depth);
    return use_revocations(m, ssl);
}

/* ---- versions and ciphers ---- */

static bool is_tls_1_3(const char *name, size_t len)
{
    return len > 4 && strncmp(name, "TLS_", 4) == 0;
}

/* The names of `list` of either kind, with colons between. */
static void pick_ciphers(const char *list, bool tls_1_3, char *to, size_t size)
{
    size_t used = 0;
    to[0] = 0;
    for (const char *at = list; *at;) {
        size_t len = strcspn(at, ":");
        if (is_tls_1_3(at, len) == tls_1_3) {
            used += (size_t)snprintf(to + used, size - used, "%s%.*s", used ? ":" : "", (int)len, at);
            assert(used < size);
        }
        at += len + (at[len] == ':');
    }
}

bool tls_context_knows_cipher(const char *name)
{
    SSL_CTX *ssl = SSL_CTX_new(TLS_server_method());
    if (!ssl)
        panic("OpenSSL does not start: %s", openssl_reason());
    bool known = is_tls_1_3(name, strlen(name)) ? SSL_CTX_set_ciphersuites(ssl, name) == 1
                                                : SSL_CTX_set_cipher_list(ssl, name) == 1;
    SSL_CTX_free(ssl);
    ERR_clear_error();
    return known && !strpbrk(name, ":+!@,");
}

static bool use_ciphers(const struct making *m, SSL_CTX *ssl)
{
    const struct tls_options *options = m->options;
    bool tls_1_2 = options->tls_1_2, tls_1_3 = options->tls_1_3;
    char old[4096] = "", new[1024] = "";
    ERR_clear_error();
    if (!*options->ciphers) {
        if (SSL_CTX_set_cipher_list(ssl, default_ciphers) != 1)
            return refuse(m, "ssl_options.ciphers", "", "%s", openssl_reason());
    } else {
        pick_ciphers(options->ciphers, false, old, sizeof(old));
        pick_ciphers(options->ciphers, true, new, sizeof(new));
        tls_1_2 = tls_1_2 && *old;
        tls_1_3 = tls_1_3 && *new;
        if (!tls_1_2 && !tls_1_3)
            return refuse(m, "ssl_options.ciphers", options->ciphers,
                          "none of these is a cipher of the versions that are allowed");
        if ((tls_1_2 && SSL_CTX_set_cipher_list(ssl, old) != 1) ||
            (tls_1_3 && SSL_CTX_set_ciphersuites(ssl, new) != 1))
            return refuse(m, "ssl_options.ciphers", options->ciphers, "%s", openssl_reason());
    }
    assert(tls_1_2 || tls_1_3);
    SSL_CTX_set_min_proto_version(ssl, tls_1_2 ? TLS1_2_VERSION : TLS1_3_VERSION);
    SSL_CTX_set_max_proto_version(ssl, tls_1_3 ? TLS1_3_VERSION : TLS1_2_VERSION);
    return true;
}

/* Renegotiation and compression have had their CVEs and have no use here. Buffers are given back while
 * a connection is idle. A ticket saves a client that comes back the handshake's expensive half, and us
 * a table of sessions. */
static void use_rules(const struct tls_options *options, SSL_CTX *ssl)
{
    uint64_t flags = SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_IGNORE_UNEXPECTED_EOF;
    if (options->honor_cipher_order)
        flags |= SSL_OP_CIPHER_SERVER_PREFERENCE;
    if (!options->reuse_sessions)
        flags |= SSL_OP_NO_TICKET;
    SSL_CTX_set_options(ssl, flags);
    SSL_CTX_set_dh_auto(ssl, 1); /* for DHE ciphers, where they are configured: as strong as the key */
    SSL_CTX_clear_mode(ssl, SSL_MODE_AUTO_RETRY);
    SSL_CTX_set_mode(ssl, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_num_tickets(ssl, options->reuse_sessions ? 1 : 0);
    SSL_CTX_set_timeout(ssl, SESSION_SECONDS);
    SSL_CTX_set_session_id_context(ssl, (const unsigned char *)"leveret", 7);
    SSL_CTX_set_max_cert_list(ssl, CHAIN_BYTES_MAX);
}

/* What is between the certificate and its CA is looked up once, in cacertfile, and not in each handshake. */
static void build_chain(SSL_CTX *ssl)
{
    STACK_OF(X509) *given = NULL;
    SSL_CTX_get0_chain_certs(ssl, &given);
    /* Without the CA there is nothing to be found: clients may know more. */
    if (sk_X509_num(given) <= 0)
        (void)SSL_CTX_build_cert_chain(ssl, SSL_BUILD_CHAIN_FLAG_NO_ROOT | SSL_BUILD_CHAIN_FLAG_IGNORE_ERROR |
                                                SSL_BUILD_CHAIN_FLAG_CLEAR_ERROR);
    SSL_CTX_set_mode(ssl, SSL_MODE_NO_AUTO_CHAIN);
}

/* An SSL_CTX for one certificate; NULL and the error. */
static SSL_CTX *make_one(const struct making *m, const struct tls_pair *pair)
{
    char certfile[KEY_SIZE + NAME_MAX_LENGTH] = "ssl_options.certfile";
    char keyfile[KEY_SIZE + NAME_MAX_LENGTH] = "ssl_options.keyfile";
    if (pair->name) {
        snprintf(certfile, sizeof(certfile), "ssl_options.sni_certfile.%s", pair->name);
        snprintf(keyfile, sizeof(keyfile), "ssl_options.sni_keyfile.%s", pair->name);
    }
    SSL_CTX *ssl = SSL_CTX_new(TLS_server_method());
    if (!ssl)
        panic("OpenSSL does not start: %s", openssl_reason());
    use_rules(m->options, ssl);
    if (use_certificate(m, ssl, certfile, pair->certfile) && use_key(m, ssl, keyfile, pair) &&
        use_authorities(m, ssl) && use_ciphers(m, ssl)) {
        build_chain(ssl);
        return ssl;
    }
    SSL_CTX_free(ssl);
    return NULL;
}

/* ---- server names ---- */

/* "*.example.com" stands for one word more. */
static bool name_matches(const char *pattern, const char *name)
{
    if (pattern[0] != '*')
        return strcasecmp(pattern, name) == 0;
    const char *rest = strchr(name, '.');
    return rest && rest != name && strcasecmp(pattern + 1, rest) == 0;
}

/* Called within a handshake, in any thread. A name nobody configured gets the main certificate. */
static int choose_name(SSL *ssl, int *alert, void *arg)
{
    const struct tls_context *context = arg;
    const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    (void)alert;
    for (size_t i = 0; name && i < context->name_count; i++) {
        if (!name_matches(context->names[i].name, name))
            continue;
        SSL_set_SSL_CTX(ssl, context->names[i].ssl);
        return SSL_TLSEXT_ERR_OK;
    }
    return SSL_TLSEXT_ERR_NOACK;
}

/* ---- the way to the socket ---- */

static int bio_read(BIO *bio, char *bytes, size_t size, size_t *got)
{
    BIO_clear_retry_flags(bio);
    ssize_t result = tls_take(BIO_get_data(bio), bytes, size);
    *got = result > 0 ? (size_t)result : 0;
    if (result == -EAGAIN)
        BIO_set_retry_read(bio);
    if (result == 0)
        BIO_set_flags(bio, BIO_FLAGS_IN_EOF);
    return result > 0;
}

static int bio_write(BIO *bio, const char *bytes, size_t size, size_t *put)
{
    BIO_clear_retry_flags(bio);
    ssize_t result = tls_put(BIO_get_data(bio), bytes, size);
    *put = result > 0 ? (size_t)result : 0;
    if (result == -EAGAIN)
        BIO_set_retry_write(bio);
    return result > 0;
}

static long bio_ctrl(BIO *bio, int command, long number, void *pointer)
{
    (void)number;
    (void)pointer;
    if (command == BIO_CTRL_EOF)
        return BIO_test_flags(bio, BIO_FLAGS_IN_EOF) != 0;
    return command == BIO_CTRL_FLUSH;
}

static BIO_METHOD *make_method(void)
{
    BIO_METHOD *method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "leveret");
    if (!method || !BIO_meth_set_read_ex(method, bio_read) || !BIO_meth_set_write_ex(method, bio_write) ||
        !BIO_meth_set_ctrl(method, bio_ctrl))
        panic("OpenSSL has no memory for a method");
    return method;
}

struct ssl_st *tls_context_session(struct tls_context *context, void *arg)
{
    SSL *ssl = SSL_new(context->ssl);
    BIO *bio = BIO_new(context->method);
    if (!ssl || !bio) {
        SSL_free(ssl);
        BIO_free(bio);
        return NULL;
    }
    BIO_set_data(bio, arg);
    BIO_set_init(bio, 1);
    SSL_set_bio(ssl, bio, bio);
    SSL_set_accept_state(ssl);
    return ssl;
}

/* ---- life ---- */

static void free_context(struct tls_context *context)
{
    for (size_t i = 0; i < context->name_count; i++) {
        SSL_CTX_free(context->names[i].ssl);
        mem_free(context->names[i].name);
    }
    mem_free(context->names);
    SSL_CTX_free(context->ssl);
    BIO_meth_free(context->method);
    for (struct list *letter; (letter = mailbox_poll(&context->scratch));)
        mem_free(container_of(letter, struct tls_scratch, letter));
    mailbox_free(&context->scratch);
    mem_free(context);
}

static bool make_names(const struct making *m, struct tls_context *context)
{
    size_t count = m->options->sni_count;
    context->names = mem_zalloc((count ? count : 1) * sizeof(context->names[0]));
    for (size_t i = 0; i < count; i++) {
        const struct tls_pair *pair = &m->options->sni[i];
        assert(pair->name && *pair->name);
        SSL_CTX *ssl = make_one(m, pair);
        if (!ssl)
            return false;
        context->names[i] = (struct server_name){mem_copy(pair->name, strlen(pair->name)), ssl};
        context->name_count++;
    }
    return true;
}

struct tls_context *tls_context_new(const struct tls_options *options, char *error, size_t error_size)
{
    assert(options->tls_1_2 || options->tls_1_3);
    assert(error_size > 0);
    struct making making = {options, error, error_size};
    struct tls_context *context = mem_zalloc(sizeof(*context));
    context->refs = 1;
    mailbox_init(&context->scratch);
    context->method = make_method();
    context->ssl = make_one(&making, &options->main);
    if (!context->ssl || !make_names(&making, context)) {
        free_context(context);
        return NULL;
    }
    SSL_CTX_set_tlsext_servername_callback(context->ssl, choose_name);
    SSL_CTX_set_tlsext_servername_arg(context->ssl, context);
    return context;
}

struct tls_context *tls_context_ref(struct tls_context *context)
{
    assert(context->refs > 0);
    context->refs++;
    return context;
}

void tls_context_unref(struct tls_context **context_at)
{
    struct tls_context *context = *context_at;
    *context_at = NULL;
    if (!context)
        return;
    assert(context->refs > 0);
    if (--context->refs == 0)
        free_context(context);
}

struct tls_scratch *tls_context_borrow(struct tls_context *context)
{
    struct list *letter = mailbox_poll(&context->scratch);
    struct tls_scratch *scratch =
        letter ? container_of(letter, struct tls_scratch, letter) : mem_alloc(sizeof(*scratch));
    if (!letter)
        scratch->letter = (struct list){0};
    scratch->sealed = 0;
    return scratch;
}

void tls_context_give(struct tls_context *context, struct tls_scratch **scratch)
{
    mailbox_post(&context->scratch, &(*scratch)->letter);
    *scratch = NULL;
}
