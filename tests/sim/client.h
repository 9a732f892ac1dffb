/* client.h - one end of a simulated connection: the handshake, frames out, frames in.
 * It knows the protocol and nothing of what its user wants: what comes in is told through the
 * events. */
#ifndef TESTS_SIM_CLIENT_H
#define TESTS_SIM_CLIENT_H

#include "base/buf.h"
#include "protocol/method.h"
#include "tests/sim/world.h"

enum { CLIENT_CHANNELS = 4 }; /* 0 … 3; 0 is the connection's */

struct content {
    struct slice props, body;
};

struct client_events {
    /* A method; `content` is NULL when it carries none. Slices are good until the call returns. */
    void (*method)(void *arg, uint16_t channel, const struct method *m,
                   const struct content *content);
    /* Nothing more comes: the stream ended, was reset, or was closed by client_drop. */
    void (*ended)(void *arg);
};

enum client_state { CLIENT_OFF, CLIENT_HANDSHAKE, CLIENT_OPEN, CLIENT_ENDED };

/* A method that carries content, and what came of it. */
struct client_inbox {
    struct buf method, header, body; /* payloads */
    uint64_t left;
    enum { INBOX_IDLE, INBOX_HEADER, INBOX_BODY } state;
};

struct client {
    struct world *world;
    const struct client_events *events;
    void *arg;
    struct fakenet_link *link;
    uint64_t server_id; /* the server's connection */
    enum client_state state;
    uint32_t frame_max;
    uint16_t heartbeat_s;
    struct buf out, in;
    uint64_t encoded; /* bytes put into `out` since the connection began */
    unsigned deaf;    /* turns in which it does not read */
    struct client_inbox inboxes[CLIENT_CHANNELS];
};

void client_init(struct client *client, struct world *world, const struct client_events *events,
                 void *arg);
void client_free(struct client *client);

/* A new connection; must be OFF. */
void client_connect(struct client *client);
/* Sends and reads what fits. */
void client_turn(struct client *client);

/* All of these only add to the output. */
void client_send(struct client *client, uint16_t channel, const struct method *m);
void client_publish(struct client *client, uint16_t channel, const struct method *m,
                    const struct content *content);
void client_raw(struct client *client, const void *bytes, size_t size);

/* Closes the socket as it is; with `reset` what is under way is lost. Tells `ended`. */
void client_drop(struct client *client, bool reset);
/* Back to OFF, after it has ended. */
void client_forget(struct client *client);

/* The server's end, NULL when it is gone; and how many bytes it has dealt with. */
struct connection *client_peer(const struct client *client);
uint64_t client_consumed(const struct client *client);

#endif
