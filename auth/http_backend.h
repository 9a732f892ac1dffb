/* http_backend.h - RabbitMQ's HTTP auth backend: one address for each kind of question, the answer is
 * "allow", "allow tag tag" or "deny". */
#ifndef AUTH_HTTP_BACKEND_H
#define AUTH_HTTP_BACKEND_H

#include "auth/http.h"

/* auth_http.*; texts are the configuration's. */
struct http_backend_settings {
    bool post;
    const char *user_path, *vhost_path, *resource_path, *topic_path;
    struct http_options http;
};

struct question;

/* Decides the question by what the service answered; allows only what begins with the word "allow". */
void http_backend_read(struct question *question, long status, struct slice body);

#endif
