/* uri.c - reads amqp:// and amqps:// URIs. */
#include "tools/perf/uri.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/slice.h"

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Copies `from` without its percent escapes; an empty part leaves the default. */
static bool unescape(struct slice from, char *to, size_t size)
{
    size_t len = 0;
    assert(size > 1);
    if (from.len == 0)
        return true;
    for (size_t i = 0; i < from.len; i++) {
        uint8_t c = from.at[i];
        if (c == '%') {
            if (i + 2 >= from.len || hex_digit(from.at[i + 1]) < 0 || hex_digit(from.at[i + 2]) < 0)
                return false;
            c = (uint8_t)(hex_digit(from.at[i + 1]) * 16 + hex_digit(from.at[i + 2]));
            i += 2;
        }
        if (c == 0 || len + 1 >= size)
            return false;
        to[len++] = (char)c;
    }
    to[len] = 0;
    return true;
}

/* Cuts what stands before the first `mark` off the front of `text`; false when there is no mark. */
static bool cut(struct slice *text, char mark, struct slice *before)
{
    const uint8_t *at = text->len ? memchr(text->at, mark, text->len) : NULL;
    if (!at)
        return false;
    *before = slice_of(text->at, (size_t)(at - text->at));
    *text = slice_of(at + 1, text->len - before->len - 1);
    return true;
}

static bool parse_login(struct slice login, struct uri *uri)
{
    struct slice user = login, password = {0};
    if (cut(&login, ':', &user))
        password = login;
    return unescape(user, uri->user, sizeof(uri->user)) &&
           unescape(password, uri->password, sizeof(uri->password));
}

static bool parse_place(struct slice place, struct uri *uri)
{
    struct slice host = place, port = {0};
    if (place.len && place.at[0] == '[') {
        place = slice_of(place.at + 1, place.len - 1);
        if (!cut(&place, ']', &host))
            return false;
        if (place.len && place.at[0] != ':')
            return false;
        port = place.len ? slice_of(place.at + 1, place.len - 1) : place;
    } else if (cut(&place, ':', &host)) {
        port = place;
    }
    if (!unescape(host, uri->host, sizeof(uri->host)) || !unescape(port, uri->port, sizeof(uri->port)))
        return false;
    char *end = NULL;
    long number = strtol(uri->port, &end, 10);
    return *end == 0 && number > 0 && number < 65536;
}

bool uri_parse(const char *text, struct uri *uri, char *error, size_t error_size)
{
    *uri = (struct uri){.user = "guest", .password = "guest", .host = "localhost", .vhost = "/",
                        .port = "5672"};
    struct slice rest = slice_of_string(text), part;
    uri->tls = slice_starts_with(rest, "amqps://");
    if (uri->tls)
        snprintf(uri->port, sizeof(uri->port), "5671");
    if (!uri->tls && !slice_starts_with(rest, "amqp://")) {
        snprintf(error, error_size, "'%s' begins neither with amqp:// nor with amqps://", text);
        return false;
    }
    size_t scheme = uri->tls ? 8 : 7;
    rest = slice_of(rest.at + scheme, rest.len - scheme);
    struct slice place = rest, vhost = {0};
    if (cut(&rest, '/', &part))
        place = part, vhost = rest;
    bool ok = true;
    if (cut(&place, '@', &part))
        ok = parse_login(part, uri);
    ok = ok && parse_place(place, uri) && unescape(vhost, uri->vhost, sizeof(uri->vhost));
    if (!ok)
        snprintf(error, error_size, "'%s' is no URI of the form amqp://user:password@host:port/vhost", text);
    return ok;
}
