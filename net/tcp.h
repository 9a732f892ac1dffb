/* tcp.h - private to net/: a connected TCP socket as the transport of a stream, plain or with TLS. */
#ifndef NET_TCP_H
#define NET_TCP_H

#include "net/loop.h"
#include "net/stream.h"

struct tcp;
struct tls;

extern const struct transport tcp_transport;
extern const struct transport tcp_tls_transport; /* after tcp_secure */

/* Takes over `fd` (non-blocking), also when it fails with -errno. The result is the io of the
 * transports, which tells nothing until tcp_attach (listener.h). */
int tcp_open(struct tcp **tcp, struct loop *loop, int fd) __attribute__((warn_unused_result));

/* Before a stream is attached: on_ready(arg) is called when the socket is readable or writable, as
 * asked, until asked again; it may close. */
void tcp_wait(struct tcp *tcp, bool readable, bool writable, void (*on_ready)(void *arg), void *arg);
int tcp_fd(const struct tcp *tcp);
/* After its close the kernel has so long to send what waits. (SO_LINGER would have close wait for that, on a
 * non-blocking socket, too.) */
void tcp_linger(struct tcp *tcp, unsigned seconds);
/* Takes over a TLS connection on this socket, whose handshake is done. */
void tcp_secure(struct tcp *tcp, struct tls *tls);

#endif
