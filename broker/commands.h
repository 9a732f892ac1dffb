/* commands.h - what can be asked of a running server: the verbs of commands.def, as JSON in and JSON out.
 *
 * A request is one JSON object, {"verb": "list_queues", "vhost": "/", "columns": ["name"]}. It is answered
 * with lines of JSON: any number of {"row": {...}}, then one {"ok": true, "result": …} or
 * {"error": "not_found", "reason": "…"}. What is long comes in slices, a turn each; what changes
 * definitions is answered when they are on disk. The control socket (control.c) is one way in; HTTP will be
 * another.
 *
 * Everybody who can ask may do everything: who may is decided by the way in. */
#ifndef BROKER_COMMANDS_H
#define BROKER_COMMANDS_H

#include <jansson.h>

#include "base/buf.h"
#include "base/walk.h"
#include "broker/server.h"
#include "broker/vhost.h"

struct request;

struct command {
    const char *verb;
    const char *arguments; /* names; a ? behind one that may be left out, a letter before for its type */
    void (*start)(struct request *r);
    bool changes; /* it is logged, and answered when it is on disk */
};

/* Why a request failed; the words that it is answered with are in commands.c. */
enum request_error {
    REQUEST_FINE,
    REQUEST_MALFORMED, /* no such verb, an argument that is missing, unknown or of a wrong type */
    REQUEST_MISSING,   /* there is no such user, vhost, queue … */
    REQUEST_EXISTS,
    REQUEST_INVALID, /* a value that cannot be */
    REQUEST_REFUSED, /* a wrong password; a queue that is in use */
};

enum { REQUEST_COLUMNS_MAX = 64, REQUEST_BATCH_BYTES = 64 * 1024, REQUEST_BATCH_ITEMS = 512 };

/* What a listing knows of where it is; see listing.h. */
struct listing_state {
    const struct listing *listing;
    uint8_t columns[REQUEST_COLUMNS_MAX]; /* their places in the listing's table, as asked for */
    size_t column_count;
    struct slice *vhosts; /* names, own memory: those that are gone through one after the other */
    size_t vhost_count, vhost_at;
    struct vhost *vhost; /* the one that the walk is in, NULL = none */
    struct walk walk;
    size_t phase, position;
    bool started;
};

struct request {
    struct server *server;
    const struct command *command; /* NULL when there is none of that name */
    json_t *args;
    struct buf out; /* lines not taken yet */
    enum request_error error;
    char reason[512];
    json_t *result; /* of a success, NULL = none */
    bool done;
    void (*step)(struct request *r); /* what is still to be done, a slice; NULL = nothing */
    struct listing_state listing;
    uint64_t batch; /* to be durable before the answer */
    void *work;     /* of a step that needs more; freed with it */
    void (*free_work)(void *work);
};

/* Reads and starts a request; it may be done at once. */
struct request *request_new(struct server *s, struct slice line);
/* Goes on with it: a slice of work, or the end once all is on disk. Appends to `out`. */
void request_step(struct request *r);
/* True when request_step would do something without waiting for the disk or the policies. */
bool request_is_ready(const struct request *r);
/* Also one that is not done. */
void request_free(struct request **r);

/* For the commands: ends it with an error. False, for the caller to return. */
bool request_fail(struct request *r, enum request_error error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The argument; empty when it was left out. */
struct slice request_text(const struct request *r, const char *name);
/* The vhost of the argument "vhost", "/" when left out; NULL and failed when there is none. */
struct vhost *request_vhost(struct request *r);
/* The column's value of every row follows with json_out_…; request_row_end closes it. */
void request_row_begin(struct request *r);
void request_row_end(struct request *r);
/* Sets one member of the result; takes the reference. */
void request_result(struct request *r, const char *name, json_t *value);

/* i < command_count(); NULL when unknown. */
const struct command *command_at(size_t i);
size_t command_count(void);
const struct command *command_find(struct slice verb);

#define COMMAND(verb, arguments, changes) void command_##verb(struct request *r);
#include "broker/commands.def"
#undef COMMAND

#endif
