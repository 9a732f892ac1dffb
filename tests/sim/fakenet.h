/* fakenet.h - a network in memory, for streams under test and for the whole-server simulator.
 *
 * A link is one connection: two bounded pipes, a client's end (the functions below) and a server's
 * end (fakenet_transport, whose io is the link). With a struct rand, events come in random order
 * and now and then late, reads and writes are cut at random places; one seed is one run. Without,
 * everything that fits goes through at once.
 * As with TCP, an end that closes with input it has not read resets the link, and a reset destroys
 * what the other end has not read yet. */
#ifndef SIM_FAKENET_H
#define SIM_FAKENET_H

#include <stdbool.h>
#include <stddef.h>

#include "base/rand.h"
#include "net/net.h"
#include "net/stream.h"

struct fakenet;
struct fakenet_link;

extern const struct transport fakenet_transport;

/* Pipes of `pipe_size` bytes each way. `rand` (NULL = none) stays the caller's. */
struct fakenet *fakenet_new(struct rand *rand, size_t pipe_size);
/* Both ends of all links must be closed. */
void fakenet_free(struct fakenet **fakenet);

/* A new connection. Give the link as io to stream_init, then fakenet_attach it: what a listener's
 * acceptor does with tcp_attach. */
struct fakenet_link *fakenet_connect(struct fakenet *fakenet);
void fakenet_attach(void *io, struct stream *stream);

/* One turn's input: deferred streams, then at most one readable and one writable event per link.
 * False when there was nothing to do and nothing is late: all is quiet until somebody acts. */
bool fakenet_pump(struct fakenet *fakenet, struct net *net);

/* The client's end. Both return how many bytes went through, 0 when none. */
size_t fakenet_client_write(struct fakenet_link *link, const void *bytes, size_t size);
size_t fakenet_client_read(struct fakenet_link *link, void *bytes, size_t size);
/* Sends no more (FIN). */
void fakenet_client_finish(struct fakenet_link *link);
/* Resets the link: the server's next read or write fails. */
void fakenet_client_reset(struct fakenet_link *link);
/* The server's end of the stream was read, or the link was reset. */
bool fakenet_client_at_end(const struct fakenet_link *link);
bool fakenet_client_was_reset(const struct fakenet_link *link);
/* Closes the client's end; the link is gone when the server's end is closed, too. */
void fakenet_client_close(struct fakenet_link **link);

#endif
