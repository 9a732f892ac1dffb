/* uri.h - amqp://user:password@host:port/vhost and amqps:// for TLS, after RabbitMQ's "URI Specification"
 * page. */
#ifndef PERF_URI_H
#define PERF_URI_H

#include <stdbool.h>
#include <stddef.h>

struct uri {
    char user[256], password[256], host[256], vhost[256];
    char port[8];
    bool tls;
    struct ssl_ctx_st *context; /* of secure_context; NULL unless tls; not uri_parse's */
};

/* Percent escapes are undone; what is absent is guest, guest, localhost, 5672 (5671 with
 * TLS), "/". False, with the
 * reason in `error`, when it is no such URI. */
bool uri_parse(const char *text, struct uri *uri, char *error, size_t error_size);

#endif
