/* ctl.h - what the parts of leveretctl share. */
#ifndef TOOLS_CTL_CTL_H
#define TOOLS_CTL_CTL_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "base/buf.h"

/* Exit statuses: sysexits.h's, as rabbitmqctl uses them. */
enum ctl_status {
    CTL_OK = 0,
    CTL_USAGE = 64, /* the command line is wrong */
    CTL_DATA = 65,  /* a vhost that is not there is to be deleted; a wrong password */
    CTL_NO_USER = 67,
    CTL_UNAVAILABLE = 69, /* no server answers; or it refused for another reason */
    CTL_SOFTWARE = 70,    /* there is one already */
    CTL_FILE = 74,        /* a file cannot be read or written */
    CTL_TIMEOUT = 75,
};

enum ctl_format { FORMAT_TABLE, FORMAT_PRETTY, FORMAT_JSON, FORMAT_CSV };

/* The options before and after the verb. */
struct ctl_options {
    const char *socket, *data_dir;
    const char *vhost; /* NULL = not given */
    enum ctl_format format;
    bool quiet, no_headers, global;
    double timeout_s; /* 0 = none */
    const char *user, *priority, *apply_to, *limit, *hash;
    const char *description, *tags, *default_queue_type;
    bool if_empty, if_unused;
};

struct ctl_verb {
    const char *name, *words, *options, *banner, *help;
};

/* --- link.c: the way to the server --- */

struct ctl_link {
    int fd; /* -1 = none */
    struct buf in;
    double deadline; /* of the monotonic clock, 0 = none */
    bool garbled;    /* something of an answer could not be read */
};

/* Connects to the first socket that there is; false: `error` says why not. */
bool ctl_connect(struct ctl_link *link, const struct ctl_options *options, char *error, size_t error_size);
void ctl_hang_up(struct ctl_link *link);
/* Sends a request and calls `row` with each row of the answer; the status. `*end` becomes the last line, a
 * reference for the caller, also of an error, which is printed. NULL when the server went away. */
enum ctl_status ctl_ask(struct ctl_link *link, const json_t *request,
                        void (*row)(void *arg, const json_t *row), void *arg, json_t **end);

/* --- show.c: rows to people and programs --- */

struct ctl_table {
    const struct ctl_options *options;
    FILE *out;
    bool aligned; /* rows are kept until the last is here */
    json_t *rows;
    size_t count;
};

void ctl_table_begin(struct ctl_table *table, const struct ctl_options *options);
void ctl_table_row(void *table, const json_t *row);
void ctl_table_end(struct ctl_table *table);
/* A value as a cell of a table; own memory in `out`. */
void ctl_cell(struct buf *out, const json_t *value);

/* --- the rest --- */

/* definitions.c */
enum ctl_status ctl_import(struct ctl_link *link, const char *path);
enum ctl_status ctl_export(struct ctl_link *link, const char *path);
/* node.c */
enum ctl_status ctl_node(struct ctl_link *link, const char *verb, const struct ctl_options *options);
/* secret.c: from a terminal without echo, or the first line of standard input. Own memory; NULL = none. */
char *ctl_secret(const char *prompt);

#endif
