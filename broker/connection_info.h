/* connection_info.h - what a client said of itself at login, for whoever asks (list_connections). */
#ifndef BROKER_CONNECTION_INFO_H
#define BROKER_CONNECTION_INFO_H

#include <stdint.h>

#include "base/slice.h"

struct connection;

/* One block. */
struct connection_info {
    uint64_t connected_at_ms; /* since 1970 */
    struct slice mechanism,
        properties; /* properties: table fields, no longer than initial_frame_max lets them */
};

/* Keeps what start-ok brought; the table must have passed table_check. */
void connection_describe(struct connection *conn, struct slice mechanism, struct slice properties);
/* The name that the client gave the connection (client-properties.connection_name), empty when it gave none;
 * `info` may be NULL. */
struct slice connection_info_name(const struct connection_info *info);

#endif
