/* http.c - one HTTP request and its answer (libcurl). */
#include "auth/http.h"

#include <curl/curl.h>
#include <stdio.h>

#include "auth/backend.h"
#include "base/assert.h"
#include "base/mem.h"

enum { HOST_MAX = 255 };

struct http {
    CURL *curl;
    const struct backend *backend;
    const struct http_options *options;
    struct buf *body; /* of the request that is made now */
    struct curl_slist *place, *headers; /* of the last one, when the service is called by another name */
    char error[CURL_ERROR_SIZE];
};

static size_t on_bytes(char *bytes, size_t one, size_t size, void *arg)
{
    struct http *http = arg;
    assert(one == 1);
    if (size > http->options->answer_max - http->body->len)
        return 0; /* libcurl then fails the transfer */
    buf_append(http->body, bytes, size);
    return size;
}

static int on_progress(void *arg, curl_off_t down_total, curl_off_t down, curl_off_t up_total, curl_off_t up)
{
    const struct http *http = arg;
    (void)down_total, (void)down, (void)up_total, (void)up;
    return backend_is_stopping(http->backend);
}

struct http *http_new(const struct backend *backend, const struct http_options *options)
{
    struct http *http = mem_zalloc(sizeof(*http));
    http->backend = backend;
    http->options = options;
    http->curl = curl_easy_init();
    if (!http->curl)
        panic("out of memory for HTTP");
    CURL *curl = http->curl;
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, options->connect_timeout_ms);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, options->timeout_ms);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_bytes);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, http);
    curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(curl, CURLOPT_XFERINFODATA, http);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, http->error);
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "Leveret/" LEVERET_VERSION);
    curl_easy_setopt(curl, CURLOPT_PROXY, ""); /* not what the environment says: it would see passwords */
    http_tls_set(curl, &options->tls);
    return http;
}

void http_free(struct http **http)
{
    curl_easy_cleanup((*http)->curl);
    curl_slist_free_all((*http)->place);
    curl_slist_free_all((*http)->headers);
    mem_free(*http);
    *http = NULL;
}

/* Not in libcurl's own words: they may quote the address, which may hold a password. */
static void explain(const struct http *http, CURLcode code, char *error, size_t error_size)
{
    const char *refusal = http_tls_refusal(http->curl);
    if (code == CURLE_WRITE_ERROR)
        snprintf(error, error_size, "the answer is too long");
    else if (code == CURLE_PEER_FAILED_VERIFICATION)
        snprintf(error, error_size, "its certificate is refused: %s",
                 refusal ? refusal : "it is another host's");
    else
        snprintf(error, error_size, "%s", curl_easy_strerror(code));
}

/* libcurl says and verifies the name that is in the address: so the other one is put there, and connection
 * and header Host go to the host all the same. False when it is no address. */
static bool rename_service(struct http *http, CURLU *parts)
{
    char *host = NULL, *port = NULL, text[512];
    bool good = curl_url_get(parts, CURLUPART_HOST, &host, 0) == CURLUE_OK && strlen(host) <= HOST_MAX &&
                curl_url_get(parts, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) == CURLUE_OK &&
                curl_url_set(parts, CURLUPART_HOST, http->options->tls.server_name, 0) == CURLUE_OK;
    curl_slist_free_all(http->place);
    curl_slist_free_all(http->headers);
    http->place = http->headers = NULL;
    if (good) {
        snprintf(text, sizeof(text), "::%s:%s", host, port);
        http->place = curl_slist_append(NULL, text);
        snprintf(text, sizeof(text), "Host: %s%s%s", host, strcmp(port, "443") == 0 ? "" : ":",
                 strcmp(port, "443") == 0 ? "" : port);
        http->headers = curl_slist_append(NULL, text);
    }
    curl_free(host);
    curl_free(port);
    curl_easy_setopt(http->curl, CURLOPT_CONNECT_TO, http->place);
    curl_easy_setopt(http->curl, CURLOPT_HTTPHEADER, http->headers);
    return good;
}

static bool set_address(struct http *http, const char *url)
{
    char *renamed = NULL;
    CURLU *parts;
    if (!*http->options->tls.server_name || strncmp(url, "https:", 6) != 0)
        return curl_easy_setopt(http->curl, CURLOPT_URL, url) == CURLE_OK;
    parts = curl_url();
    bool good = parts && curl_url_set(parts, CURLUPART_URL, url, 0) == CURLUE_OK &&
                rename_service(http, parts) &&
                curl_url_get(parts, CURLUPART_URL, &renamed, 0) == CURLUE_OK &&
                curl_easy_setopt(http->curl, CURLOPT_URL, renamed) == CURLE_OK;
    curl_free(renamed);
    curl_url_cleanup(parts);
    return good;
}

bool http_request(struct http *http, const char *url, const struct buf *form, long *status,
                  struct buf *body, char *error, size_t error_size)
{
    CURL *curl = http->curl;
    http->body = body;
    http->error[0] = 0;
    body->len = 0;
    if (!set_address(http, url)) {
        snprintf(error, error_size, "its address cannot be read");
        return false;
    }
    if (form) {
        curl_easy_setopt(curl, CURLOPT_POST, 1L);
        curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE, (long)form->len);
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, form->len ? (const char *)form->at : "");
    } else {
        curl_easy_setopt(curl, CURLOPT_HTTPGET, 1L);
    }
    CURLcode code = curl_easy_perform(curl);
    http->body = NULL;
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, status);
    if (code != CURLE_OK)
        explain(http, code, error, error_size);
    return code == CURLE_OK;
}

void http_add(struct buf *out, const char *name, struct slice value)
{
    buf_printf(out, "%s%s=", out->len ? "&" : "", name);
    for (size_t i = 0; i < value.len; i++) {
        uint8_t byte = value.at[i];
        bool plain = (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
                     (byte >= '0' && byte <= '9') || strchr("-_.~", byte);
        if (byte == ' ')
            buf_append(out, "+", 1);
        else if (plain && byte)
            buf_append(out, &byte, 1);
        else
            buf_printf(out, "%%%02X", byte);
    }
}
