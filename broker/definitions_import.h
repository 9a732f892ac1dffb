/* definitions_import.h - definitions in RabbitMQ's JSON, taken in: users, vhosts, permissions, parameters,
 * policies, exchanges, queues, bindings (RabbitMQ's page "Definition Export and Import").
 *
 * What is not there is made; users, permissions, limits, parameters and policies become as the file says;
 * queues and exchanges that are there stay as they are. Members that are not known are passed over. It goes
 * on object by object, so that a large file is taken in over many turns. */
#ifndef BROKER_DEFINITIONS_IMPORT_H
#define BROKER_DEFINITIONS_IMPORT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/slice.h"

struct server;

/* Whose files ours are like, for programs that look. */
#define DEFINITIONS_RABBIT_VERSION "3.10.8"
/* The global parameter that definitions.skip_if_unchanged needs; not exported. */
#define DEFINITIONS_HASH_PARAMETER "imported_definition_hash_value"

struct definitions_import {
    struct server *server;
    json_t *root;          /* a reference of its own */
    struct slice vhost;    /* for objects that name none; own memory, "" = none */
    size_t section, index; /* the next object */
    size_t cost;           /* of the last one, in objects */
    size_t done, skipped;  /* objects; skipped: bindings whose ends are not there, exclusive queues */
    char error[512];       /* which object, and what is wrong with it */
};

/* NULL and a reason when `root` is no definitions. */
struct definitions_import *definitions_import_new(struct server *s, json_t *root, struct slice vhost,
                                                  char *error, size_t error_size);
/* Takes in up to `budget` objects. True = there is more. False = done, or failed: then `error` is not
 * empty, and what came before stays. */
bool definitions_import_step(struct definitions_import *import, size_t budget);
void definitions_import_free(struct definitions_import **import);

/* load_definitions and definitions.local.path: a file, or all *.json of a folder by name. Before there are
 * clients. False: the reason is in the log. */
bool definitions_import_configured(struct server *s);

#endif
