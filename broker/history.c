/* history.c - a new binding of an x-recent-history exchange gets what the exchange remembers.
 *
 * Each gets copies: the journal knows a message by the batch it came in, and these come in another one. */
#include "broker/history.h"

#include "broker/alarm.h"
#include "broker/submit.h"
#include "exchange/recent.h"

static struct message *copy(struct server *s, const struct message *m)
{
    struct message *new = message_new(&s->messages, message_exchange(m), message_key(m), message_props(m),
                                      m->body_size);
    struct slice body = message_body(m);
    if (body.len)
        memcpy(message_body_at(new), body.at, body.len);
    new->persistent = m->persistent;
    new->has_headers = m->has_headers;
    new->has_id = m->has_id;
    return new;
}

enum { COST_BYTES = 1024 }; /* are copied while a message is pushed to a queue */

bool history_permits(struct vhost *v, const struct exchange *source, struct fault *f)
{
    struct server *s = v->server;
    if (recent_count(source) == 0)
        return true;
    alarm_watch(s); /* many may bind in one turn */
    return !s->alarms.on ||
           fault(f, PRECONDITION_FAILED,
                 "cannot bind to exchange '%.*s' in vhost '%.*s': %s, and what it remembers is not handed "
                 "out", SLICE_ARG(source->name), SLICE_ARG(v->name), alarm_reason(s->alarms.on));
}

unsigned history_cost(const struct exchange *source)
{
    return (unsigned)(recent_count(source) + recent_bytes(source) / COST_BYTES);
}

void history_replay(struct vhost *v, const struct exchange *source, struct dest *dest)
{
    size_t count = recent_count(source);
    if (count == 0)
        return;
    /* All are copied first: exchanges may be bound in a circle, and then the history changes. */
    struct message **messages = mem_alloc(count * sizeof(struct message *));
    for (size_t i = 0; i < count; i++)
        messages[i] = copy(v->server, recent_at(source, i));
    for (size_t i = 0; i < count; i++) {
        submit_internal(v, dest, &messages[i]);
        assert(messages[i] == NULL);
    }
    mem_free(messages);
}
