/* recovery.h - from the store to memory, once, before anyone connects. */
#ifndef BROKER_RECOVERY_H
#define BROKER_RECOVERY_H

#include "broker/server.h"

/* Rebuilds users, vhosts, exchanges, queues, bindings and messages; on the first start makes the
 * default vhost and user. False when the store cannot be read: the reason is in the log. */
bool recovery_run(struct server *s);

#endif
