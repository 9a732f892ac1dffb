/* definition.h - what is defined rather than published: vhosts, users, permissions, parameters, exchanges,
 * queues, bindings. */
#ifndef STORE_DEFINITION_H
#define STORE_DEFINITION_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"

/* One struct for all kinds; what identifies a row is named first. Slices are borrowed. */
enum definition_kind {
    DEFINITION_VHOST,      /* name; args (metadata) */
    DEFINITION_USER,       /* name; password_hash, tags, type (hashing algorithm), args (limits) */
    DEFINITION_PERMISSION, /* name (user), vhost; configure, write, read */
    DEFINITION_TOPIC_PERMISSION, /* name (user), vhost, source (exchange); write, read */
    DEFINITION_PARAMETER,  /* vhost ("" = global), type (component), name; args (value) */
    DEFINITION_EXCHANGE,   /* vhost, name; type, auto_delete, internal, args */
    DEFINITION_QUEUE,      /* id; vhost, name, auto_delete, args */
    DEFINITION_BINDING,    /* vhost, source, to_queue, name (destination), key, args */
};

struct definition {
    enum definition_kind kind;
    struct slice vhost, name;
    struct slice type, args; /* args: table fields as on the wire; of a vhost, user, parameter JSON */
    struct slice source, key;
    struct slice password_hash, tags;
    struct slice configure, write, read;
    uint64_t id;
    bool auto_delete, internal, to_queue;
    bool damaged; /* recovery: the row has another checksum than it should have */
};

#endif
