/* history.c - a new binding of an x-recent-history exchange gets what the exchange remembers.
 *
 * Each gets copies: the journal knows a message by the batch it came in, and these come in another one. */
#include "broker/history.h"

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
