/* pace.h - who publishes to a queue that is behind waits for it. */
#ifndef BROKER_PACE_H
#define BROKER_PACE_H

struct connection;
struct queue;

/* The connection published to a queue that is behind; reading stops at the end of its input. */
void pace_note(struct connection *conn, struct queue *q);
void pace_start(struct connection *conn);
void pace_stop(struct connection *conn);
/* The queue has caught up, or goes: all who wait for it are read again. */
void pace_release(struct queue *q);

#endif
