/* listing_pid.h - names of connections and channels that look like RabbitMQ's process ids and are taken by
 * close_connection: <leveret@host.12.0> is connection 12, <leveret@host.12.3> its channel 3. */
#ifndef BROKER_LISTING_PID_H
#define BROKER_LISTING_PID_H

#include "base/buf.h"

struct connection;

/* As a JSON text; "" of no connection. */
void listing_put_pid(struct buf *out, const struct connection *conn, uint16_t channel);

#endif
