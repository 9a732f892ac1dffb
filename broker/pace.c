/* pace.c - a publisher does not outrun its consumers silently.
 *
 * A connection that published to a queue with consumers and a long backlog is not read again until
 * the queue has caught up or its turn has come, a tenth of a second at most: fast consumers get the
 * turns they need and stay level with their publishers, slow ones cannot stop a publisher, whose
 * messages then wait in the queue as they should.
 *
 * A queue that is far beyond its limit, or behind with its dead letters, can only be overtaken by those who
 * publish to it: they wait for as long as that takes. */
#include "broker/pace.h"

#include "broker/channel.h"
#include "queue/excess.h"

enum { PACE_MS = 4, PACE_MAX_MS = 100 };

/* Linked at once: the queue may go before this input is through. One that has far too much comes first. */
void pace_note(struct connection *conn, struct queue *q)
{
    struct pace *pace = &conn->pace;
    if (pace->behind) {
        if (pace->behind == q || excess_is_large(pace->behind) || !excess_is_large(q))
            return;
        list_remove(&pace->link);
    }
    pace->behind = q;
    list_push_back(&q->paced, &pace->link);
}

/* One after the other: all paced publishers together bring no more than one would. */
static uint64_t due_ms(struct server *s)
{
    uint64_t now = server_now_ms(s), due = now + PACE_MS;
    if (due < s->pace_due_ms + PACE_MS)
        due = s->pace_due_ms + PACE_MS;
    if (due > now + PACE_MAX_MS)
        due = now + PACE_MAX_MS;
    s->pace_due_ms = due;
    return due;
}

static void resume(struct timer *timer)
{
    struct pace *pace = container_of(timer, struct pace, timer);
    struct connection *conn = container_of(pace, struct connection, pace);
    if (excess_is_large(pace->behind))
        timer_set(&conn->server->timers, timer, due_ms(conn->server));
    else
        pace_stop(conn);
}

void pace_start(struct connection *conn)
{
    struct pace *pace = &conn->pace;
    struct server *s = conn->server;
    assert(pace->behind && !pace->waits);
    if (conn->state != CONNECTION_OPEN) {
        pace_stop(conn);
        return;
    }
    pace->waits = true;
    pace->timer.fire = resume;
    timer_set(&s->timers, &pace->timer, due_ms(s));
    flow_pause(conn, FLOW_PACE);
}

void pace_stop(struct connection *conn)
{
    struct pace *pace = &conn->pace;
    if (!pace->behind)
        return;
    pace->behind = NULL;
    list_remove(&pace->link);
    if (!pace->waits)
        return;
    pace->waits = false;
    timer_clear(&conn->server->timers, &pace->timer);
    flow_resume(conn, FLOW_PACE);
}

void pace_release(struct queue *q)
{
    while (!list_empty(&q->paced)) {
        struct pace *pace = list_first(&q->paced, struct pace, link);
        pace_stop(container_of(pace, struct connection, pace));
    }
}
