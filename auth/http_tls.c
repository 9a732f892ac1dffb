/* http_tls.c - TLS to the services that backends ask.
 *
 * Debian's libcurl is made with OpenSSL, so that what it cannot be told is told to its context. A list of
 * revocations that is missing, out of date or not to be read refuses the service it is about. */
#include "auth/http_tls.h"

#include <curl/curl.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"

/* --- a connection --- */

static int allow_missing_list(int good, X509_STORE_CTX *store)
{
    if (!good && X509_STORE_CTX_get_error(store) == X509_V_ERR_UNABLE_TO_GET_CRL) {
        X509_STORE_CTX_set_error(store, X509_V_OK); /* libcurl looks at it once more */
        good = 1;
    }
    return good;
}

static bool load_revocations(X509_STORE *store, const char *file)
{
    X509_LOOKUP *lookup = X509_STORE_add_lookup(store, X509_LOOKUP_file());
    return lookup && X509_load_crl_file(lookup, file, X509_FILETYPE_PEM) > 0;
}

/* libcurl's own test of the name takes wildcards; this one comes on top of it. */
static bool forbid_wildcards(CURL *curl, X509_VERIFY_PARAM *param)
{
    const char *url = NULL;
    char *host = NULL;
    CURLU *parts = curl_url();
    bool found = curl_easy_getinfo(curl, CURLINFO_EFFECTIVE_URL, &url) == CURLE_OK && url != NULL &&
                 curl_url_set(parts, CURLUPART_URL, url, 0) == CURLUE_OK &&
                 curl_url_get(parts, CURLUPART_HOST, &host, 0) == CURLUE_OK;
    if (found && host[0] == '[') /* of IPv6 */
        host[strlen(host) - 1] = 0;
    const char *name = found && host[0] == '[' ? host + 1 : host;
    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_WILDCARDS);
    bool set = found && (X509_VERIFY_PARAM_set1_ip_asc(param, name) == 1 ||
                         X509_VERIFY_PARAM_set1_host(param, name, 0) == 1);
    curl_free(host);
    curl_url_cleanup(parts);
    return set;
}

/* Before anything is said to the service. */
static void forget_name(const SSL *ssl, int where, int result)
{
    (void)result;
    if (where & SSL_CB_HANDSHAKE_START)
        SSL_set_tlsext_host_name((SSL *)(uintptr_t)ssl, NULL);
}

static CURLcode on_context(CURL *curl, void *context, void *arg)
{
    const struct http_tls *tls = arg;
    SSL_CTX *ssl = context;
    X509_VERIFY_PARAM *param = SSL_CTX_get0_param(ssl);
    assert(tls->verify || tls->crl_check == HTTP_CRL_NONE);
    if (tls->verify && tls->no_wildcards && !forbid_wildcards(curl, param))
        return CURLE_SSL_CERTPROBLEM;
    if (tls->tells_no_name)
        SSL_CTX_set_info_callback(ssl, forget_name);
    if (tls->depth)
        SSL_CTX_set_verify_depth(ssl, (int)tls->depth);
    if (tls->crl_check == HTTP_CRL_NONE)
        return CURLE_OK;
    if (!load_revocations(SSL_CTX_get_cert_store(ssl), tls->crl_file))
        return CURLE_SSL_CRL_BADFILE;
    unsigned long all = tls->crl_check == HTTP_CRL_ALL ? X509_V_FLAG_CRL_CHECK_ALL : 0;
    X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_CRL_CHECK | all);
    if (tls->crl_check == HTTP_CRL_BEST_EFFORT)
        SSL_CTX_set_verify(ssl, SSL_CTX_get_verify_mode(ssl), allow_missing_list);
    return CURLE_OK;
}

static void set_own(CURL *curl, const struct http_tls *tls)
{
    if (!*tls->cert_file)
        return;
    curl_easy_setopt(curl, CURLOPT_SSLCERT, tls->cert_file);
    if (*tls->key_file)
        curl_easy_setopt(curl, CURLOPT_SSLKEY, tls->key_file);
    curl_easy_setopt(curl, CURLOPT_KEYPASSWD, tls->password); /* also "": or OpenSSL asks the terminal */
}

/* --- versions and ciphers --- */

/* What is offered: a version that is allowed and, when ciphers are named, has one of them. */
struct offer {
    bool tls_1_2, tls_1_3;
    char old[4096], new[1024]; /* the ciphers of either; "" = what libcurl offers */
};

static void read_offer(const struct http_tls *tls, struct offer *offer)
{
    size_t old = 0, new = 0;
    offer->old[0] = offer->new[0] = 0;
    for (const char *at = tls->ciphers; *at;) {
        size_t len = strcspn(at, ":");
        bool is_new = len > 4 && strncmp(at, "TLS_", 4) == 0;
        char *to = is_new ? offer->new : offer->old;
        size_t *used = is_new ? &new : &old, size = is_new ? sizeof(offer->new) : sizeof(offer->old);
        *used += (size_t)snprintf(to + *used, size - *used, "%s%.*s", *used ? ":" : "", (int)len, at);
        assertf(*used < size, "ciphers of %zu bytes", strlen(tls->ciphers));
        at += len + (at[len] == ':');
    }
    offer->tls_1_2 = !tls->no_tls_1_2 && (old || !*tls->ciphers);
    offer->tls_1_3 = !tls->no_tls_1_3 && (new || !*tls->ciphers);
}

static void set_offer(CURL *curl, const struct http_tls *tls)
{
    struct offer offer;
    read_offer(tls, &offer);
    assert(offer.tls_1_2 || offer.tls_1_3);
    curl_easy_setopt(curl, CURLOPT_SSLVERSION,
                     (long)(offer.tls_1_2 ? CURL_SSLVERSION_TLSv1_2 : CURL_SSLVERSION_TLSv1_3) |
                         (long)(offer.tls_1_3 ? CURL_SSLVERSION_MAX_DEFAULT : CURL_SSLVERSION_MAX_TLSv1_2));
    if (*offer.old)
        curl_easy_setopt(curl, CURLOPT_SSL_CIPHER_LIST, offer.old);
    if (*offer.new)
        curl_easy_setopt(curl, CURLOPT_TLS13_CIPHERS, offer.new);
}

void http_tls_set(void *curl, const struct http_tls *tls)
{
    curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, tls->verify ? 1L : 0L);
    curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, tls->verify ? 2L : 0L);
    set_offer(curl, tls);
    curl_easy_setopt(curl, CURLOPT_SSL_CTX_DATA, (void *)(uintptr_t)tls);
    curl_easy_setopt(curl, CURLOPT_SSL_CTX_FUNCTION, on_context);
    if (*tls->ca_file)
        curl_easy_setopt(curl, CURLOPT_CAINFO, tls->ca_file);
    if (*tls->ca_file || tls->crl_check != HTTP_CRL_NONE) /* what is in the files now counts */
        curl_easy_setopt(curl, CURLOPT_CA_CACHE_TIMEOUT, 0L);
    set_own(curl, tls);
}

const char *http_tls_refusal(void *curl)
{
    long verified = X509_V_OK;
    curl_easy_getinfo(curl, CURLINFO_SSL_VERIFYRESULT, &verified);
    bool told = verified != X509_V_OK && verified != X509_V_ERR_UNSPECIFIED; /* libcurl's own word */
    return told ? X509_verify_cert_error_string(verified) : NULL;
}

/* --- the files --- */

struct files {
    const struct http_tls *tls;
    const char *prefix;
    char *error;
    size_t error_size;
};

static bool refuse(const struct files *files, const char *word, const char *file, const char *reason)
{
    snprintf(files->error, files->error_size, "%s%s = '%s': %s", files->prefix, word, file, reason);
    return false;
}

static const char *openssl_reason(void)
{
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());
    return reason ? reason : "OpenSSL does not say why";
}

static bool can_read(const struct files *files, const char *word, const char *file)
{
    FILE *opened = fopen(file, "re");
    if (!opened)
        return refuse(files, word, file, strerror(errno));
    fclose(opened);
    return true;
}

static bool check_trust(const struct files *files, X509_STORE *store)
{
    const struct http_tls *tls = files->tls;
    X509_LOOKUP *lookup = X509_STORE_add_lookup(store, X509_LOOKUP_file());
    if (*tls->ca_file && !can_read(files, "cacertfile", tls->ca_file))
        return false;
    if (*tls->ca_file && (!lookup || X509_load_cert_file(lookup, tls->ca_file, X509_FILETYPE_PEM) <= 0))
        return refuse(files, "cacertfile", tls->ca_file, "no certificate in PEM form can be read from it");
    if (tls->crl_check == HTTP_CRL_NONE)
        return true;
    return can_read(files, "crlfile", tls->crl_file) &&
           (load_revocations(store, tls->crl_file) ||
            refuse(files, "crlfile", tls->crl_file, "no revocation list in PEM form can be read from it"));
}

static int give_password(char *to, int size, int writing, void *arg)
{
    const struct http_tls *tls = arg;
    size_t len = strlen(tls->password);
    (void)writing;
    if (len == 0 || len > (size_t)size)
        return -1;
    memcpy(to, tls->password, len);
    return (int)len;
}

static bool check_own(const struct files *files, SSL_CTX *ssl)
{
    const struct http_tls *tls = files->tls;
    const char *word = *tls->key_file ? "keyfile" : "certfile";
    const char *key = *tls->key_file ? tls->key_file : tls->cert_file;
    if (!*tls->cert_file)
        return !*tls->key_file || refuse(files, "keyfile", key, "certfile is missing");
    if (!can_read(files, "certfile", tls->cert_file) || !can_read(files, word, key))
        return false;
    SSL_CTX_set_default_passwd_cb(ssl, give_password);
    SSL_CTX_set_default_passwd_cb_userdata(ssl, (void *)(uintptr_t)tls);
    if (SSL_CTX_use_certificate_chain_file(ssl, tls->cert_file) != 1)
        return refuse(files, "certfile", tls->cert_file, openssl_reason());
    return SSL_CTX_use_PrivateKey_file(ssl, key, SSL_FILETYPE_PEM) == 1 ||
           refuse(files, word, key, openssl_reason());
}

bool http_tls_check(const struct http_tls *tls, const char *prefix, char *error, size_t error_size)
{
    struct files files = {tls, prefix, error, error_size};
    struct offer offer;
    X509_STORE *store = X509_STORE_new();
    SSL_CTX *ssl = SSL_CTX_new(TLS_client_method());
    if (!store || !ssl)
        panic("out of memory for TLS");
    ERR_clear_error();
    read_offer(tls, &offer);
    bool good = (offer.tls_1_2 || offer.tls_1_3 ||
                 refuse(&files, "ciphers", tls->ciphers,
                        "none of these is a cipher of the versions that are allowed")) &&
                check_trust(&files, store) && check_own(&files, ssl);
    ERR_clear_error();
    X509_STORE_free(store);
    SSL_CTX_free(ssl);
    return good;
}
