/* link.c - the way to the server: its control socket, one JSON object a line. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/mem.h"
#include "tools/ctl/ctl.h"

static double now_s(void)
{
    return (double)clock_now_ns() / 1e9;
}

static bool connect_to(struct ctl_link *link, const char *path, char *error, size_t error_size)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(address.sun_path)) {
        snprintf(error, error_size, "the path of the socket '%s' is too long", path);
        return false;
    }
    memcpy(address.sun_path, path, strlen(path));
    link->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (link->fd >= 0 && connect(link->fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
        return true;
    snprintf(error, error_size, "no server answers at the socket '%s': %s", path, strerror(errno));
    ctl_hang_up(link);
    return false;
}

bool ctl_connect(struct ctl_link *link, const struct ctl_options *options, char *error, size_t error_size)
{
    static const char *const places[] = {"data/leveret.sock", "/var/lib/leveret/leveret.sock"};
    const char *given = options->socket     ? options->socket
                        : options->data_dir ? NULL
                                            : getenv("LEVERET_SOCKET");
    char path[4096];
    *link = (struct ctl_link){.fd = -1};
    if (options->timeout_s > 0)
        link->deadline = now_s() + options->timeout_s;
    if (given)
        return connect_to(link, given, error, error_size);
    if (options->data_dir) {
        snprintf(path, sizeof(path), "%s/leveret.sock", options->data_dir);
        return connect_to(link, path, error, error_size);
    }
    for (size_t i = 0; i < array_size(places); i++)
        if (access(places[i], F_OK) == 0)
            return connect_to(link, places[i], error, error_size);
    snprintf(error, error_size,
             "no socket of a server is in ./data or /var/lib/leveret: say where it is with --socket FILE, "
             "--data-dir DIR or LEVERET_SOCKET");
    return false;
}

void ctl_hang_up(struct ctl_link *link)
{
    if (link->fd >= 0)
        close(link->fd);
    link->fd = -1;
    buf_free(&link->in);
    link->in = (struct buf){0};
}

static bool send_all(struct ctl_link *link, struct slice bytes)
{
    while (bytes.len) {
        ssize_t put = send(link->fd, bytes.at, bytes.len, MSG_NOSIGNAL);
        if (put < 0 && errno != EINTR)
            return false;
        size_t done = put > 0 ? (size_t)put : 0;
        bytes = slice_of(bytes.at + done, bytes.len - done);
    }
    return true;
}

/* 1 = more came, 0 = the server went away, -1 = the time is over. */
static int receive(struct ctl_link *link)
{
    if (link->deadline > 0) {
        struct pollfd waiting = {.fd = link->fd, .events = POLLIN};
        double left = link->deadline - now_s();
        if (left <= 0 || poll(&waiting, 1, (int)(left * 1000) + 1) == 0)
            return -1;
    }
    uint8_t *room = buf_reserve(&link->in, 65536);
    ssize_t got = recv(link->fd, room, 65536, 0);
    if (got > 0)
        link->in.len += (size_t)got;
    return got > 0 || (got < 0 && errno == EINTR);
}

static enum ctl_status status_of(const json_t *end, const json_t *request)
{
    const char *error = json_string_value(json_object_get(end, "error"));
    const char *reason = json_string_value(json_object_get(end, "reason"));
    const char *verb = json_string_value(json_object_get(request, "verb"));
    if (!error)
        return CTL_OK;
    fprintf(stderr, "Error:\n%s\n", reason ? reason : error);
    if (strcmp(error, "malformed") == 0)
        return CTL_USAGE;
    if (strcmp(error, "already_exists") == 0)
        return CTL_SOFTWARE;
    if (strcmp(error, "refused") == 0)
        return CTL_DATA;
    if (strcmp(error, "not_found") != 0)
        return CTL_UNAVAILABLE;
    if (reason && (strncmp(reason, "user ", 5) == 0 || strncmp(reason, "User ", 5) == 0))
        return CTL_NO_USER;
    return verb && strcmp(verb, "delete_vhost") == 0   ? CTL_DATA
           : verb && strcmp(verb, "delete_queue") == 0 ? CTL_USAGE
                                                       : CTL_UNAVAILABLE;
}

/* Handles the whole lines that are here; true when the last one of the answer was among them. */
static bool take_lines(struct ctl_link *link, void (*row)(void *arg, const json_t *row), void *arg,
                       json_t **end)
{
    size_t done = 0;
    for (const uint8_t *at;
         !*end && done < link->in.len && (at = memchr(link->in.at + done, '\n', link->in.len - done));) {
        json_error_t where;
        size_t len = (size_t)(at - (link->in.at + done));
        json_t *line = json_loadb((const char *)link->in.at + done, len, JSON_ALLOW_NUL, &where);
        done += len + 1;
        if (!line) {
            fprintf(stderr, "Error:\nthe server's answer is no JSON: %s\n", where.text);
            link->garbled = true;
            continue;
        }
        const json_t *found = json_object_get(line, "row");
        if (found && row)
            row(arg, found);
        if (found)
            json_decref(line);
        else
            *end = line;
    }
    buf_consume(&link->in, done);
    return *end;
}

enum ctl_status ctl_ask(struct ctl_link *link, const json_t *request,
                        void (*row)(void *arg, const json_t *row), void *arg, json_t **end)
{
    char *text = json_dumps(request, JSON_COMPACT);
    assert(text);
    *end = NULL;
    bool sent = send_all(link, slice_of_string(text)) && send_all(link, SLICE("\n"));
    free(text);
    while (sent && !take_lines(link, row, arg, end)) {
        int more = receive(link);
        if (more < 0) {
            fprintf(stderr, "Error:\noperation timed out\n");
            return CTL_TIMEOUT;
        }
        sent = more > 0;
    }
    if (*end && link->garbled) {
        link->garbled = false;
        return CTL_DATA;
    }
    if (*end)
        return status_of(*end, request);
    fprintf(stderr, "Error:\nthe server went away before it had answered\n");
    return CTL_UNAVAILABLE;
}
