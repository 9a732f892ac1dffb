/* http_backend.c - RabbitMQ's HTTP auth backend (the README of rabbitmq-auth-backend-http).
 *
 * Owner: a thread of the backend each. Whatever is not clearly "allow" refuses. */
#include "auth/http_backend.h"

#include <stdio.h>

#include "auth/backend.h"
#include "base/assert.h"
#include "base/mem.h"

enum { REASON_MAX = 255 }; /* more does not fit the text of an error */

struct asker {
    const struct http_backend_settings *settings;
    struct http *http;
    struct buf query, url, answer;
};

static void *start(struct backend *backend, const void *settings)
{
    struct asker *asker = mem_zalloc(sizeof(*asker));
    asker->settings = settings;
    asker->http = http_new(backend, &asker->settings->http);
    return asker;
}

static void stop(void *thread)
{
    struct asker *asker = thread;
    http_free(&asker->http);
    buf_free(&asker->query);
    buf_free(&asker->url);
    buf_free(&asker->answer);
    mem_free(asker);
}

/* With blanks between them, in place of commas. */
static void add_tags(struct buf *query, struct slice tags)
{
    size_t from = query->len;
    http_add(query, "tags", tags);
    for (size_t i = from; i + 2 < query->len; i++)
        if (memcmp(query->at + i, "%2C", 3) == 0) {
            query->at[i] = '+';
            memmove(query->at + i + 1, query->at + i + 3, query->len - i - 3);
            query->len -= 2;
        }
}

/* Writes the parameters of a question and returns where it is to be asked. */
static const char *write_query(const struct http_backend_settings *settings, const struct inquiry *about,
                               struct buf *query)
{
    query->len = 0;
    http_add(query, "username", about->user);
    if (about->password.len) /* there is none with a certificate */
        http_add(query, "password", about->password);
    if (about->kind == QUESTION_LOGIN || about->kind == QUESTION_USER)
        return settings->user_path;
    http_add(query, "vhost", about->vhost);
    if (about->kind == QUESTION_VHOST) {
        http_add(query, "ip", about->ip);
        add_tags(query, about->tags);
        return settings->vhost_path;
    }
    http_add(query, "resource", about->resource);
    http_add(query, "name", about->name);
    http_add(query, "permission", about->permission);
    add_tags(query, about->tags);
    if (about->kind == QUESTION_RESOURCE)
        return settings->resource_path;
    assert(about->kind == QUESTION_TOPIC);
    http_add(query, "routing_key", about->key);
    http_add(query, "variable_map.username", about->user);
    http_add(query, "variable_map.vhost", about->vhost);
    return settings->topic_path;
}

static bool is_blank(uint8_t byte)
{
    return byte == ' ' || byte == '\n' || byte == '\r' || byte == '\t';
}

static struct slice trim(struct slice text)
{
    while (text.len && is_blank(text.at[0]))
        text = slice_of(text.at + 1, text.len - 1);
    while (text.len && is_blank(text.at[text.len - 1]))
        text.len--;
    return text;
}

/* True when the text begins with the word, in any case, and it ends there. */
static bool takes_word(struct slice text, const char *word)
{
    size_t len = strlen(word);
    return text.len >= len && strncasecmp((const char *)text.at, word, len) == 0 &&
           (text.len == len || is_blank(text.at[len]));
}

/* "one two" becomes "one,two", as tags are written here. */
static struct slice copy_tags(struct slice words)
{
    struct buf tags = {0};
    for (size_t i = 0; i < words.len; i++)
        buf_append(&tags, is_blank(words.at[i]) ? "," : (const char *)&words.at[i], 1);
    struct slice copy = slice_copy(buf_slice(&tags));
    buf_free(&tags);
    return copy;
}

/* The reason behind "deny", if it can be shown: text, and without the password that was asked about. */
static struct slice reason_of(const struct question *question, struct slice text)
{
    struct slice reason = trim(slice_of(text.at + 4, text.len - 4)), password = question->about.password;
    if (reason.len > REASON_MAX)
        reason.len = REASON_MAX;
    for (int i = 0; i < 3 && reason.len && !slice_is_utf8(reason); i++)
        reason.len--; /* a character was cut */
    bool secret = password.len && reason.len && memmem(reason.at, reason.len, password.at, password.len);
    return secret || memchr(reason.at, 0, reason.len) || !slice_is_utf8(reason) ? SLICE("") : reason;
}

static void deny(struct question *question, struct slice text)
{
    question->said = slice_copy(reason_of(question, text));
    question_decide(question, VERDICT_DENY, "denied by the HTTP service%s%.*s",
                    question->said.len ? ": " : "", SLICE_ARG(question->said));
}

void http_backend_read(struct question *question, long status, struct slice body)
{
    struct slice text = trim(body);
    if (status != 200 && status != 201) {
        question_decide(question, VERDICT_ERROR, "the HTTP service answered with status %ld", status);
    } else if (takes_word(text, "allow")) {
        question_decide(question, VERDICT_ALLOW, "allowed by the HTTP service");
        if (question->about.kind <= QUESTION_USER) {
            question->user = slice_copy(question->about.user);
            question->tags = copy_tags(trim(slice_of(text.at + 5, text.len - 5)));
        }
    } else if (takes_word(text, "deny")) {
        deny(question, text);
    } else {
        question_decide(question, VERDICT_ERROR, "the HTTP service answered neither allow nor deny");
    }
}

static bool answer(void *thread, struct question *question)
{
    struct asker *asker = thread;
    const struct http_backend_settings *settings = asker->settings;
    char error[150];
    long status = 0;
    const char *path = write_query(settings, &question->about, &asker->query);
    if (!*path) {
        question_decide(question, VERDICT_ERROR, "auth_http has no address for this question");
        return true;
    }
    asker->url.len = 0;
    buf_printf(&asker->url, "%s", path);
    if (!settings->post)
        buf_printf(&asker->url, "%c%.*s", strchr(path, '?') ? '&' : '?',
                   SLICE_ARG(buf_slice(&asker->query)));
    buf_append(&asker->url, "", 1);
    if (http_request(asker->http, (const char *)asker->url.at, settings->post ? &asker->query : NULL,
                     &status, &asker->answer, error, sizeof(error)))
        http_backend_read(question, status, buf_slice(&asker->answer));
    else
        question_decide(question, VERDICT_ERROR, "the HTTP service gave no answer: %s", error);
    memset(asker->query.at, 0, asker->query.len); /* it may hold a password */
    memset(asker->url.at, 0, asker->url.len);
    return true;
}

const struct backend_type backend_http = {"http", start, answer, stop, NULL};
