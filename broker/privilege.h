/* privilege.h - gives up root. */
#ifndef BROKER_PRIVILEGE_H
#define BROKER_PRIVILEGE_H

#include <stdbool.h>

struct server;

/* Becomes the configured user and group for good, with all threads. A data directory that does not exist is
 * made for them first, since they may have no right to. To be called when ports are bound and keys are read,
 * before any other file is made. False: the reason is in the log. */
bool privilege_drop(struct server *s);

/* Whether the kernel may write a core file of the process, and others of its user may look into it. Who
 * changes the user has to say it again: the kernel then forbids it, whatever was said before. */
void privilege_set_dumps(bool allowed);

#endif
