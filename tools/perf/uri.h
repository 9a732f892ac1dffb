/* uri.h - amqp://user:password@host:port/vhost, after RabbitMQ's "URI Specification" page. */
#ifndef PERF_URI_H
#define PERF_URI_H

#include <stdbool.h>
#include <stddef.h>

struct uri {
    char user[256], password[256], host[256], vhost[256];
    char port[8];
};

/* Percent escapes are undone; what is absent is guest, guest, localhost, 5672, "/". False, with the
 * reason in `error`, when it is no such URI. */
bool uri_parse(const char *text, struct uri *uri, char *error, size_t error_size);

#endif
