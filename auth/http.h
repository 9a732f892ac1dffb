/* http.h - one HTTP request and its answer, for the threads of backends (libcurl). Blocks; never on the
 * loop. */
#ifndef AUTH_HTTP_H
#define AUTH_HTTP_H

#include <stdbool.h>
#include <stddef.h>

#include "auth/http_tls.h"
#include "base/buf.h"

struct backend;
struct http;

struct http_options {
    struct http_tls tls;
    long connect_timeout_ms, timeout_ms;
    size_t answer_max; /* bytes; a longer one is an error */
};

/* One per thread: keeps its connection. Gives up a transfer when the backend stops. */
struct http *http_new(const struct backend *backend, const struct http_options *options);
void http_free(struct http **http);

/* GET when `form` is NULL, else POST with it. True with the status and the body (emptied first) when the
 * server answered at all; else false, and `error` says why. Redirects are not followed. */
bool http_request(struct http *http, const char *url, const struct buf *form, long *status,
                  struct buf *body, char *error, size_t error_size);
/* Appends "name=value" for a query or form, after a '&' unless `out` is empty. */
void http_add(struct buf *out, const char *name, struct slice value);

#endif
