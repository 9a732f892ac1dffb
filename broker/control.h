/* control.h - the control socket: requests of leveretctl, one JSON object a line (commands.h). */
#ifndef BROKER_CONTROL_H
#define BROKER_CONTROL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"

struct server;
struct local;

enum {
    CONTROL_CLIENTS_MAX = 16, /* fewer than LISTENER_DESCRIPTORS_KEPT: the store needs some, too */
    CONTROL_LINE_MAX = 512 * 1024, /* of a request */
};

struct control {
    struct local *socket; /* NULL = none */
    struct list clients;  /* control_client.link */
    struct list doomed;   /* freed at the end of the turn */
    struct list walks;    /* of listings in progress: base/walk.h */
    unsigned client_count;
    uint64_t began_ms; /* when the server did */
};

void control_init(struct control *control);
/* Makes the socket where the configuration says. False: the reason is in the log. */
bool control_open(struct server *s);
/* Goes on with what was asked: a slice of each. After the disk thread was looked at, before the output is
 * flushed. */
void control_act(struct server *s);
/* True when control_act has something to do that waits for nothing. */
bool control_is_busy(const struct server *s);
void control_close(struct server *s);

#endif
