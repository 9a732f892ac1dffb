/* config_control.h - how the server is administered: its control socket, definitions it starts with, and
 * as whom it runs. */
#ifndef BROKER_CONFIG_CONTROL_H
#define BROKER_CONFIG_CONTROL_H

#include <stdbool.h>

struct config_control {
    char socket[256];      /* a path, "default" or "none" */
    char definitions[256]; /* a file or folder, "" = nothing */
    char backend[256];     /* where definitions come from */
    bool skip_if_unchanged;
};

/* Whom a server that was started as root becomes; "" = stays what it is. */
struct config_identity {
    char user[64], group[64];
    bool core_dumps; /* the kernel may write the memory to a file when the process dies */
};

#endif
