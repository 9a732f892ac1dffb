/* local.h - a listening Unix socket, for programs of the same machine that the file's mode lets in. */
#ifndef NET_LOCAL_H
#define NET_LOCAL_H

#include "net/listener.h"

struct local;

/* Makes the socket `path` with mode 0600, whatever the umask, and listens. One that a dead process left is
 * replaced; anything else there is left alone and an error. The path is not to be longer than a socket's
 * address (107 bytes). `on_accept` as in listener.h; its peer is loopback and has no address. On failure
 * -errno and one sentence in `error`. */
int local_open(struct local **local, struct loop *loop, const char *path, accept_handler *on_accept,
               void *arg, char *error, size_t error_size) __attribute__((warn_unused_result));
/* Removes the socket too; NULLs the pointer. */
void local_close(struct local **local);

#endif
